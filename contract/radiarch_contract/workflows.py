"""The registry of workflows with their modality and parameters; how a workflow plans is the worker's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from .check_parameters import CheckParameters, EvaluationParameters, GammaCriteria, RecalculationParameters
from .errors import ErrorCode, InvalidRequestError
from .findings import findings
from .near import suggestion
from .parameters import (
    CALIBRATION_DESCRIPTION,
    DEFAULT_MAX_CONTOUR_GAP_MM,
    DensityOverride,
    DoseParameters,
    GoalTuning,
    PlanningParameters,
    Prescription,
    TargetDose,
    Vector3,
    WorkflowParameters,
)
from .photon import PhotonImrtParameters, PhotonVmatParameters
from .places import Place
from .proton import (
    LET_DESCRIPTION,
    Beam,
    ImptBasicParameters,
    ImptOptimizedParameters,
    ImptRobustParameters,
    ProtonParameters,
)
from .states import OutputKind
from .strict import STORED

__all__ = [
    "CALIBRATION_DESCRIPTION",
    "DEFAULT_MAX_CONTOUR_GAP_MM",
    "LET_DESCRIPTION",
    "WORKFLOWS",
    "Beam",
    "CheckParameters",
    "DensityOverride",
    "DoseParameters",
    "EvaluationParameters",
    "GammaCriteria",
    "GoalTuning",
    "ImptBasicParameters",
    "ImptOptimizedParameters",
    "ImptRobustParameters",
    "PlanningParameters",
    "Prescription",
    "ProtonParameters",
    "RecalculationParameters",
    "TargetDose",
    "Vector3",
    "Workflow",
    "WorkflowParameters",
    "get_workflow",
    "parse_parameters",
    "validation_error",
]


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
            "photon-imrt",
            "Photon IMRT, step and shoot",
            "Apertures of beams that stand still, their leaves and MU optimised together; dose by a collapsed cone.",
            "photon",
            PhotonImrtParameters,
            optional_outputs=(OutputKind.REPORT,),
        ),
        Workflow(
            "photon-vmat",
            "Photon VMAT",
            "One or more arcs whose leaves and MU are optimised within the machine's limits; dose by a collapsed cone.",
            "photon",
            PhotonVmatParameters,
            optional_outputs=(OutputKind.REPORT,),
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
            "Independent recalculation of a plan",
            "An RT Ion Plan computed anew by Monte Carlo, or an RT Plan of photons by a collapsed cone, and compared "
            "with its RTDOSE where there is one: gamma, DVH and metric differences, difference dose.",
            "any",
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
