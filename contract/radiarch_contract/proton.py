"""Parameters of planning with scanned protons; those that all planning shares are in `parameters`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from .objectives import Objective
from .parameters import GoalTuning, PlanningParameters
from .robustness import ErrorMm, Strategy
from .strict import Asked

LET_DESCRIPTION = (
    "Whether dose-averaged LET of the protons, in water, is computed and stored beside the dose, as a Parametric Map."
)


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


class ProtonParameters(PlanningParameters):
    """Parameters of all planning with scanned protons."""

    beam_count: int | None = Field(
        default=None, ge=1, le=9, description="Evenly spaced beams from gantry 0; give this or beams."
    )
    beams: tuple[Beam, ...] = Field(default=(), max_length=9)
    spot_spacing_mm: float = Field(default=5.0, ge=2, le=15)
    layer_spacing_mm: float = Field(default=5.0, ge=1, le=20, description="Between energy layers, in water.")
    target_margin_mm: float = Field(
        default=5.0, ge=0, le=30, description="Spots are placed in the target grown by this."
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
    spot_mu_min: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Minimum MU of each spot in one fraction; null: the limit of the machine.",
    )
    machine: str = Field(default="BDL_default_UN_RangeShifter", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    let: bool = Field(default=False, description=LET_DESCRIPTION)

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

    @property
    def asked_beams(self) -> tuple[Beam, ...]:
        return self.planned_beams


class ImptBasicParameters(ProtonParameters):
    """`proton-impt-basic`: one uniform objective on the target, and a fall-off outside."""


class ImptOptimizedParameters(ProtonParameters):
    """`proton-impt-optimized`: objectives as given, or tuned to the goals."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {**PlanningParameters.OLD_NAMES, "adapt": "tune_to_goals"}
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
