"""CT calibrations as MCsquare gets them and as spots are placed by them; where they come from is elsewhere."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from radiarch_worker.machines.calibration import AUTO, LEAST_HU, CalibrationTables, Confirmation, MaterialRef, confirmed
from radiarch_worker.machines.composition import WATER, Composition
from radiarch_worker.machines.library import CalibrationLibrary, calibrations
from radiarch_worker.model import CtVolume, FloatVolume

from .installation import file_sha256, find_installation
from .materials import CustomMaterial, make_materials, shipped_materials
from .metals import HU_BY_DENSITY, MAX_G_CM3, METAL_HU, METALS, metal_hu

_RSP_LEAST_HU = -1100.0

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """A CT calibration: HU to mass density and material.

    Attributes
    ----------
    density : (N, 2) HU and g/cm³, rising HU; linear between them
    materials : (HU from which on, label of the engine's material)
    custom_materials : materials that the engine does not ship
    files : SHA-256 of the files that it comes from, by name
    rsp_hu, rsp : stopping power relative to water at 100 MeV for each HU, for placing spots
    electrons : electron density relative to water for each of ``rsp_hu``
    notes : what a result that was made with it has to say of it
    """

    name: str
    density: FloatArray
    materials: tuple[tuple[float, int], ...]
    custom_materials: tuple[CustomMaterial, ...]
    files: Mapping[str, str]
    rsp_hu: FloatArray
    rsp: npt.NDArray[np.float32]
    electrons: npt.NDArray[np.float32]
    confirmation: Confirmation | None = None
    notes: tuple[str, ...] = ()

    @property
    def hu_min(self) -> float:
        return float(self.density[0, 0])

    @property
    def hu_max(self) -> float:
        """Where the density's table ends, but for metals."""
        hu = self.density[:, 0]
        return float(hu[hu < METAL_HU][-1])

    @functools.cached_property
    def density_text(self) -> str:
        """``HU_Density_Conversion.txt``."""
        return "".join(f"{hu:.9g}\t{density:.9g}\n" for hu, density in self.density)

    @functools.cached_property
    def material_text(self) -> str:
        """``HU_Material_Conversion.txt``."""
        return "".join(f"{hu:.9g}\t{label}\n" for hu, label in self.materials)

    @functools.cached_property
    def sha256(self) -> Mapping[str, str]:
        """Of the files that it comes from, and of all that the engine is given of it (``tables``)."""
        digest = hashlib.sha256()
        for text in (self.density_text, self.material_text):
            digest.update(text.encode())
        for material in self.custom_materials:
            digest.update(f"{material.properties_text}{material.stopping_text}".encode())
        return {**self.files, "tables": digest.hexdigest()}

    @property
    def provenance(self) -> Mapping[str, object]:
        """For a result's record."""
        return {"name": self.name, "sha256": dict(self.sha256), "confirmed": confirmed(self.confirmation)}

    def stopping_power(self, hu: FloatVolume) -> FloatVolume:
        """Relative (to water) stopping power of each voxel, to 1 HU."""
        index = np.rint(hu - np.float32(self.rsp_hu[0])).astype(np.int32)
        result: FloatVolume = self.rsp[np.clip(index, 0, len(self.rsp) - 1)]
        return result

    def density_g_cm3(self, hu: float) -> float:
        """Mass density of a CT number."""
        return float(np.interp(hu, self.density[:, 0], self.density[:, 1]))

    def hu_of_density(self, density_g_cm3: float) -> float:
        """The CT number that counts as a mass density, which has to lie between those of the table."""
        rising = np.maximum.accumulate(self.density[:, 1])
        return float(np.interp(density_g_cm3, rising, self.density[:, 0]))

    def hu_of_stopping_power(self, rsp: float) -> float:
        """The CT number that counts as a relative stopping power, to 1 HU; that of the table's end beyond it."""
        return self._least_hu(self.rsp, rsp)

    def hu_of_electron_density(self, relative: float) -> float:
        """The CT number that counts as an electron density relative to water, to 1 HU; the table's end beyond it."""
        return self._least_hu(self.electrons, relative)

    def _least_hu(self, values: npt.NDArray[np.float32], wanted: float) -> float:
        at = int(np.searchsorted(np.maximum.accumulate(values), np.float32(wanted)))
        return float(self.rsp_hu[min(at, len(values) - 1)])

    def with_metals(self) -> Calibration:
        """One that goes on to the densities of metals, at numbers that no CT has (`metals`)."""
        if self.density[-1, 0] >= METAL_HU:
            return self
        shipped = shipped_materials()
        densest = float(self.density[:, 1].max())
        rows = [(metal_hu(densest), densest), (metal_hu(MAX_G_CM3), MAX_G_CM3)]
        metals = [(max(start, densest), shipped[name]) for start, name in METALS]
        # Of those that begin below what the calibration has itself, the last one counts.
        used = [m for m, after in itertools.zip_longest(metals, metals[1:]) if after is None or after[0] > m[0]]
        hu = np.arange(self.rsp_hu[-1] + 1, metal_hu(MAX_G_CM3) + 1)
        g_cm3 = np.maximum((hu - METAL_HU) / HU_BY_DENSITY, densest)
        which = np.clip(np.searchsorted([start for start, _ in used], g_cm3, side="left") - 1, 0, None)
        stopping = np.array([m.stopping_ratio for _, m in used])[which]
        electrons = np.array([m.electron_ratio for _, m in used])[which]
        return replace(
            self,
            density=np.vstack([self.density, rows]),
            materials=(*self.materials, *((metal_hu(start), m.label) for start, m in used)),
            rsp_hu=np.concatenate([self.rsp_hu, hu]),
            rsp=np.concatenate([self.rsp, (g_cm3 * stopping).astype(np.float32)]),
            electrons=np.concatenate([self.electrons, (g_cm3 * electrons).astype(np.float32)]),
        )

    def denser(self, percent: float) -> Calibration:
        """One in which everything stops protons more by ``percent``.

        Stopping power is mass density times a factor of the material, and the material goes by HU.
        """
        if percent == 0.0:
            return self
        factor = 1 + percent / 100
        density = self.density * np.array([1.0, factor])
        return replace(self, density=density, rsp=self.rsp * np.float32(factor))


def load_calibration(name: str) -> Calibration:
    """A CT calibration by its name, of the site or shipped.

    Raises
    ------
    InvalidRequestError
        There is none of that name; the known ones are named.
    """
    return _noted(library().named(name), "")


def calibration_for(name: str, ct: CtVolume) -> Calibration:
    """The calibration that is named, or for ``auto`` that of the scanner that made a CT.

    Raises
    ------
    InvalidRequestError, InputRefusedError
        As `CalibrationLibrary.named` and `CalibrationLibrary.of_scanners`.
    """
    calibration = _chosen_for(name, ct)
    return calibration.with_metals() if ct.has_metals else calibration


def _chosen_for(name: str, ct: CtVolume) -> Calibration:
    if name == AUTO:
        return _noted(*library().of_scanners(ct.scanners))
    calibration = load_calibration(name)
    if len(ct.scanners) > 1:
        seen = "; ".join(map(str, ct.scanners))[:300]
        note = (
            f"The CT's images are of several scanners or tube voltages ({seen}): {name} was used for all, as asked for."
        )
        calibration = replace(calibration, notes=(*calibration.notes, note))
    return calibration


def library() -> CalibrationLibrary:
    """All calibrations, as the site's files are now."""
    return calibrations(_engine_tables(), shipped_materials())


def _noted(tables: CalibrationTables, why: str) -> Calibration:
    calibration = _compiled(tables)
    chosen = f" ({why})" if why else ""
    by = tables.confirmation
    if by is None:
        note = (
            f"CT calibration {tables.name}{chosen} is not confirmed by this site: depths in tissue (proton ranges, "
            "attenuation of photons) may be wrong by some percent."
        )
    elif why:
        note = f"CT calibration {tables.name}{chosen}, confirmed by {by.by} on {by.on}."
    else:
        return calibration
    return replace(calibration, notes=(note,))


@functools.lru_cache(maxsize=64)
def _compiled(tables: CalibrationTables) -> Calibration:
    """Tables in the engine's form."""
    references = [reference for _, reference in tables.materials]
    made = make_materials([r for r in references if isinstance(r, Composition)])
    shipped = shipped_materials()

    def label(reference: MaterialRef) -> int:
        return made[reference].label if isinstance(reference, Composition) else shipped[reference].label

    def ratio(reference: MaterialRef) -> float:
        if isinstance(reference, Composition):
            return float(reference.mass_stopping_ratio())
        return shipped[reference].stopping_ratio

    def electrons(reference: MaterialRef) -> float:
        if isinstance(reference, Composition):
            return reference.electrons_per_g / WATER.electrons_per_g
        return shipped[reference].electron_ratio

    density = np.array(tables.density, dtype=np.float64)
    if density[0, 0] > LEAST_HU:  # CT numbers below air's are air
        density = np.vstack([[LEAST_HU, density[0, 1]], density])
    hu = np.arange(_RSP_LEAST_HU, density[-1, 0] + 1.0)
    starts = np.array([start for start, _ in tables.materials])
    # At the very start of a material the engine still takes the one before (tested).
    which = np.clip(np.searchsorted(starts, hu, side="left") - 1, 0, None)
    g_cm3 = np.interp(hu, density[:, 0], density[:, 1])
    rsp = g_cm3 * np.array([ratio(r) for r in references])[which]
    relative_electrons = g_cm3 * np.array([electrons(r) for r in references])[which]
    return Calibration(
        name=tables.name,
        density=density,
        materials=tuple((start, label(r)) for start, r in tables.materials),
        custom_materials=tuple(m for m in made.values() if isinstance(m, CustomMaterial)),
        files=tables.sha256,
        rsp_hu=hu,
        rsp=rsp.astype(np.float32),
        electrons=relative_electrons.astype(np.float32),
        confirmation=tables.confirmation,
    )


@functools.cache
def _engine_tables() -> Mapping[str, CalibrationTables]:
    """Those that opentps-core ships, by their folders' names."""
    by_label = {m.label: m.name for m in shipped_materials().values()}
    found = {}
    for density_file in sorted((find_installation().folder / "Scanners").glob("*/HU_Density_Conversion.txt")):
        name = density_file.parent.name
        material_file = density_file.with_name("HU_Material_Conversion.txt")
        density, materials = (_rows(file) for file in (density_file, material_file))
        found[name] = CalibrationTables(
            name,
            "shipped with opentps-core",
            tuple(density),
            tuple((hu, by_label[int(label)]) for hu, label in materials),
            {f.name: file_sha256(f) for f in (density_file, material_file)},
        )
    return found


def _rows(file: Path) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in np.loadtxt(file)]
