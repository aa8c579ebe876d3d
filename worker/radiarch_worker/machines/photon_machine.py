"""Machine files of linacs: what a beam of photons is and what the machine can do, checked; no dose is made here.

A file has ``modality: photon``; every field's unit is in its name, lengths are millimeters at the isocenter plane.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.near import suggestion
from radiarch_contract.yaml_file import Problem, UnreadableYamlError, read_yaml

from radiarch_worker.site_folders import Folders, site_folders

from .library import InvalidSiteFilesError
from .site_file import SiteFile, UnusableFileError, finding, is_photon_machine

GENERIC_LINAC = "generic-120"
"""The machine that ships: a generic one, of no site."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Point = tuple[Number, Number]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExtraFocal(_Part):
    """Photons from the flattening filter and the head: a Gaussian source in a plane.

    Attributes
    ----------
    share : of the fluence on the axis with everything open
    sigma_mm : in the plane of the source
    distance_mm : from the target to that plane
    """

    share: Share
    sigma_mm: Annotated[Positive, Field(le=100)]
    distance_mm: Annotated[Positive, Field(le=400)]


class Electrons(_Part):
    """Dose by electrons of head and air: share of the dose that one unit of energy fluence gives, falling in water."""

    share: Share
    decay_mm: Annotated[Positive, Field(le=50)]
    sigma_mm: Annotated[Positive, Field(le=200)]


class CalibrationCondition(_Part):
    """What one MU is: dose to water in a square field at a depth on the axis, jaws and leaves at the field's edge."""

    gy_per_mu: Annotated[Positive, Field(ge=0.001, le=0.1)]
    field_mm: Annotated[Positive, Field(ge=40, le=400)]
    ssd_mm: Annotated[Positive, Field(ge=500, le=2000)]
    depth_mm: Annotated[Positive, Field(ge=5, le=300)]


class PhotonEnergy(_Part):
    """One beam of the machine.

    Attributes
    ----------
    fluence_mode : as RT Plans have it: STANDARD, or FFF without flattening filter
    spectrum : (MeV, relative number of photons), energies rise
    source_spot_mm : standard deviations of the source along X and Y of the collimator
    off_axis : (mm from the axis, energy fluence relative to the axis)
    softening : (mm from the axis, attenuation relative to the axis)
    dose_rate_mu_min : lowest and highest
    """

    nominal_mv: Annotated[Positive, Field(ge=1, le=50)]
    fluence_mode: Literal["STANDARD", "FFF"] = "STANDARD"
    spectrum: Annotated[tuple[Point, ...], Field(min_length=2, max_length=200)]
    source_spot_mm: tuple[Annotated[Positive, Field(le=5)], Annotated[Positive, Field(le=5)]]
    extra_focal: ExtraFocal
    off_axis: Annotated[tuple[Point, ...], Field(min_length=2, max_length=200)]
    softening: Annotated[tuple[Point, ...], Field(min_length=2, max_length=200)] = ((0.0, 1.0), (300.0, 1.0))
    electrons: Electrons
    calibration: CalibrationCondition
    dose_rate_mu_min: tuple[Positive, Positive]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("spectrum", "off_axis", "softening"):
            table = getattr(self, name)
            for (low, _), (high, value) in pairwise(table):
                if not low < high:
                    raise ValueError(f"{name}: {high:g} follows {low:g}; the first column has to rise")
                if value < 0:
                    raise ValueError(f"{name}: {value:g} at {high:g} is negative")
        for name in ("off_axis", "softening"):
            (at, value), *rest = getattr(self, name)
            if at != 0 or not 0.5 <= value <= 1.5 or not all(0 < v < 3 for _, v in rest):
                raise ValueError(f"{name}: has to begin at 0 mm with a factor near 1, and have factors from 0 to 3")
        if self.spectrum[0][0] < 0.01 or self.spectrum[-1][0] > 1.05 * self.nominal_mv:
            raise ValueError(f"spectrum: energies are MeV, from 0.01 to those of {self.nominal_mv:g} MV")
        if sum(n for _, n in self.spectrum) <= 0:
            raise ValueError("spectrum: has no photons")
        if self.dose_rate_mu_min[0] > self.dose_rate_mu_min[1]:
            raise ValueError("dose_rate_mu_min: the lowest is above the highest")
        return self


class Mlc(_Part):
    """Leaves that move along X of the collimator (MLCX).

    Attributes
    ----------
    boundaries_mm : edges of the leaf pairs along Y, rising: one more than there are pairs
    distance_mm : from the source to the leaves
    transmission : through a closed leaf
    leaf_offset_mm : by which a rounded end lets the field begin behind its tip, for each leaf
    tongue_mm : width that a leaf's tongue reaches into its neighbor's way
    range_mm : where a tip may be
    span_mm : between the tips of one bank
    gap_min_mm : between opposite tips, at the same time that they move
    interdigitation : whether a leaf may pass the opposite leaves of neighboring pairs
    """

    boundaries_mm: Annotated[tuple[Number, ...], Field(min_length=3, max_length=201)]
    distance_mm: Annotated[Positive, Field(ge=100, le=900)]
    transmission: Annotated[Share, Field(le=0.1)]
    leaf_offset_mm: Annotated[Number, Field(ge=-2, le=5)]
    tongue_mm: Annotated[Number, Field(ge=0, le=3)]
    speed_mm_s: Annotated[Positive, Field(le=200)]
    range_mm: tuple[Number, Number]
    span_mm: Positive
    gap_min_mm: Annotated[Number, Field(ge=0, le=20)]
    interdigitation: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for low, high in pairwise(self.boundaries_mm):
            if not low < high:
                raise ValueError(f"boundaries_mm: {high:g} follows {low:g}; they have to rise")
            if not 1 <= high - low <= 30:
                raise ValueError(f"boundaries_mm: a leaf of {high - low:g} mm from {low:g}, expected 1 to 30 mm")
        if not self.range_mm[0] < self.range_mm[1]:
            raise ValueError("range_mm: the lower end is not below the upper one")
        return self


class Jaws(_Part):
    """Jaws of one direction; ``range_mm`` is of both together, the lower one stays below the upper one."""

    transmission: Annotated[Share, Field(le=0.1)]
    range_mm: tuple[Number, Number]
    distance_mm: Annotated[Positive, Field(ge=100, le=900)]
    speed_mm_s: Annotated[Positive, Field(le=200)] = 25.0
    moves_during_arc: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.range_mm[0] < self.range_mm[1]:
            raise ValueError("range_mm: the lower end is not below the upper one")
        return self


class Gantry(_Part):
    """How fast the gantry turns, and the angle (IEC, 0 to 360) that it cannot pass."""

    speed_deg_s: Annotated[Positive, Field(le=60)]
    stop_deg: Annotated[Number, Field(ge=0, lt=360)] = 180.0


class PhotonMachineFile(SiteFile):
    """``NAME.yaml`` with ``modality: photon``.

    Attributes
    ----------
    generic : nobody's machine: results say so
    jaws_x, jaws_y : None where the machine has none
    mu_per_control_point : least MU between two control points of a beam that moves
    """

    modality: Literal["photon"]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    generic: bool = False
    source_axis_distance_mm: Annotated[Positive, Field(ge=500, le=1500)] = 1000.0
    energies: Annotated[tuple[PhotonEnergy, ...], Field(min_length=1, max_length=20)]
    mlc: Mlc
    jaws_x: Jaws | None = None
    jaws_y: Jaws | None = None
    gantry: Gantry
    mu_per_control_point: Annotated[Number, Field(ge=0, le=10)] = 0.1

    @model_validator(mode="after")
    def _energies_differ(self) -> Self:
        seen = [(e.nominal_mv, e.fluence_mode) for e in self.energies]
        if len(set(seen)) < len(seen):
            raise ValueError("energies: two have the same nominal_mv and fluence_mode")
        return self


class PhotonMachine(_Part):
    """A machine as its file is now.

    Attributes
    ----------
    sha256 : of the file
    """

    name: str
    sha256: str
    file: PhotonMachineFile

    def energy(self, nominal_mv: float, fluence_mode: str = "STANDARD") -> PhotonEnergy:
        """One of its beams.

        Raises
        ------
        InvalidRequestError
            The machine does not have it; those that it has are named.
        """
        for energy in self.file.energies:
            if energy.nominal_mv == nominal_mv and energy.fluence_mode == fluence_mode:
                return energy
        known = ", ".join(f"{e.nominal_mv:g} MV {e.fluence_mode}" for e in self.file.energies)
        raise InvalidRequestError(
            f"machine {self.name!r} has no beam of {nominal_mv:g} MV {fluence_mode}; it has {known}",
            remedy="Name an energy that the machine's file has, or add it to the file (docs/machines.md).",
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What results say of it."""
        if self.file.generic:
            return (f"Machine {self.name} is generic: it is nobody's machine, and its MU are of no linac.",)
        if self.file.confirmation is None:
            return (f"Beam data of machine {self.name} are not confirmed by this site.",)
        return ()


def read_photon_machine(file_name: str, data: bytes) -> PhotonMachineFile:
    """Read a machine file's bytes. Raises `UnusableFileError` with line and field of every mistake."""
    try:
        file = read_yaml(file_name, data)
        return PhotonMachineFile.model_validate(file.values)
    except UnreadableYamlError as e:
        raise UnusableFileError((e.problem,)) from None
    except ValidationError as e:
        found = tuple(finding(x) for x in e.errors(include_url=False))
        raise UnusableFileError(tuple(file.problem(_in_table(where, text), text) for where, text in found)) from None


def _in_table(where: tuple[str | int, ...], text: str) -> tuple[str | int, ...]:
    """The table that a message of a whole part is about, so that its line is named."""
    name, colon, _ = text.partition(": ")
    return (*where, name) if colon and name.isidentifier() else where


def photon_machine(name: str) -> PhotonMachine:
    """A machine by its name: of the site, else one that ships.

    Raises
    ------
    InvalidRequestError
        There is none of that name; the known ones are named.
    InvalidSiteFilesError
        Its file cannot be used.
    """
    paths = photon_machine_files()
    if name not in paths:
        raise InvalidRequestError(
            f"photon machine {name!r} is not known; known are {', '.join(sorted(paths))}{suggestion(name, paths)}",
            remedy="Name one of the known machines in the protocol or request.",
        )
    try:
        data = paths[name].read_bytes()
        return PhotonMachine(
            name=name,
            sha256=hashlib.sha256(data).hexdigest(),
            file=read_photon_machine(paths[name].name, data),
        )
    except UnusableFileError as e:
        raise InvalidSiteFilesError(e.problems) from None
    except OSError as e:
        raise InvalidSiteFilesError((Problem(paths[name].name, 1, "", f"cannot be read: {e.strerror}"),)) from None


def photon_machine_files() -> dict[str, Path]:
    """Files of linacs by the machine's name; the site's replace those that ship."""
    found: dict[str, Path] = {}
    for folder in (Folders().machines, site_folders().machines):
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            if path.is_file() and not path.name.startswith(".") and is_photon_machine(path.read_bytes()):
                found[path.stem] = path
    return found


def photon_machine_problems() -> tuple[Problem, ...]:
    """Mistakes in the site's files of linacs."""
    problems: list[Problem] = []
    for name in photon_machine_files():
        try:
            photon_machine(name)
        except InvalidSiteFilesError as e:
            problems += e.problems
    return tuple(problems)
