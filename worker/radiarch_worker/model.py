"""The frozen types that flow through the worker, from patient to results; no behaviour beyond geometry lives here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from radiarch_contract.job import DvhCurve
from radiarch_contract.robustness import Robustness
from radiarch_contract.states import OutputKind, Stage

from .position import PatientPosition

Vector3 = tuple[float, float, float]
FloatVolume = npt.NDArray[np.float32]
BoolVolume = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """A regular axial grid in patient LPS millimetres; arrays on it are (Z, Y, X).

    Attributes
    ----------
    origin_mm : (x, y, z) of the centre of voxel [0, 0, 0], the lowest slice
    spacing_mm : (x, y, z), all positive
    shape : (nz, ny, nx)
    """

    origin_mm: Vector3
    spacing_mm: Vector3
    shape: tuple[int, int, int]

    @property
    def voxel_cc(self) -> float:
        x, y, z = self.spacing_mm
        return x * y * z / 1000.0

    def axis_mm(self, axis: int) -> npt.NDArray[np.float64]:
        """Voxel centres along ``axis`` (0 = x, 1 = y, 2 = z)."""
        return self.origin_mm[axis] + self.spacing_mm[axis] * np.arange(self.shape[2 - axis])


@dataclass(frozen=True)
class PatientStudy:
    """Identity of patient and study as the CT has it, copied into results; never logged."""

    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    study_id: str
    study_date: str
    study_time: str
    study_description: str
    accession_number: str
    referring_physician_name: str


@dataclass(frozen=True)
class Scanner:
    """What CT images say of the scanner; empty, or None, where they do not.

    Attributes
    ----------
    manufacturer, model, station : (0008,0070), (0008,1090), (0008,1010)
    kvp : tube voltage (0018,0060), kV
    """

    manufacturer: str = ""
    model: str = ""
    station: str = ""
    kvp: float | None = None

    def __str__(self) -> str:
        said = f"{self.manufacturer} {self.model}".strip() or "unnamed scanner"
        said += f", station {self.station}" if self.station else ""
        return said + ("" if self.kvp is None else f", {self.kvp:g} kV")


@dataclass(frozen=True)
class CtVolume:
    """A CT on its grid.

    Attributes
    ----------
    hu : (Z, Y, X) float32, rescaled, padding replaced by air
    sop_instance_uids : one a slice, in the order of Z
    scanners : different ones among the images, in the order of their slices; one, as a rule
    has_metals : whether some voxels have the numbers of `engines.mcsquare.metals`, which no CT has
    """

    hu: FloatVolume
    grid: Grid
    frame_of_reference_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uids: tuple[str, ...]
    patient_position: PatientPosition
    study: PatientStudy
    scanners: tuple[Scanner, ...] = ()
    has_metals: bool = False


@dataclass(frozen=True)
class Structure:
    """A structure on the CT's grid.

    Attributes
    ----------
    mask : (Z, Y, X) bool on the CT's grid: voxel centre inside
    contours
        Closed planar contours as (z_mm, (n, 2) xy mm) pairs, even-odd within a slice; each once, where the RTSTRUCT has
        one several times. The mask has more slices where some were interpolated.
    definition : what it is made of where it is derived; None where the RTSTRUCT has it
    properties : physical properties that the RTSTRUCT says it has, by DICOM's term (REL_MASS_DENSITY …)
    color : as pages draw it (`radiarch_contract.structure_colors`); None where the RTSTRUCT does not have it
    """

    roi_number: int
    name: str
    interpreted_type: str
    mask: BoolVolume
    contours: tuple[tuple[float, npt.NDArray[np.float64]], ...] = ()
    definition: str | None = None
    properties: Mapping[str, float] = field(default_factory=dict)
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class SeriesUse:
    """How many images of the CT series the structure set names, and how many are stored."""

    named: int
    stored: int


@dataclass(frozen=True)
class Patient:
    """What is planned on: settled coordinates, one frame of reference."""

    ct: CtVolume
    structures: Mapping[int, Structure]  # by ROI number; only those with contours
    body: Structure  # of the RTSTRUCT, or found from the CT (then `notes` says so)
    rtstruct_sop_instance_uid: str
    rtstruct_sop_class_uid: str
    notes: tuple[str, ...] = ()
    series: SeriesUse | None = None


@dataclass(frozen=True)
class Dose:
    """Dose as reported: total over all fractions.

    Attributes
    ----------
    dose_gy : (Z, Y, X) float32, RBE-weighted for protons
    rbe : the constant factor that is in ``dose_gy``, once
    """

    dose_gy: FloatVolume
    grid: Grid
    rbe: float


@dataclass(frozen=True)
class Beam:
    """What beams of every modality have; a modality derives its own from it. Angles are IEC 61217, degrees."""

    number: int
    name: str
    gantry_deg: float
    couch_deg: float
    isocenter_mm: Vector3


@dataclass(frozen=True)
class Machine:
    """What of the machine every plan names; a modality derives its own from it."""

    name: str


@dataclass(frozen=True)
class PlanResult:
    """What a workflow hands to evaluation and DICOM writing."""

    beams: tuple[Beam, ...]
    dose: Dose
    uncertainty_percent: float | None  # statistical; None where the engine draws no random numbers
    machine: Machine
    provenance: Mapping[str, Any]  # engine and version, machine data and calibration with sha256, seed, primaries …
    notes: tuple[str, ...] = ()
    solver_trace: tuple[Mapping[str, Any], ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    robustness: Robustness | None = None
    extras: Mapping[OutputKind, Any] = field(default_factory=dict)
    """What is written beside the dose where it was asked for, by the kind of output."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """Of this run, not of the plan: whether beamlets were cached …; the same plan may be made in other ways."""


B = TypeVar("B", bound=Beam)


def beams_of(plan: PlanResult, kind: type[B], radiation: str) -> tuple[B, ...]:
    """A plan's beams, all of one kind.

    Raises
    ------
    TypeError
        It is a plan of another modality.
    """
    beams = tuple(beam for beam in plan.beams if isinstance(beam, kind))
    if len(beams) != len(plan.beams):
        raise TypeError(f"the plan has beams of another modality, expected {radiation}")
    return beams


class Reporter(Protocol):
    """Where planning reports its progress to; the job's runtime implements it."""

    def stage(self, stage: Stage, message: str = "") -> None:
        """A stage begins."""

    def expect(self, work: Mapping[Stage, float]) -> None:
        """Work of this stage and later ones, as soon as it is known: million protons, where an engine computes."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Fraction of the present stage, 0 to 1."""

    def log(self, line: str) -> None:
        """One line of the job's log, the engine's own lines included."""

    def solver(self, iteration: int, objective: float, terms: Mapping[str, float]) -> None:
        """One iteration of the optimiser, with the value by structure."""

    def preview(self, dvh: Sequence[DvhCurve]) -> None:
        """DVHs of the optimised beamlets, before the final dose is computed; coarse, on the dose grid's voxels."""
