"""The registry of workflows and their parameters with defaults; how a workflow plans is the worker's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import to_jsonable_python

from .derived import Definitions
from .errors import ErrorCode, InvalidRequestError
from .findings import findings
from .near import suggestion
from .normalization import Normalization
from .objectives import Objective
from .places import Place
from .robustness import ErrorMm, Strategy
from .states import OutputKind
from .strict import STORED, Asked
from .verdict import ActionLevels

Coordinate = Annotated[float, Field(ge=-5000, le=5000, allow_inf_nan=False)]
Vector3 = tuple[Coordinate, Coordinate, Coordinate]
LET_DESCRIPTION = (
    "Whether dose-averaged LET of the protons, in water, is computed and stored beside the dose, as a Parametric Map."
)
DEFAULT_MAX_CONTOUR_GAP_MM = 10.0
CALIBRATION_DESCRIPTION = (
    "Name of the CT calibration; auto: the site's that is for the CT's scanner and tube voltage, else the generic one."
)
Factor = Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)]


class TargetDose(Asked):
    """A dose to a target, total over all fractions."""

    target: str = Field(min_length=1, max_length=64, description="Name of the target structure.")
    dose_gy: float = Field(gt=0, le=120, description="Total dose over all fractions in Gy (RBE-weighted for protons).")


class Prescription(TargetDose):
    """What is prescribed: total dose over all fractions, RBE-weighted for protons."""

    fractions: int = Field(ge=1, le=60)
    more: tuple[TargetDose, ...] = Field(
        default=(),
        max_length=9,
        exclude_if=lambda more: not more,
        description="Further targets with doses of their own, treated in the same fractions.",
    )

    @model_validator(mode="after")
    def _each_target_once(self) -> Self:
        names = [t.target for t in self.targets]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"target {name!r} has two doses")
        return self

    @property
    def targets(self) -> tuple[TargetDose, ...]:
        """All targets, the main one first."""
        return (TargetDose.model_construct(target=self.target, dose_gy=self.dose_gy), *self.more)  # it is validated

    def dose_of_gy(self, structure: str) -> float:
        """A target's own dose; for everything else the main target's."""
        return next((t.dose_gy for t in self.targets if t.target == structure), self.dose_gy)


class Beam(Asked):
    """A static beam; angles are IEC 61217, degrees."""

    gantry_deg: float = Field(ge=0, lt=360)
    couch_deg: float = Field(default=0.0, ge=0, lt=360)
    name: str | None = Field(default=None, max_length=16)
    range_shifter: str = Field(
        default="auto",
        pattern=r"^[A-Za-z0-9_. -]{1,16}$",
        description="auto: the machine's, where the target lies too shallow for its lowest energy; none; or its ID.",
    )


class DensityOverride(Asked):
    """What a structure is counted as, instead of what the CT says: HU, or a mass density by the CT's calibration."""

    structure: str = Field(min_length=1, max_length=64)
    hu: float | None = Field(default=None, ge=-1024, le=30_000)
    density_g_cm3: float | None = Field(default=None, gt=0, le=25)
    extend_body: bool = Field(
        default=False, description="Whether it belongs to the patient's outline where it lies outside: bolus, a couch."
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if (self.hu is None) == (self.density_g_cm3 is None):
            raise ValueError("give hu or density_g_cm3, one of them")
        return self


class GoalTuning(Asked):
    """How far objectives may be tuned so that goals are met."""

    max_rounds: int = Field(default=20, ge=1, le=100, description="Each optimises again from where the last one ended.")
    weight_limits: tuple[Factor, Factor] = Field(
        default=(0.05, 50.0), description="Least and most that a weight may become, as factors of what is written."
    )
    dose_limits: tuple[Factor, Factor] = Field(
        default=(0.8, 1.1), description="Least and most that an objective's dose may become, as factors."
    )

    @model_validator(mode="after")
    def _around_what_is_written(self) -> Self:
        for name in ("weight_limits", "dose_limits"):
            low, high = getattr(self, name)
            if not low <= 1 <= high:
                raise ValueError(f"{name} must hold 1, what is written, between them; they are {low:g} and {high:g}")
        return self


class WorkflowParameters(Asked):
    """Base of every workflow's parameters.

    A parameter that was renamed is accepted under its old name for one version.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {}
    """New name by old name."""
    old_names: SkipJsonSchema[tuple[str, ...]] = Field(
        default=(), exclude_if=lambda names: not names, description="Which parameters were given by an old name."
    )

    derived: Definitions = Field(
        default={},
        description="Structures made of others, by name: 'PTV minus Rectum', 'PTV grown 5 mm except posterior 3 mm'.",
    )
    max_contour_gap_mm: float = Field(
        default=DEFAULT_MAX_CONTOUR_GAP_MM,
        ge=0,
        le=50,
        description="CT slices without a contour are interpolated where no more than this is missing between two "
        "contours. With more missing, a target or the patient's outline is refused, and others have two parts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        renamed = {old: new for old, new in cls.OLD_NAMES.items() if old in given}
        if not renamed:
            return given
        values = {name: value for name, value in given.items() if name not in renamed}
        for old, new in renamed.items():
            values.setdefault(new, given[old])
        # A stored record has every parameter. One that asks for nothing is not worth a note.
        noted = tuple(old for old in renamed if given[old] is not False)
        return {**values, "old_names": noted} if noted else values

    @field_validator("old_names")
    @classmethod
    def _only_old_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [n for n in names if n not in cls.OLD_NAMES]:
            raise ValueError(f"{unknown[0]!r} is not the old name of a parameter")
        return names

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know about the parameters as they were given."""
        return tuple(
            f"Parameter {old} is now called {self.OLD_NAMES[old]}. The old name is accepted in this version only: "
            "use the new one."
            for old in self.old_names
        )


class ProtonParameters(WorkflowParameters):
    """Parameters that all proton planning shares."""

    beam_count: int | None = Field(
        default=None, ge=1, le=9, description="Evenly spaced beams from gantry 0; give this or beams."
    )
    beams: tuple[Beam, ...] = Field(default=(), max_length=9)
    spot_spacing_mm: float = Field(default=5.0, ge=2, le=15)
    layer_spacing_mm: float = Field(default=5.0, ge=1, le=20, description="Between energy layers, in water.")
    target_margin_mm: float = Field(
        default=5.0, ge=0, le=30, description="Spots are placed in the target grown by this."
    )
    scoring_spacing_mm: float = Field(
        default=3.0,
        ge=1,
        le=6,
        description="Wanted spacing of the dose grid; made a whole multiple of the CT's, on CT voxel centres.",
    )
    beamlet_primaries: int = Field(default=1000, ge=50, le=100_000, description="Protons simulated for each spot.")
    final_primaries: int | None = Field(
        default=None,
        ge=10_000,
        le=1_000_000_000,
        description="Protons simulated for the final dose; null: as many as uncertainty_percent needs.",
    )
    uncertainty_percent: float = Field(
        default=2.0,
        ge=0.3,
        le=10,
        description="Wanted statistical uncertainty of the final dose, 1 sigma, mean over the target's voxels.",
    )
    max_iterations: int = Field(default=150, ge=1, le=5000)
    method: Literal["L-BFGS-B", "projected-gradient"] = "L-BFGS-B"
    spot_mu_min: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Minimum MU of each spot in one fraction; null: the limit of the machine.",
    )
    normalisation: str | None = Field(
        default=None,
        max_length=120,
        description="Dose to which the finished plan is scaled, dose and meterset alike: 'D95% = 100%' (of the target) "
        "or 'CTV: D98% = 57 Gy'; null: it is not scaled.",
    )
    seed: int = Field(default=1, ge=1, le=2_000_000_000)
    machine: str = Field(default="BDL_default_UN_RangeShifter", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    ct_calibration: str = Field(default="auto", pattern=r"^[A-Za-z0-9_-]{1,64}$", description=CALIBRATION_DESCRIPTION)
    let: bool = Field(default=False, description=LET_DESCRIPTION)
    isocenter_mm: Vector3 | None = Field(
        default=None, description="Patient LPS, mm; null: the target's centre of mass."
    )
    overrides: tuple[DensityOverride, ...] = Field(
        default=(), max_length=20, description="Structures that count with another density than the CT's."
    )

    @field_validator("normalisation")
    @classmethod
    def _readable_normalization(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                Normalization.parse(text, target="target")
            except InvalidRequestError as e:
                raise ValueError(str(e)) from None
        return text

    @model_validator(mode="after")
    def _one_way_to_give_beams(self) -> Self:
        if self.beams and self.beam_count is not None:
            raise ValueError("give beams or beam_count, not both")
        return self

    @property
    def planned_beams(self) -> tuple[Beam, ...]:
        """The beams as given, else ``beam_count`` (default 2) evenly spaced from gantry 0."""
        if self.beams:
            return self.beams
        n = self.beam_count or 2
        return tuple(Beam(gantry_deg=360.0 * i / n) for i in range(n))


class ImptBasicParameters(ProtonParameters):
    """`proton-impt-basic`: one uniform objective on the target, and a fall-off outside."""


class ImptOptimizedParameters(ProtonParameters):
    """`proton-impt-optimized`: objectives as given, or tuned to the goals."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"adapt": "tune_to_goals"}
    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=100)
    tune_to_goals: bool | GoalTuning = Field(
        default=False,
        description="Whether weights and doses of the objectives are tuned until the goals are met, in the order of "
        "their priority; true: within the default limits.",
    )

    @property
    def tuning(self) -> GoalTuning | None:
        """The limits of tuning; None where objectives stay as they are."""
        if isinstance(self.tune_to_goals, GoalTuning):
            return self.tune_to_goals
        return GoalTuning() if self.tune_to_goals else None

    @model_validator(mode="after")
    def _nominal_objectives(self) -> Self:
        if any(o.robust for o in self.objectives):
            raise ValueError("a robust objective needs the workflow proton-robust")
        return self


class ImptRobustParameters(ProtonParameters):
    """`proton-robust`: objectives, some of them over errors of setup and range."""

    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=100)
    setup_systematic_mm: tuple[ErrorMm, ErrorMm, ErrorMm] = Field(
        default=(5.0, 5.0, 5.0),
        description="Error of the patient's place along his x (left), y (back), z (head), the same in all fractions.",
    )
    setup_random_mm: tuple[ErrorMm, ErrorMm, ErrorMm] = Field(
        default=(0.0, 0.0, 0.0),
        description="Standard deviation of the place along the patient's x, y, z between fractions.",
    )
    range_percent: float = Field(
        default=3.5,
        ge=0,
        le=20,
        description="Error of density, and so of stopping power: +x % makes ranges x % shorter.",
    )
    strategy: Strategy = Field(
        default="REDUCED_SET",
        description="REDUCED_SET: one axis at a time, each with three ranges; ALL: every combination; RANDOM: "
        "scenario_count draws from normal distributions with the errors as standard deviations.",
    )
    scenario_count: int | None = Field(default=None, ge=1, le=200, description="Of RANDOM, and only of it.")
    scenario_uncertainty_percent: float = Field(
        default=3.0, ge=0.3, le=10, description="Wanted statistical uncertainty of each scenario's dose, 1 sigma."
    )

    @model_validator(mode="after")
    def _something_to_be_robust_against(self) -> Self:
        if not any(o.robust for o in self.objectives):
            raise ValueError("no objective is robust; use proton-impt-optimized, or set robust on some")
        if not (any(self.setup_systematic_mm) or any(self.setup_random_mm) or self.range_percent):
            raise ValueError("all errors are 0: nothing to be robust against")
        if (self.strategy == "RANDOM") != (self.scenario_count is not None):
            raise ValueError("scenario_count belongs to strategy RANDOM, and RANDOM needs it")
        if self.strategy == "RANDOM" and not (any(self.setup_systematic_mm) or self.range_percent):
            raise ValueError("RANDOM draws systematic errors: give setup_systematic_mm or range_percent")
        return self


class GammaCriteria(Asked):
    """Criteria of a gamma index; percentages are of the reference's maximum, or of its dose at each point."""

    dose_percent: float = Field(default=3.0, ge=0.5, le=20)
    distance_mm: float = Field(default=3.0, ge=0.5, le=20)
    normalisation: Literal["global", "local"] = "global"
    cutoff_percent: float = Field(
        default=10.0, ge=0, le=90, description="Points with less of the reference's maximum are not judged."
    )


class CheckParameters(WorkflowParameters):
    """Of all checks: how a dose is compared with a reference, and judged."""

    gamma: GammaCriteria = GammaCriteria()
    levels: ActionLevels = Field(default=ActionLevels(), description="What the check's verdict is judged by.")
    rbe: float | None = Field(
        default=None,
        ge=1,
        le=2,
        description="Constant RBE between stored doses of Dose Type PHYSICAL and what is prescribed: such doses are "
        "multiplied by it. 1 for photons, and where a dose is RBE-weighted though it says PHYSICAL. Null: 1.1 for the "
        "dose of a proton plan that is recalculated, 1 for the dose of an RT Plan (photons), else it is not known.",
    )


class EvaluationParameters(CheckParameters):
    """`evaluation`: how a dose is judged, and compared with a reference, where there is one."""


class RecalculationParameters(CheckParameters):
    """`recalculation`: with what an RT Ion Plan is computed anew, and how it is compared."""

    uncertainty_percent: float = Field(
        default=1.5,
        ge=0.3,
        le=10,
        description="Wanted statistical uncertainty, 1 sigma, mean over the target's voxels (without a target: over "
        "voxels with at least half of the maximum).",
    )
    final_primaries: int | None = Field(
        default=None,
        ge=10_000,
        le=1_000_000_000,
        description="Protons simulated; null: as many as uncertainty_percent needs.",
    )
    meterset_scale: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Protons per MU of the plan's machine over those of `machine`; null: 1 where the plan was made for "
        "`machine`, else derived from the plan's RTDOSE.",
    )
    spot_size: Literal["plan", "machine"] = Field(
        default="plan",
        description="plan: spots as wide as a plan of another machine says they are (Scanning Spot Size), where it "
        "does; machine: always as wide as the beam data have them.",
    )
    scoring_spacing_mm: float = Field(
        default=3.0, ge=1, le=6, description="Wanted spacing of the dose grid; a whole multiple of the CT's."
    )
    seed: int = Field(default=1, ge=1, le=2_000_000_000)
    machine: str = Field(default="BDL_default_UN_RangeShifter", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    ct_calibration: str = Field(default="auto", pattern=r"^[A-Za-z0-9_-]{1,64}$", description=CALIBRATION_DESCRIPTION)
    let: bool = Field(default=False, description=LET_DESCRIPTION)
    overrides: tuple[DensityOverride, ...] = Field(
        default=(), max_length=20, description="Structures that count with another density than the CT's."
    )


@dataclass(frozen=True)
class Workflow:
    """One kind of job, as clients see it.

    Attributes
    ----------
    starts_from : what a job of it is made for; a protocol may start it when that arrives
    outputs : results that every success has stored
    optional_outputs : results that it may have stored besides
    """

    id: str
    title: str
    description: str
    modality: Literal["proton", "photon", "any"]
    parameters: type[WorkflowParameters]
    starts_from: Literal["rtstruct", "rtplan", "rtdose"] = "rtstruct"
    outputs: tuple[OutputKind, ...] = (OutputKind.RTPLAN, OutputKind.RTDOSE)
    optional_outputs: tuple[OutputKind, ...] = (OutputKind.REPORT, OutputKind.LET)

    @property
    def plans(self) -> bool:
        """Whether a job of it makes a treatment plan: then it needs a prescription, and can be re-optimised."""
        return self.starts_from == "rtstruct"

    @property
    def possible_outputs(self) -> tuple[OutputKind, ...]:
        return self.outputs + self.optional_outputs

    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, with defaults."""
        return self.parameters.model_json_schema()

    @property
    def defaults(self) -> dict[str, Any]:
        """Default of every parameter that has one, as JSON."""
        return {
            name: to_jsonable_python(field.get_default(call_default_factory=True))
            for name, field in self.parameters.model_fields.items()
            if not field.is_required() and name != "old_names"
        }


WORKFLOWS: Mapping[str, Workflow] = {
    w.id: w
    for w in (
        Workflow(
            "proton-impt-basic",
            "Proton IMPT, one uniform target objective",
            "Beams evenly spaced or given; spots optimised to a uniform dose in the target.",
            "proton",
            ImptBasicParameters,
        ),
        Workflow(
            "proton-impt-optimized",
            "Proton IMPT with objectives",
            "Spots optimised to dose and dose-volume objectives on any structure.",
            "proton",
            ImptOptimizedParameters,
        ),
        Workflow(
            "proton-robust",
            "Proton IMPT, robust",
            "Objectives over errors of setup and range: worst case or expected value; evaluated in every scenario.",
            "proton",
            ImptRobustParameters,
        ),
        Workflow(
            "evaluation",
            "Evaluation of a dose",
            "DVH, metrics and goals of any RTDOSE with any RTSTRUCT of its frame of reference; compared with a "
            "reference dose where one is named. Nothing is planned.",
            "any",
            EvaluationParameters,
            starts_from="rtdose",
            outputs=(),
            optional_outputs=(OutputKind.DOSE_DIFFERENCE, OutputKind.REPORT),
        ),
        Workflow(
            "recalculation",
            "Independent recalculation of a proton plan",
            "An RT Ion Plan computed anew by Monte Carlo, and compared with its RTDOSE where there is one: gamma, DVH "
            "and metric differences, difference dose.",
            "proton",
            RecalculationParameters,
            starts_from="rtplan",
            outputs=(OutputKind.RTDOSE,),
            optional_outputs=(OutputKind.DOSE_DIFFERENCE, OutputKind.REPORT, OutputKind.LET),
        ),
    )
}


def get_workflow(workflow_id: str) -> Workflow:
    """Raises `InvalidRequestError` (unknown_workflow) naming the known ones."""
    try:
        return WORKFLOWS[workflow_id]
    except KeyError:
        raise InvalidRequestError(
            f"workflow {workflow_id[:80]!r} is not known; known are {', '.join(WORKFLOWS)}"
            f"{suggestion(workflow_id, WORKFLOWS)}",
            remedy=f"See {Place.WORKFLOWS}.",
            code=ErrorCode.UNKNOWN_WORKFLOW,
        ) from None


def parse_parameters(workflow_id: str, parameters: Mapping[str, Any], *, stored: bool = False) -> WorkflowParameters:
    """Validate parameters against the workflow's model.

    Parameters
    ----------
    stored
        Whether they were accepted before and kept: their texts are taken as they are.

    Raises
    ------
    InvalidRequestError
        With ``details["errors"] = [{"field": "objectives.0.weight", "message": …}, …]``.
    """
    workflow = get_workflow(workflow_id)
    try:
        return workflow.parameters.model_validate(dict(parameters), context=STORED if stored else None)
    except ValidationError as e:
        raise validation_error(e, f"parameters of {workflow_id}", workflow.parameters) from None


def validation_error(
    e: ValidationError, subject: str, model: Any, code: ErrorCode = ErrorCode.INVALID_REQUEST
) -> InvalidRequestError:
    """Pydantic's findings as our error; values are not repeated (they may hold patient data)."""
    errors = findings(e.errors(include_url=False), model)
    first = "; ".join(f"{x['field']}: {x['message']}" for x in errors[:3])
    return InvalidRequestError(
        f"{subject}: {first}",
        remedy=f"Correct the named fields; see {Place.PARAMETERS}.",
        code=code,
        errors=errors,
    )
