"""Beam data and CT calibrations that ship in opentps-core, and our limits for the machines; runs nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import InvalidRequestError

from radiarch_worker.engines import opentps
from radiarch_worker.model import FloatVolume, Machine

from .installation import file_sha256, find_installation
from .limits import MACHINE_LIMITS, MachineLimits

_FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))
_EV_PER_G_TO_GY = 1.602176634e-19 * 1000.0


@dataclass(frozen=True)
class ProtonMachine:
    """A beam data library.

    Attributes
    ----------
    bdl_text : the library in the form that the engine reads
    energies_mev : nominal energies of the table, rising
    protons_per_mu : for each of ``energies_mev``
    spot_sigma_mm : (N, 2), x and y at the isocenter in air, for each of ``energies_mev``; of the core, without the halo
    range_shifters : water-equivalent thickness in mm of those that are in or out, by ID
    """

    name: str
    sha256: str
    bdl_text: str
    energies_mev: npt.NDArray[np.float64]
    protons_per_mu: npt.NDArray[np.float64]
    spot_sigma_mm: npt.NDArray[np.float64]
    nozzle_isocenter_mm: float
    smx_mm: float
    smy_mm: float
    limits: MachineLimits
    range_shifters: Mapping[str, float] = field(default_factory=dict)

    @property
    def energy_min_mev(self) -> float:
        return float(self.energies_mev[0])

    @property
    def energy_max_mev(self) -> float:
        return float(self.energies_mev[-1])

    def protons(self, energy_mev: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Protons per MU, interpolated as the engine does."""
        return np.interp(energy_mev, self.energies_mev, self.protons_per_mu)

    def gy_per_mu(self, energy_mev: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Physical Gy per MU for an engine's value of 1 eV/g per primary proton."""
        return self.protons(energy_mev) * _EV_PER_G_TO_GY

    def spot_fwhm_mm(self, energy_mev: float) -> tuple[float, float]:
        """Full width at half maximum of a spot (x, y) at the isocenter in air."""
        x, y = (_FWHM_PER_SIGMA * np.interp(energy_mev, self.energies_mev, s) for s in self.spot_sigma_mm.T)
        return float(x), float(y)

    @property
    def described(self) -> Machine:
        """What of the machine is written into a plan."""
        return Machine(
            name=self.name,
            virtual_source_axis_distance_mm=(self.smx_mm, self.smy_mm),
            snout_position_mm=self.nozzle_isocenter_mm,
        )


@dataclass(frozen=True)
class Calibration:
    """A CT calibration: HU to mass density and material.

    Attributes
    ----------
    hu_min, hu_max : ends of the density table
    rsp_hu, rsp : relative stopping power at 100 MeV against HU, for placing spots
    """

    name: str
    density_file: Path
    material_file: Path
    hu_min: float
    hu_max: float
    rsp_hu: npt.NDArray[np.float64]
    rsp: npt.NDArray[np.float32]

    @property
    def sha256(self) -> Mapping[str, str]:
        return {p.name: file_sha256(p) for p in (self.density_file, self.material_file)}

    def stopping_power(self, hu: FloatVolume) -> FloatVolume:
        """Relative (to water) stopping power of each voxel, to 1 HU."""
        index = np.rint(hu - np.float32(self.rsp_hu[0])).astype(np.int32)
        result: FloatVolume = self.rsp[np.clip(index, 0, len(self.rsp) - 1)]
        return result


@functools.cache
def load_machine(name: str) -> ProtonMachine:
    """A beam data library by its file's name without suffix.

    Raises
    ------
    InvalidRequestError
        When opentps-core has no library of that name; the known ones are named.
    """
    path = _choose(name, {p.stem: p for p in (find_installation().folder / "BDL").glob("*.txt")}, "machine")
    io: Any = opentps.load("io.mcsquareIO")
    materials: Any = opentps.load("data.CTCalibrations.MCsquareCalibration")
    # The engine misreads the file as it is shipped (comments in the head) and then, with exit code 0, lets every
    # proton miss the patient; OpenTPS's own formatting of it is read right.
    with opentps.calls():
        bdl = io.readBDL(str(path))
        text = bdl.mcsquareFormatted(materials.MCsquareMaterial.getMaterialList("default"))
    return ProtonMachine(
        name=name,
        sha256=file_sha256(path),
        bdl_text=text,
        energies_mev=np.asarray(bdl.nominalEnergy, dtype=np.float64),
        protons_per_mu=np.asarray(bdl.protonsMU, dtype=np.float64),
        spot_sigma_mm=np.column_stack([_sigma_at_isocenter_mm(bdl, axis) for axis in "xy"]),
        nozzle_isocenter_mm=float(bdl.nozzle_isocenter),
        smx_mm=float(bdl.smx),
        smy_mm=float(bdl.smy),
        limits=MACHINE_LIMITS.get(name, MachineLimits()),
        range_shifters={str(rs.ID): float(rs.WET) for rs in bdl.rangeShifters if rs.type == "binary"},
    )


def _sigma_at_isocenter_mm(bdl: Any, axis: str) -> npt.NDArray[np.float64]:
    """The core's width after the drift from the nozzle's exit, where the table has it.

    The correlation of place and direction counts as the engine counts it: positive in a beam that grows wider.
    """
    size, divergence, correlation = (
        np.asarray(getattr(bdl, f"{name}1{axis}"), dtype=np.float64)
        for name in ("spotSize", "divergence", "correlation")
    )
    spread = divergence * float(bdl.nozzle_isocenter)
    return np.sqrt(size**2 + 2 * correlation * size * spread + spread**2)


@functools.cache
def load_calibration(name: str) -> Calibration:
    """A CT calibration by its folder's name.

    Raises
    ------
    InvalidRequestError
        When opentps-core has no calibration of that name; the known ones are named.
    """
    folders = {
        p.parent.name: p.parent for p in (find_installation().folder / "Scanners").glob("*/HU_Density_Conversion.txt")
    }
    folder = _choose(name, folders, "CT calibration")
    density, material = folder / "HU_Density_Conversion.txt", folder / "HU_Material_Conversion.txt"
    cls: Any = opentps.load("data.CTCalibrations.MCsquareCalibration").MCsquareCTCalibration
    table = np.loadtxt(density)
    hu = np.arange(-1100.0, table[-1, 0] + 1.0)
    with opentps.calls():
        calibration = cls.fromFiles(str(density), str(material))
        rsp = np.asarray(calibration.convertHU2RSP(hu.reshape(1, -1), energy=100.0), dtype=np.float32).ravel()
    return Calibration(name, density, material, float(table[0, 0]), float(table[-1, 0]), hu, rsp)


def _choose(name: str, known: Mapping[str, Path], what: str) -> Path:
    # Looked up among the names that exist: a path is never built from a request's text.
    if name in known:
        return known[name]
    raise InvalidRequestError(
        f"{what} {name!r} is not known; known are {', '.join(sorted(known))}",
        remedy=f"Name one of the known {what}s in the protocol or request.",
    )
