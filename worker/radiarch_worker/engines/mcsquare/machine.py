"""Beam data, of the site and those that ship in opentps-core, with limits of delivery; runs nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.near import suggestion
from radiarch_contract.yaml_file import Problem

from radiarch_worker.engines import opentps
from radiarch_worker.ion import IonMachine
from radiarch_worker.machines.calibration import Confirmation, confirmed
from radiarch_worker.machines.library import InvalidSiteFilesError, site_machines

from .installation import file_digest, find_installation
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
    confirmation: Confirmation | None = None

    @property
    def provenance(self) -> Mapping[str, object]:
        """For a result's record."""
        return {"name": self.name, "sha256": self.sha256, "confirmed": confirmed(self.confirmation)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a result that was made with it has to say of it."""
        if self.confirmation is not None:
            return ()
        return (f"The beam data {self.name} are not confirmed by this site: its machine may differ from them.",)

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
    def described(self) -> IonMachine:
        """What of the machine is written into a plan."""
        return IonMachine(
            name=self.name,
            virtual_source_axis_distance_mm=(self.smx_mm, self.smy_mm),
            snout_position_mm=self.nozzle_isocenter_mm,
        )


def load_machine(name: str) -> ProtonMachine:
    """A beam data library of the site or of opentps-core, by its file's name without suffix.

    Raises
    ------
    InvalidRequestError
        There is no library of that name; the known ones are named.
    InvalidSiteFilesError
        There is none, and files of the site could not be read.
    """
    shipped = _shipped()
    site, problems = site_machines(shipped)
    own = site.get(name)
    if own is None and (problems or name not in shipped):
        of_it = [p for p in problems if p.file.rpartition(".")[0] == name]
        if of_it or (problems and name not in shipped):
            raise InvalidSiteFilesError(of_it or problems)
    if own is None and name not in shipped:
        raise InvalidRequestError(
            f"machine {name!r} is not known; known are {', '.join(sorted({*shipped, *site}))}"
            f"{suggestion(name, {*shipped, *site})}",
            remedy="Name one of the known machines in the protocol or request.",
        )
    if own is None or own.beam_data is None:
        machine = _read_machine(name, shipped[name], file_digest(shipped[name]))
    else:
        machine = _read_own(name, own.beam_data)
    if own is None:
        return machine
    given = own.description
    limits = MachineLimits(
        spot_mu_min=given.spot_mu_min or machine.limits.spot_mu_min,
        field_x_mm=given.field_x_mm or machine.limits.field_x_mm,
        field_y_mm=given.field_y_mm or machine.limits.field_y_mm,
    )
    return replace(machine, limits=limits, confirmation=given.confirmation)


def _shipped() -> dict[str, Path]:
    return {p.stem: p for p in (find_installation().folder / "BDL").glob("*.txt")}


def machine_problems() -> tuple[Problem, ...]:
    """Mistakes in the site's files of machines."""
    site, problems = site_machines(_shipped())
    found = list(problems)
    for name, machine in site.items():
        try:
            if machine.beam_data is not None:
                _read_own(name, machine.beam_data)
        except InvalidSiteFilesError as e:
            found += e.problems
    return tuple(found)


def _read_own(name: str, path: Path) -> ProtonMachine:
    """Beam data of the site, which were checked; what OpenTPS makes of them all the same is not known."""
    try:
        return _read_machine(name, path, file_digest(path))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        message = f"OpenTPS cannot read it ({type(e).__name__}: {e})"[:300]
        raise InvalidSiteFilesError([Problem(path.name, 1, "", message)]) from e


@functools.lru_cache(maxsize=16)
def _read_machine(name: str, path: Path, sha256: str) -> ProtonMachine:
    io: Any = opentps.load("io.mcsquareIO")
    materials: Any = opentps.load("data.CTCalibrations.MCsquareCalibration")
    # The engine misreads the file as it is shipped (comments in the head) and then, with exit code 0, lets every
    # proton miss the patient; OpenTPS's own formatting of it is read right.
    with opentps.calls():
        bdl = io.readBDL(str(path))
        text = bdl.mcsquareFormatted(materials.MCsquareMaterial.getMaterialList("default"))
    return ProtonMachine(
        name=name,
        sha256=sha256,
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
