"""A planning protocol: what arrives, how it is planned; reading the files and matching are the plugin's business."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .errors import RadiarchError
from .goals import Goal
from .objectives import Objective
from .structures import Pattern, StructureSelector
from .workflows import Beam, Prescription, get_workflow, parse_parameters


def _goal(text: str) -> str:
    try:
        Goal.parse(text)
    except RadiarchError as e:
        raise ValueError(str(e)) from None
    return text


def _workflow(workflow_id: str) -> str:
    try:
        get_workflow(workflow_id)
    except RadiarchError as e:
        raise ValueError(str(e)) from None
    return workflow_id


GoalText = Annotated[str, Field(max_length=120), AfterValidator(_goal)]
WorkflowId = Annotated[str, AfterValidator(_workflow)]


class Match(BaseModel):
    """Conditions that must all hold; patterns are searched, case-insensitive. An empty match fits everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    structures: tuple[str, ...] = Field(
        default=(), description="Names that must be found, besides the target and the required selectors."
    )
    study_description: Pattern | None = None
    series_description: Pattern | None = None
    structure_set_label: Pattern | None = None
    calling_ae: tuple[str, ...] = Field(default=(), description="Calling AE titles; any of them.")


class Protocol(BaseModel):
    """One YAML file in ``orthanc-config/protocols``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    title: str = Field(min_length=1, max_length=200)
    description: str = ""
    priority: int = Field(
        default=0, description="The matching protocol with the highest priority wins; then the id's order."
    )
    enabled: bool = True
    match: Match = Match()
    structures: dict[str, StructureSelector] = Field(default_factory=dict)
    prescription: Prescription
    workflow: WorkflowId
    beams: tuple[Beam, ...] = ()
    beam_count: int | None = Field(default=None, ge=1, le=9)
    objectives: tuple[Objective, ...] = ()
    goals: tuple[GoalText, ...] = ()
    calculation: dict[str, Any] = Field(
        default_factory=dict, description="Further parameters of the workflow, such as spot_spacing_mm or seed."
    )

    @model_validator(mode="after")
    def _parameters_fit_workflow(self) -> Self:
        try:
            parse_parameters(self.workflow, self.parameters())
        except RadiarchError as e:
            raise ValueError(str(e)) from None
        return self

    def parameters(self) -> dict[str, Any]:
        """The workflow's parameters as this protocol gives them."""
        p: dict[str, Any] = dict(self.calculation)
        if self.beams:
            p["beams"] = [b.model_dump() for b in self.beams]
        if self.beam_count is not None:
            p["beam_count"] = self.beam_count
        if self.objectives:
            p["objectives"] = [o.model_dump(mode="json") for o in self.objectives]
        return p

    def structure_names(self) -> list[str]:
        """Every name that is used, the target first."""
        names = [self.prescription.target, *self.match.structures, *self.structures]
        names += [o.structure for o in self.objectives]
        names += [Goal.parse(g).structure for g in self.goals]
        return list(dict.fromkeys(names))
