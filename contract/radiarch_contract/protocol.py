"""A planning protocol: what arrives, how it is planned; reading the files and matching are the plugin's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .derived import Definitions, leaves
from .errors import RadiarchError
from .goals import Goal
from .objectives import Objective
from .strict import Asked, Lines
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


class PrioritizedGoal(Asked):
    """A goal with its priority and tolerance beside it; written behind its text it means the same."""

    goal: GoalText
    priority: int | None = Field(default=None, ge=1, le=99, description="1 comes first.")
    tolerance: float | None = Field(default=None, ge=0, description="In the unit of the goal's value.")

    def as_text(self) -> str:
        goal = Goal.parse(self.goal)
        given = {k: v for k in ("priority", "tolerance") if (v := getattr(self, k)) is not None}
        return replace(goal, **given).text


def _as_text(goal: Any) -> Any:
    if isinstance(goal, Mapping):
        return PrioritizedGoal.model_validate(goal).as_text()
    return goal


Goals = Annotated[
    tuple[Annotated[GoalText, BeforeValidator(_as_text, json_schema_input_type=str | PrioritizedGoal)], ...],
    Field(max_length=200),
]


class Match(Asked):
    """Conditions that must all hold; patterns are searched, case-insensitive. An empty match fits everything."""

    structures: tuple[str, ...] = Field(
        default=(), description="Names that must be found, besides the target and the required selectors."
    )
    study_description: Pattern | None = None
    series_description: Pattern | None = None
    structure_set_label: Pattern | None = None
    calling_ae: tuple[str, ...] = Field(default=(), description="Calling AE titles; any of them.")
    plan_label: Pattern | None = Field(
        default=None, description="RT Plan Label, where plans start a check; of a dose its series description."
    )
    manufacturer: Pattern | None = Field(default=None, description="Of the arriving plan or dose.")


class Protocol(Asked):
    """One YAML file in ``orthanc-config/protocols``."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    title: str = Field(min_length=1, max_length=200)
    description: Annotated[str, Field(max_length=10_000), Lines()] = ""
    priority: int = Field(
        default=0, description="The matching protocol with the highest priority wins; then the id's order."
    )
    enabled: bool = True
    match: Match = Match()
    structures: dict[str, StructureSelector] = Field(default_factory=dict)
    prescription: Prescription | None = Field(
        default=None, description="Of every protocol that plans; one that checks needs it for goals in % of it."
    )
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

    @model_validator(mode="after")
    def _prescribes_what_it_plans(self) -> Self:
        if self.plans:
            if self.prescription is None:
                raise ValueError(f"workflow {self.workflow} plans, and needs a prescription")
            if self.match.plan_label is not None or self.match.manufacturer is not None:
                raise ValueError("match.plan_label and match.manufacturer are of plans and doses that start a check")
        elif self.prescription is None:
            wrong = [g for g in self.goals if Goal.parse(g).needs_prescription]
            if wrong:
                raise ValueError(f"goal {wrong[0]!r} is relative to a prescription, and none is given")
        return self

    @property
    def plans(self) -> bool:
        """Whether structure sets that arrive are planned with it; else it checks plans or doses that arrive."""
        return get_workflow(self.workflow).plans

    @property
    def prescribed(self) -> Prescription:
        """The prescription of a protocol that plans."""
        assert self.prescription is not None, self.id
        return self.prescription

    @property
    def _targets(self) -> list[str]:
        return [] if self.prescription is None else [t.target for t in self.prescription.targets]

    def parameters(self) -> dict[str, Any]:
        """The workflow's parameters as this protocol gives them."""
        p: dict[str, Any] = dict(self.calculation)
        if self.beams:
            p["beams"] = [b.model_dump(exclude_defaults=True) for b in self.beams]  # photons have no range shifter
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
        return leaves(self._targets, self.definitions())

    def structure_names(self) -> list[str]:
        """Every structure that has to be looked for, the target's first; derived ones by what they are made of."""
        names = self._targets
        names += [*self.match.structures, *self.structures]
        names += [o.structure for o in self.objectives]
        names += [Goal.parse(g).structure for g in self.goals]
        parameters = parse_parameters(self.workflow, self.parameters())
        names += [o.structure for o in getattr(parameters, "overrides", ())]
        return leaves([*names, *parameters.derived], parameters.derived)
