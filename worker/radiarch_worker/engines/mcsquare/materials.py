"""MCsquare's materials: those that it ships, and others made of a composition, in the form in which it reads them."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from radiarch_worker.machines.composition import RSP_MEV, WATER, Composition
from radiarch_worker.machines.elements import ELEMENTS

from .installation import find_installation

LIST_FILE, STOPPING_FILE, PROPERTIES_FILE = "list.dat", "G4_Stop_Pow.dat", "Material_Properties.dat"
_NUCLEAR: Mapping[str, str] = {
    "H": "hydrogen",
    "C": "carbon",
    "N": "nitrogen",
    "O": "oxygen",
    "Al": "aluminium",
    "Si": "silicon",
    "P": "phosphorus",
    "Ca": "calcium",
    "Ti": "titanium",
    "Fe": "iron",
    "Cu": "copper",
}
"""Elements of which the engine has nuclear cross sections, with its names for them."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shipped:
    """A material of the engine's own list.

    Attributes
    ----------
    stopping_ratio : stopping power for each g/cm², relative to the engine's water, at 100 MeV
    electron_ratio : electrons in a gram, relative to the engine's water
    """

    label: int
    name: str
    stopping_ratio: float
    electron_ratio: float


@dataclass(frozen=True)
class CustomMaterial:
    """A material made of a composition.

    Attributes
    ----------
    label : the number that the engine knows it by, behind those that it ships
    """

    label: int
    name: str
    composition: Composition

    @functools.cached_property
    def properties_text(self) -> str:
        """For a density of 1 g/cm³, which the engine scales to each voxel's.

        Stopping, scattering and electrons are the composition's own; for nuclear reactions an element that the engine
        does not know counts as the one of the nearest atomic number that it does.
        """
        c = self.composition
        parts: dict[int, float] = {}
        for symbol, share in c.shares:
            label = _element_label(symbol)
            parts[label] = parts.get(label, 0.0) + 100.0 * share
        names = {m.label: m.name for m in shipped_materials().values()}
        lines = [
            f"Name {self.name}",
            "Molecular_Weight 0.0",
            "Density 1.0 # g/cm3",
            f"Electron_Density {c.electrons_per_g:.6e} # cm-3",
            f"Radiation_Length {c.radiation_length_g_cm2:.6f} # g/cm2",
            "",
            f"Nuclear_Data Mixture {len(parts)}",
            *(f"Mixture_Component {label} {names[label]} {percent:.6f}" for label, percent in sorted(parts.items())),
        ]
        return "\n".join(lines) + "\n"

    @functools.cached_property
    def stopping_text(self) -> str:
        """Stopping power: the engine's own of water times the composition's ratio to water."""
        energy_mev, water = water_stopping()
        stopping = water * self.composition.mass_stopping_ratio(energy_mev)
        return "".join(f"{e:.8f}\t {s:.8f}\n" for e, s in zip(energy_mev, stopping, strict=True))


def _element_label(symbol: str) -> int:
    known = {ELEMENTS[s].z: name for s, name in _NUCLEAR.items()}
    z = ELEMENTS[symbol].z
    return shipped_materials()[known[min(known, key=lambda k: (abs(k - z), k))]].label


@functools.cache
def shipped_materials() -> Mapping[str, Shipped]:
    """The engine's own materials by name."""
    folder = find_installation().materials
    energy_mev, water = water_stopping()
    at = float(np.interp(RSP_MEV, energy_mev, water))
    electrons = _electrons_per_g(folder / "Water")
    found = {}
    for line in (folder / LIST_FILE).read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[0].isdigit():
            mev, stopping = _stopping(folder / words[1])
            found[words[1]] = Shipped(
                int(words[0]),
                words[1],
                float(np.interp(RSP_MEV, mev, stopping)) / at,
                _electrons_per_g(folder / words[1]) / electrons,
            )
    return found


def _electrons_per_g(folder: Path) -> float:
    words = (line.split() for line in (folder / PROPERTIES_FILE).read_text().splitlines())
    value = {w[0]: float(w[1]) for w in words if len(w) > 1 and w[0] in ("Density", "Electron_Density")}
    return value["Electron_Density"] / value["Density"]


@functools.cache
def water_stopping() -> tuple[FloatArray, FloatArray]:
    """Energy in MeV and stopping power of the engine's water, MeV cm²/g."""
    return _stopping(find_installation().materials / "Water")


def _stopping(folder: Path) -> tuple[FloatArray, FloatArray]:
    energy_mev, stopping = np.loadtxt(folder / STOPPING_FILE).T
    return energy_mev, stopping


def make_materials(compositions: Sequence[Composition]) -> Mapping[Composition, Shipped | CustomMaterial]:
    """A material for each composition; water is the engine's own."""
    shipped = shipped_materials()
    label = max(m.label for m in shipped.values())
    made: dict[Composition, Shipped | CustomMaterial] = {WATER: shipped["Water"]}
    for composition in compositions:
        if composition not in made:
            label += 1
            made[composition] = CustomMaterial(label, f"Radiarch_{label}", composition)
    return made


def write_folder(materials: Sequence[CustomMaterial], folder: Path) -> None:
    """The engine's folder of materials: its own, and others behind them."""
    shipped = find_installation().materials
    if not materials:
        folder.symlink_to(shipped)
        return
    folder.mkdir()
    for item in shipped.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            (folder / item.name).symlink_to(item)
    shutil.copyfile(shipped / LIST_FILE, folder / LIST_FILE)
    with (folder / LIST_FILE).open("a") as file:
        file.write("\n" + "".join(f"{m.label} {m.name}\n" for m in materials))
    for material in materials:
        (folder / material.name).mkdir()
        (folder / material.name / PROPERTIES_FILE).write_text(material.properties_text)
        (folder / material.name / STOPPING_FILE).write_text(material.stopping_text)
