"""A planning protocol: what arrives, how it is planned; reading the files and matching are the plugin's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .derived import Definitions, leaves
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


class PrioritisedGoal(BaseModel):
    """A goal with its priority and tolerance beside it; written behind its text it means the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: GoalText
    priority: int | None = Field(default=None, ge=1, le=99, description="1 comes first.")
    tolerance: float | None = Field(default=None, ge=0, description="In the unit of the goal's value.")

    def as_text(self) -> str:
        goal = Goal.parse(self.goal)
        given = {k: v for k in ("priority", "tolerance") if (v := getattr(self, k)) is not None}
        return replace(goal, **given).text


def _as_text(goal: Any) -> Any:
    if isinstance(goal, Mapping):
        return PrioritisedGoal.model_validate(goal).as_text()
    return goal


Goals = Annotated[
    tuple[Annotated[GoalText, BeforeValidator(_as_text, json_schema_input_type=str | PrioritisedGoal)], ...],
    Field(max_length=200),
]


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
    goals: Goals = ()
    derived: Definitions = Field(default_factory=dict, description="Structures made of others, by name.")
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
        if self.derived:
            p["derived"] = dict(self.derived)
        return p

    def definitions(self) -> dict[str, str]:
        """Derived structures by name, wherever they are given."""
        found: dict[str, str] = parse_parameters(self.workflow, self.parameters()).derived
        return found

    def target_names(self) -> list[str]:
        """The structures that all targets are, or are made of, the main one's first."""
        return leaves([t.target for t in self.prescription.targets], self.definitions())

    def structure_names(self) -> list[str]:
        """Every structure that has to be looked for, the target's first; derived ones by what they are made of."""
        names = [t.target for t in self.prescription.targets]
        names += [*self.match.structures, *self.structures]
        names += [o.structure for o in self.objectives]
        names += [Goal.parse(g).structure for g in self.goals]
        parameters = parse_parameters(self.workflow, self.parameters())
        names += [o.structure for o in getattr(parameters, "overrides", ())]
        return leaves([*names, *parameters.derived], parameters.derived)
