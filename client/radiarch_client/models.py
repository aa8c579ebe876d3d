"""What the server answers, as frozen typed models; fields that this version does not know are kept, not refused.

Doses are in Gy, total over all fractions (RBE-weighted for protons); positions are patient LPS
millimetres; times are UTC. States and kinds are plain strings, equal to the contract's enums where
those know them (``plan.state == PlanState.SUCCEEDED``), so that a newer server's words pass.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from radiarch_contract.errors import RadiarchError
from radiarch_contract.states import PlanState

from . import _errors

T = TypeVar("T")


class Model(BaseModel):
    """Base: frozen, tolerant."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Page(Model, Generic[T]):
    """One page of a list; ``next`` is the cursor of the page after it, or None."""

    items: tuple[T, ...]
    next: str | None = None


class Failure(Model):
    """Why something failed or was refused."""

    code: str
    message: str
    remedy: str = ""
    details: dict[str, Any] = Field(default_factory=dict)

    def as_error(self) -> RadiarchError:
        """The contract's exception of that code."""
        return _errors.from_info(self.model_dump())


class Engine(Model):
    """One dose engine; available means that a worker really ran it."""

    available: bool
    version: str | None = None
    reason: str | None = None
    workers: int | None = None


class WorkerCounts(Model):
    """How many workers gave a sign of life lately."""

    total: int
    idle: int = 0
    busy: int = 0


class Queue(Model):
    """Plans that are not at their end, by state."""

    waiting: int = 0
    queued: int = 0
    running: int = 0


class OrthancInfo(Model):
    """The Orthanc that the service runs in."""

    name: str | None = None
    version: str | None = None
    dicom_aet: str | None = None
    dicom_port: int | None = None


class Disk(Model):
    """The disk that has Orthanc's storage folder."""

    free_bytes: int
    total_bytes: int


class Info(Model):
    """The service; ``ready``: a structure set that arrives now is planned; ``problems`` says why not."""

    name: str
    version: str
    ready: bool
    problems: tuple[Failure, ...] = ()
    workflows: tuple[str, ...] = ()
    protocols: int | None = None
    engines: dict[str, Engine] = Field(default_factory=dict)
    workers: WorkerCounts | None = None
    queue: Queue | None = None
    orthanc: OrthancInfo | None = None
    disk: Disk | None = None
    known_hosts: tuple[str, ...] = ()
    sign_in: str = "none"


class Workflow(Model):
    """A way of planning; ``parameters`` is the JSON schema, ``defaults`` every parameter that has one."""

    id: str
    title: str = ""
    description: str = ""
    modality: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    defaults: dict[str, Any] = Field(default_factory=dict)


class Prescription(Model):
    """What is prescribed: total dose over all fractions."""

    target: str
    dose_gy: float
    fractions: int


class Protocol(Model):
    """A protocol as the running service uses it."""

    id: str
    title: str = ""
    description: str = ""
    priority: int = 0
    enabled: bool = True
    workflow: str
    prescription: Prescription | None = None
    match: dict[str, Any] = Field(default_factory=dict)
    structures: dict[str, Any] = Field(default_factory=dict)
    beams: tuple[dict[str, Any], ...] = ()
    beam_count: int | None = None
    objectives: tuple[dict[str, Any], ...] = ()
    goals: tuple[str, ...] = ()
    calculation: dict[str, Any] = Field(default_factory=dict)
    file: str | None = None
    sha256: str | None = None


class Output(Model):
    """One stored result."""

    kind: str
    sop_instance_uid: str
    orthanc_id: str | None = None
    series_instance_uid: str | None = None
    sop_class_uid: str | None = None


class GoalResult(Model):
    """A goal with its value in ``unit``; ``status`` is met, near or missed, or None where there is no value."""

    text: str
    structure: str = ""
    value: float | None = None
    unit: str = ""
    status: str | None = None
    note: str | None = None


class StructureMetrics(Model):
    """Metrics of one structure on the final dose."""

    structure: str
    roi_number: int | None = None
    volume_cc: float | None = None
    d_mean_gy: float | None = None
    d_min_gy: float | None = None
    d_max_gy: float | None = None
    d98_gy: float | None = None
    d95_gy: float | None = None
    d50_gy: float | None = None
    d2_gy: float | None = None


class Beam(Model):
    """A beam as asked for, with its spots when planned; angles IEC 61217, meterset for one fraction."""

    number: int | None = None
    name: str | None = None
    gantry_deg: float
    couch_deg: float = 0.0
    isocenter_mm: tuple[float, float, float] | None = None
    layers: int | None = None
    spots: int | None = None
    energy_min_mev: float | None = None
    energy_max_mev: float | None = None
    collimator_deg: float | None = None
    gantry_stop_deg: float | None = None
    rotation: str | None = None
    energy_mv: float | None = None
    fluence: str | None = None
    control_points: int | None = None
    meterset_mu: float | None = None


class PlanSummary(Model):
    """A plan as lists show it."""

    id: str
    job_id: str = ""
    state: str
    stage: str | None = None
    progress: float = 0.0
    eta_s: float | None = None
    message: str = ""
    attempt: int = 0
    priority: str | None = None
    queue_position: int | None = None
    origin: str | None = None
    workflow_id: str | None = None
    protocol_id: str | None = None
    label: str = ""
    patient_id: str | None = None
    patient_name: str | None = None
    study_instance_uid: str | None = None
    rtstruct_sop_instance_uid: str | None = None
    prescription: Prescription | None = None
    missing_instances: int = 0
    parent_id: str | None = None
    supersedes: str | None = None
    superseded_by: str | None = None
    superseded_at: datetime | None = None
    superseded_results: str | None = None
    error: Failure | None = None
    goal_counts: dict[str, int] | None = None
    results: dict[str, str] = Field(default_factory=dict)
    outcome: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """No further change will come of itself."""
        try:
            return PlanState(self.state).ended
        except ValueError:
            return self.ended_at is not None

    @property
    def succeeded(self) -> bool:
        return self.state == PlanState.SUCCEEDED

    def raise_for_failure(self) -> None:
        """Raise the plan's error as the contract's exception, if it failed or was cancelled."""
        if self.error is not None:
            raise self.error.as_error()
        if self.state == PlanState.CANCELLED:
            raise _errors.from_info(
                {
                    "code": "cancelled",
                    "message": f"plan {self.id} was cancelled",
                    "remedy": "Ask for another plan.",
                }
            )


class JobInput(Model):
    """An object in Orthanc that a plan is about, besides its structure set; ``kind`` is rtplan, rtdose, …"""

    kind: str
    sop_instance_uid: str
    sha256: str | None = None
    alternatives: tuple[str, ...] = ()


class Approval(Model):
    """A person's decision about a result: approved, rejected or withdrawn."""

    decision: str
    by: str | None = None
    at: datetime | None = None
    comment: str = ""


class DoseDescription(Model):
    """A dose that was read, in the words of its RTDOSE; EFFECTIVE is RBE-weighted."""

    sop_instance_uid: str
    dose_type: str
    max_gy: float
    grid_mm: tuple[float, float, float] | None = None
    manufacturer: str = ""
    label: str = ""


class Gamma(Model):
    """Gamma index of a dose against a reference, inside BODY."""

    criteria: dict[str, Any] = Field(default_factory=dict)
    passed_percent: float
    points: int
    mean: float | None = None
    max: float | None = None
    max_searched: float | None = None
    reference_max_gy: float | None = None


class GammaRegion(Model):
    """The same gamma in a part of BODY: a target, or high_dose."""

    region: str
    structure: str = ""
    passed_percent: float
    points: int
    mean: float | None = None
    max: float | None = None


class BeamAgreement(Model):
    """What the reference has more of a beam than was computed, fitted; with standard uncertainties."""

    number: int
    name: str = ""
    meterset_percent: float
    range_mm: float | None = None
    shift_x_mm: float
    shift_y_mm: float
    shift_z_mm: float | None = None
    meterset_uncertainty_percent: float = 0.0
    range_uncertainty_mm: float | None = None
    shift_uncertainty_mm: float = 0.0


class Criterion(Model):
    """One thing that a check was judged by; without a value it could not be."""

    id: str
    title: str
    value: float | None = None
    unit: str = ""
    look: float | None = None
    fail: float | None = None
    result: str
    note: str = ""


class Verdict(Model):
    """What a check says: pass, look or fail, with the reasons of what does not pass, the worst first."""

    result: str
    reasons: tuple[str, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    reservations: tuple[str, ...] = ()


class DoseComparison(Model):
    """A dose beside its reference; differences are the dose minus the reference."""

    reference: DoseDescription
    rbe_weighted: bool = False
    reference_rbe: float = 1.0
    scale: float = 1.0
    scale_source: str = "none"
    gamma: Gamma | None = None
    gamma_note: str | None = None
    regions: tuple[GammaRegion, ...] = ()
    beams: tuple[BeamAgreement, ...] = ()
    mean_difference_gy: float | None = None
    metrics: tuple[StructureMetrics, ...] = ()
    goals: tuple[GoalResult, ...] = ()


class MetricBand(Model):
    """A dose metric of a structure over all scenarios of a robust evaluation."""

    structure: str
    metric: str
    nominal_gy: float
    low_gy: float
    high_gy: float
    low_scenario: str = ""
    high_scenario: str = ""


class GoalBand(Model):
    """A goal over all scenarios; ``met`` counts those in which it is met."""

    text: str
    unit: str = ""
    nominal: float | None = None
    worst: float | None = None
    worst_scenario: str | None = None
    worst_status: str | None = None
    met: int = 0
    scenarios: int = 0


class Robustness(Model):
    """A plan under errors of setup and range."""

    strategy: str = ""
    setup_systematic_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    setup_random_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    range_percent: float = 0.0
    scenarios: tuple[dict[str, Any], ...] = ()
    metrics: tuple[MetricBand, ...] = ()
    goals: tuple[GoalBand, ...] = ()


class Plan(PlanSummary):
    """Everything about a plan; goals have no value before it ended."""

    requested_by: str | None = None
    request: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[JobInput, ...] = ()
    approval: Approval | None = None
    approvals: tuple[Approval, ...] = ()
    protocol_sha256: str | None = None
    rtstruct_sha256: str | None = None
    frame_of_reference_uid: str | None = None
    dose: DoseDescription | None = None
    dose_quantity: str | None = None
    comparison: DoseComparison | None = None
    verdict: Verdict | None = None
    machine_scale: dict[str, Any] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    missing_sop_instance_uids: tuple[str, ...] = ()
    objectives: tuple[dict[str, Any], ...] = ()
    goals: tuple[GoalResult, ...] = ()
    structures: tuple[dict[str, Any], ...] = ()
    missing_structures: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    beams: tuple[Beam, ...] = ()
    metrics: tuple[StructureMetrics, ...] = ()
    uncertainty_percent: float | None = None
    robustness: Robustness | None = None
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    timings_s: dict[str, float] = Field(default_factory=dict)
    worker: str | None = None
    queued_at: datetime | None = None
    stopped_at: datetime | None = None


class Job(Model):
    """The computation of a plan over all of its attempts."""

    id: str
    plan_id: str
    state: str
    stage: str | None = None
    progress: float = 0.0
    eta_s: float | None = None
    message: str = ""
    attempt: int = 0
    priority: str | None = None
    queue_position: int | None = None
    worker: str | None = None
    solver: dict[str, Any] | None = None
    error: Failure | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        try:
            return PlanState(self.state).ended
        except ValueError:
            return False


class DvhCurve(Model):
    """Cumulative DVH: ``volume_percent[i]`` of the structure gets at least ``dose_gy[i]``."""

    structure: str
    roi_number: int | None = None
    volume_cc: float | None = None
    dose_gy: tuple[float, ...]
    volume_percent: tuple[float, ...]


class DvhBand(Model):
    """Between which volumes a structure's DVH lies over all scenarios of a robust plan."""

    structure: str
    roi_number: int | None = None
    dose_gy: tuple[float, ...]
    low_percent: tuple[float, ...]
    high_percent: tuple[float, ...]


class Dvh(Model):
    """The curves of one plan on its final dose."""

    plan_id: str
    curves: tuple[DvhCurve, ...]
    reference_curves: tuple[DvhCurve, ...] = ()
    bands: tuple[DvhBand, ...] = ()


class LogChunk(Model):
    """Lines of a job's log from ``offset``, over all attempts; ask again from ``next_offset``."""

    offset: int = 0
    next_offset: int
    lines: tuple[str, ...]
    complete: bool = False
    """Nothing more will come."""


class Event(Model):
    """Something that happened to a job."""

    cursor: str | None = None
    at: datetime | None = None
    type: str
    data: dict[str, Any] = Field(default_factory=dict)


class Arrival(Model):
    """An RTSTRUCT that was seen, and what became of it; ``error`` says why it was not planned."""

    id: str
    state: str
    kind: str = "rtstruct"
    sop_instance_uid: str
    orthanc_id: str | None = None
    patient_id: str | None = None
    patient_name: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    calling_ae: str | None = None
    structures: tuple[str, ...] = ()
    protocol_id: str | None = None
    plan_id: str | None = None
    referenced_instances: int | None = None
    missing_instances: int = 0
    missing_sop_instance_uids: tuple[str, ...] = ()
    contents: int | None = None
    error: Failure | None = None
    first_seen_at: datetime | None = None
    updated_at: datetime | None = None


class Study(Model):
    """A study, by Orthanc's index; dates are YYYY-MM-DD."""

    study_instance_uid: str
    orthanc_id: str
    patient_id: str
    patient_name: str | None = None
    patient_birth_date: str | None = None
    patient_sex: str | None = None
    study_date: str | None = None
    description: str = ""
    accession_number: str = ""
    modalities: tuple[str, ...] = ()
    series_count: int = 0
    has_structures: bool = False
    has_plan: bool = False
    has_dose: bool = False


class Patient(Model):
    """All that is stored under one Patient ID; more than one name is worth a look."""

    patient_id: str
    patient_name: str | None = None
    names: int = 1
    studies: int
    first_study_date: str | None = None
    last_study_date: str | None = None


class StoredObject(Model):
    """A structure set, plan or dose; ``plan_id`` is of our plan whose result it is."""

    kind: str
    sop_instance_uid: str
    orthanc_id: str
    series_instance_uid: str
    series_description: str = ""
    plan_id: str | None = None


class Series(Model):
    """A series, by Orthanc's index."""

    series_instance_uid: str
    orthanc_id: str
    modality: str = ""
    description: str = ""
    number: str = ""
    series_date: str | None = None
    instance_count: int = 0
    stored_at: datetime | None = None


class TimelineItem(Model):
    """Something that happened: stored, a plan's state, or a decision about a plan."""

    at: datetime
    kind: str
    text: str = ""
    series_instance_uid: str | None = None
    plan_id: str | None = None
    state: str | None = None
    decision: str | None = None
    by: str | None = None


class StudyDetail(Study):
    """A study with all that is in it, and what happened to it."""

    series: tuple[Series, ...] = ()
    objects: tuple[StoredObject, ...] = ()
    timeline: tuple[TimelineItem, ...] = ()


class PatientDetail(Patient):
    """A patient's studies, and what happened to their plans."""

    all_names: tuple[str, ...] = ()
    study_list: tuple[Study, ...] = ()
    timeline: tuple[TimelineItem, ...] = ()


class SeriesInstance(Model):
    """An instance of a series."""

    sop_instance_uid: str
    orthanc_id: str
    number: str = ""


class SeriesDetail(Series):
    """A series with its instances."""

    study_instance_uid: str
    patient_id: str
    instances: tuple[SeriesInstance, ...] = ()


class Worker(Model):
    """A worker and its last sign of life."""

    name: str
    host: str = ""
    pid: int | None = None
    version: str = ""
    state: str = ""
    plan_id: str | None = None
    heartbeat_at: datetime | None = None
    started_at: datetime | None = None
    engines: dict[str, Engine] = Field(default_factory=dict)
    machine_data: dict[str, str] = Field(default_factory=dict)
    machine_data_problems: tuple[str, ...] = ()


class PlanCurves(Model):
    """A plan's DVHs."""

    plan_id: str
    curves: tuple[DvhCurve, ...]


class ComparedMetrics(Model):
    """One plan's metrics of a structure; ``difference`` is from the first plan's, by metric, such as ``d95_gy``."""

    plan_id: str
    metrics: StructureMetrics | None = None
    difference: dict[str, float] | None = None


class ComparedStructure(Model):
    """A structure in all plans."""

    structure: str
    plans: tuple[ComparedMetrics, ...] = ()


class ComparedGoal(Model):
    """One plan's value of a goal."""

    plan_id: str
    value: float | None = None
    status: str | None = None
    difference: float | None = None


class ComparedGoals(Model):
    """A goal in all plans, in the unit of its limit."""

    text: str
    structure: str = ""
    unit: str = ""
    plans: tuple[ComparedGoal, ...] = ()


class Comparison(Model):
    """Plans side by side, in the order asked; differences are from the first. ``notes``: what else they differ in."""

    plans: tuple[PlanSummary, ...]
    dvh: tuple[PlanCurves, ...] = ()
    structures: tuple[ComparedStructure, ...] = ()
    goals: tuple[ComparedGoals, ...] = ()
    notes: tuple[str, ...] = ()


class SentFile(Model):
    """What became of one file that was sent; ``status`` is stored, already_stored, filtered_out, refused or failed."""

    path: str
    status: str
    orthanc_id: str | None = None
    error: Failure | None = None


class SendReport(Model):
    """What became of a folder that was sent."""

    files: tuple[SentFile, ...]
    skipped: tuple[str, ...] = ()
    """Files that are not DICOM."""

    def count(self, status: str) -> int:
        return sum(f.status == status for f in self.files)

    @property
    def ok(self) -> bool:
        """Every DICOM file is stored now, or was before."""
        return bool(self.files) and all(f.status in ("stored", "already_stored") for f in self.files)


class OrthancResource(Model):
    """A patient, study, series or instance of Orthanc."""

    id: str = Field(alias="ID")
    level: str = Field(alias="Type")
    main_dicom_tags: dict[str, Any] = Field(default_factory=dict, alias="MainDicomTags")
    patient_main_dicom_tags: dict[str, Any] = Field(default_factory=dict, alias="PatientMainDicomTags")

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    def tag(self, name: str) -> str | None:
        """A main tag by its keyword, such as ``StudyInstanceUID``."""
        value = self.main_dicom_tags.get(name, self.patient_main_dicom_tags.get(name))
        return None if value is None else str(value)


class OrthancSystem(Model):
    """``/system``: Orthanc itself."""

    name: str | None = Field(default=None, alias="Name")
    version: str = Field(alias="Version")
    dicom_aet: str | None = Field(default=None, alias="DicomAet")
    dicom_port: int | None = Field(default=None, alias="DicomPort")
    overwrite_instances: bool | None = Field(default=None, alias="OverwriteInstances")
    """None where this Orthanc does not tell (1.10)."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class SessionLimits(Model):
    """Bounds of a session; results do not count."""

    max_request_bytes: int
    max_bytes: int
    max_instances: int
    max_plans: int


class SessionSeries(Model):
    """A series that was uploaded, or that a plan has made."""

    series_instance_uid: str
    study_instance_uid: str = ""
    modality: str = ""
    instances: int


class SessionInfo(Model):
    """A session as its owner sees it; ``instances`` and ``bytes`` are of what was uploaded."""

    id: str
    label: str = ""
    created_at: datetime
    expires_at: datetime
    limits: SessionLimits
    instances: int
    bytes: int
    series: tuple[SessionSeries, ...] = ()
    structure_sets: tuple[str, ...] = ()
    plans: dict[str, int] = Field(default_factory=dict)


class SessionRefusal(Model):
    """A file of an upload that was not taken; ``file`` is its number in the request, from 0."""

    file: int
    code: str
    message: str


class SessionUpload(Model):
    """What became of uploaded files."""

    stored: int = 0
    unchanged: int = 0
    refused: tuple[SessionRefusal, ...] = ()


class SessionResult(Model):
    """A result that a session holds."""

    plan_id: str
    kind: str
    sop_instance_uid: str
    bytes: int


class KeptObject(Model):
    """An object that is in Orthanc now; not ``new`` where the very same was there."""

    sop_instance_uid: str
    orthanc_id: str
    new: bool


class Kept(Model):
    """What of a session stays in Orthanc."""

    plans: tuple[str, ...]
    objects: tuple[KeptObject, ...]
