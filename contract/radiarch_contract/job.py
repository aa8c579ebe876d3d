"""What plugin and worker say to each other about one attempt at a plan; REST's own models live in the plugin."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .errors import ErrorInfo, InvalidRequestError
from .goals import GoalResult
from .robustness import Robustness
from .states import OutputKind, Stage
from .strict import Strict
from .structures import StructureRef
from .verdict import Verdict
from .workflows import GammaCriteria, Prescription


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobInput(Strict):
    """An object in Orthanc that a job is about, besides the structure set and its images."""

    kind: Literal["rtplan", "rtdose", "added_rtdose", "reference_rtdose"]
    sop_instance_uid: str = Field(max_length=64)
    sha256: str | None = Field(default=None, description="`identity.dataset_sha256` of what the job was made for.")
    alternatives: tuple[str, ...] = Field(
        default=(),
        exclude_if=lambda uids: not uids,
        description="SOP Instance UIDs of further objects that would have done as well; this one was taken.",
    )


class SessionRef(Strict):
    """The session that a plan belongs to: its worker reads and stores there, not in Orthanc."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    token: str = Field(pattern=r"^[0-9a-f.]{1,128}$", repr=False, description="Of this plan; none after its end.")


class MachineScale(_Wire):
    """Protons per MU of a plan's machine over those of our beam data, as a check derived it from the plan's dose.

    The scale of one machine is the same for all of its plans, as long as the beam data and the calibration are.
    """

    machine: str = Field(max_length=400, description="Name, manufacturer and model, as the plan says.")
    machine_sha256: str = Field(max_length=64, description="Of our beam data.")
    calibration_sha256: str = Field(max_length=64, description="Of our CT calibration.")
    scale: float = Field(gt=0)
    counts: bool = Field(default=True, description="Whether other plans of the machine are judged by it.")


class KnownScale(Strict):
    """What is known of a machine's scale from its other plans."""

    machine: str
    machine_sha256: str
    calibration_sha256: str
    scale: float = Field(description="As a person has confirmed it, else the median over plans.")
    plans: int = Field(ge=1)
    confirmed: bool = Field(description="Whether a person has said that it is right.")


class JobSpec(Strict):
    """Everything that a worker needs to plan; the same for every attempt but for ``attempt``."""

    plan_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    attempt: int = Field(ge=1)
    created_at: datetime = Field(description="UTC; written as the results' dates, so that a repeat is bit-identical.")
    rtstruct_sop_instance_uid: str = Field(max_length=64)
    rtstruct_sha256: str = Field(description="`identity.dataset_sha256` of the RTSTRUCT the plan was made for.")
    patient_id: str
    study_instance_uid: str
    workflow_id: str
    protocol_id: str | None = None
    protocol_sha256: str | None = None
    prescription: Prescription | None = Field(
        default=None, description="None where a workflow that does not plan was not told of one."
    )
    parameters: dict[str, Any] = Field(description="Validated by the workflow's model, defaults filled in.")
    goals: tuple[str, ...] = ()
    structures: tuple[StructureRef, ...] = Field(
        default=(), description="What the names in prescription, objectives and goals stand for."
    )
    inputs: tuple[JobInput, ...] = ()
    scales: tuple[KnownScale, ...] = Field(
        default=(),
        exclude_if=lambda scales: not scales,
        description="Of a recalculation: what other plans have told of machines' scales.",
    )
    plan_label: str = Field(default="RADIARCH", max_length=16)
    session: SessionRef | None = Field(default=None, description="None: inputs and results are in Orthanc itself.")

    @property
    def prescribed(self) -> Prescription:
        """The prescription, for workflows that cannot do without. Raises `InvalidRequestError`."""
        if self.prescription is None:
            raise InvalidRequestError(
                f"workflow {self.workflow_id} needs a prescription and the job has none",
                remedy="Give a prescription: target, dose_gy, fractions.",
            )
        return self.prescription


class AttemptStatus(_Wire):
    """Progress of a running attempt."""

    plan_id: str
    attempt: int
    stage: Stage
    progress: float = Field(ge=0, le=1, description="Of the whole plan; never falls.")
    eta_s: float | None
    message: str = ""
    worker: str
    started_at: datetime
    heartbeat_at: datetime
    solver: dict[str, Any] | None = Field(
        default=None,
        description="Latest iteration: iteration, objective, and terms by structure; trace: the same of the last 200; "
        "dvh: of the optimised beamlets, once they are optimised.",
    )


class Output(_Wire):
    """One stored result."""

    kind: OutputKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    orthanc_id: str
    sha256: str = Field(description="`identity.dataset_sha256` of what Orthanc had when it was stored.")


class DvhCurve(_Wire):
    """Cumulative DVH of one structure on the final dose, total Gy as reported."""

    structure: str
    roi_number: int
    volume_cc: float
    dose_gy: tuple[float, ...] = Field(description="Rising bin edges.")
    volume_percent: tuple[float, ...] = Field(description="Volume with at least that dose; same length.")


class StructureMetrics(_Wire):
    """Metrics of one structure; doses in Gy, total over all fractions."""

    structure: str
    roi_number: int
    volume_cc: float
    d_mean_gy: float
    d_min_gy: float
    d_max_gy: float
    d98_gy: float
    d95_gy: float
    d50_gy: float
    d2_gy: float


class BeamResult(_Wire):
    """What was planned for one beam."""

    number: int
    name: str
    gantry_deg: float
    couch_deg: float
    isocenter_mm: tuple[float, float, float]
    layers: int | None = Field(default=None, description="Of scanned protons, as all up to energy_max_mev.")
    spots: int | None = None
    energy_min_mev: float | None = None
    energy_max_mev: float | None = None
    collimator_deg: float | None = Field(default=None, description="Of photons, as all up to control_points.")
    gantry_stop_deg: float | None = Field(default=None, description="Where an arc ends; null: the gantry stands.")
    rotation: Literal["clockwise", "counter_clockwise"] | None = None
    energy_mv: float | None = None
    fluence: Literal["flattened", "unflattened"] | None = None
    control_points: int | None = None
    meterset_mu: float = Field(description="For one fraction.")


class DoseDescription(_Wire):
    """A dose that was read, in the words of its RTDOSE."""

    sop_instance_uid: str
    dose_type: Literal["PHYSICAL", "EFFECTIVE"] = Field(description="EFFECTIVE is RBE-weighted.")
    max_gy: float
    grid_mm: tuple[float, float, float] = Field(description="Spacing along x, y, z.")
    manufacturer: str = ""
    label: str = Field(default="", description="Of the series, as its maker described it.")


class GammaResult(_Wire):
    """Gamma index (Low 1998, doi:10.1118/1.598248) of a dose against a reference, inside BODY."""

    criteria: GammaCriteria
    passed_percent: float = Field(ge=0, le=100)
    points: int = Field(description="Points of the reference grid that were judged.")
    mean: float
    max: float = Field(description="Not searched beyond `max_searched`: such points have that value.")
    max_searched: float
    reference_max_gy: float = Field(description="What percentages are of, where they are global.")


class GammaRegion(_Wire):
    """The same gamma in a part of BODY."""

    region: Literal["target", "high_dose"]
    structure: str = Field(default="", description="Of a target: its name.")
    passed_percent: float = Field(ge=0, le=100)
    points: int = Field(ge=1)
    mean: float
    max: float


class BeamAgreement(_Wire):
    """How a beam has to be changed so that the sum of all beams comes nearest to the reference.

    Each is what the reference has more than the recalculation, with its standard uncertainty.
    """

    number: int
    name: str
    meterset_percent: float = Field(description="More of this beam.")
    range_mm: float | None = Field(description="Farther along its direction; null: it has no range (photons).")
    shift_x_mm: float = Field(description="To the side, along x of the gantry's system.")
    shift_y_mm: float = Field(description="To the side, along y of the gantry's system.")
    shift_z_mm: float | None = Field(
        default=None,
        description="Of an arc: towards the gantry's place at 0 degrees, whose system x and y are then of.",
    )
    meterset_uncertainty_percent: float = Field(ge=0)
    range_uncertainty_mm: float | None = Field(ge=0)
    shift_uncertainty_mm: float = Field(ge=0, description="The larger one of x and y.")


DoseQuantity = Literal["RBE_WEIGHTED", "PHYSICAL"]


class DoseComparison(_Wire):
    """A dose beside its reference; differences are the dose minus the reference."""

    reference: DoseDescription
    rbe_weighted: bool = Field(description="What both are compared as; false: physical dose.")
    reference_rbe: float = Field(default=1.0, description="By which the reference was multiplied to be that.")
    scale: float = Field(default=1.0, description="Factor on the computed meterset, derived or given; 1: none.")
    scale_source: Literal["none", "given", "reference"] = "none"
    gamma: GammaResult | None = None
    gamma_note: str | None = Field(default=None, description="Why there is no gamma.")
    regions: tuple[GammaRegion, ...] = Field(default=(), description="Gamma in the targets and in the high dose.")
    beams: tuple[BeamAgreement, ...] = Field(default=(), description="Of a recalculation, where it could be told.")
    mean_difference_gy: float | None = Field(
        description="Over points with at least half of the reference's maximum; null where the scale was derived from "
        "that very dose, so that there is none."
    )
    metrics: tuple[StructureMetrics, ...] = Field(default=(), description="Of the reference.")
    goals: tuple[GoalResult, ...] = Field(default=(), description="Judged on the reference.")
    dvh: tuple[DvhCurve, ...] = Field(default=(), description="Of the reference.")


class CtUsed(_Wire):
    """The CT that a result was made on."""

    series_instance_uid: str
    patient_position: str
    slices: int = Field(description="Of the series, those that were used.")
    named: int = Field(description="Images that the structure set names; the others are of the same stack.")
    stored: int = Field(description="Images of the series that were in Orthanc when it was read.")


class RunResult(_Wire):
    """What a run gave, without its curves: the same in a worker's result, in the database and in answers."""

    metrics: tuple[StructureMetrics, ...] = ()
    goals: tuple[GoalResult, ...] = ()
    uncertainty_percent: float | None = Field(
        default=None,
        description="Of the final dose, 1 sigma, mean over the target's voxels; measured. Null where none was "
        "computed, or by an engine that draws no random numbers.",
    )
    dose: DoseDescription | None = Field(default=None, description="Of an evaluation: the dose that was judged.")
    dose_quantity: DoseQuantity | None = Field(default=None, description="What metrics, goals and curves are of.")
    comparison: DoseComparison | None = Field(
        default=None, description="With the reference dose, where there is one; its curves are at /plans/{id}/dvh."
    )
    verdict: Verdict | None = Field(default=None, description="Of a check: pass, look or fail, and why.")
    machine_scale: MachineScale | None = Field(
        default=None, description="Of a recalculation: what it told of the plan's machine, see /machine-scales."
    )
    robustness: Robustness | None = Field(
        default=None, description="Of a robust plan, over its scenarios; its bands are at /plans/{id}/dvh."
    )
    notes: tuple[str, ...] = Field(
        default=(), description="What the user should know, such as a BODY found from the CT."
    )
    provenance: dict[str, Any] = Field(default_factory=dict)
    timings_s: dict[str, float] = Field(default_factory=dict)


class JobResult(RunResult):
    """End of an attempt: ``error`` is None exactly when it succeeded."""

    plan_id: str
    attempt: int
    error: ErrorInfo | None = None
    retryable: bool = False
    outputs: tuple[Output, ...] = ()
    beams: tuple[BeamResult, ...] = ()
    dvh: tuple[DvhCurve, ...] = ()
    ct: CtUsed | None = Field(default=None, description="Also in the provenance.")
    solver_trace: tuple[dict[str, Any], ...] = ()
    worker: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


class WorkerStatus(_Wire):
    """Heartbeat of a worker, with what it can really run."""

    name: str
    host: str
    pid: int
    version: str
    started_at: datetime
    heartbeat_at: datetime
    state: str = Field(description="idle or busy")
    plan_id: str | None = None
    engines: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="By engine: {available: bool, version, reason}; available means it was run."
    )
    machine_data: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of the site's machines and calibrations, by file."
    )
    machine_data_problems: tuple[str, ...] = Field(default=(), description="Mistakes in these files.")
