"""What robust planning assumes of treatment errors, and says of a plan under them; computing is the worker's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .states import GoalStatus

ErrorMm = Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)]
Strategy = Literal["REDUCED_SET", "ALL", "RANDOM"]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScenarioResult(_Wire):
    """One scenario of the evaluation."""

    name: str
    shift_mm: tuple[float, float, float] = Field(description="Of the patient against the beams, patient LPS.")
    range_percent: float = Field(
        description="Error of density: above 0, protons are stopped more than by the CT, and ranges get shorter."
    )
    random_mm: tuple[float, float, float] = Field(description="Standard deviation from fraction to fraction.")
    uncertainty_percent: float = Field(description="Statistical, of this scenario's dose, 1 sigma.")


class DvhBand(_Wire):
    """Between which volumes the cumulative DVH lies, the nominal one included, by dose."""

    structure: str
    roi_number: int
    dose_gy: tuple[float, ...] = Field(description="Rising.")
    low_percent: tuple[float, ...]
    high_percent: tuple[float, ...]


class MetricBand(_Wire):
    """A dose metric of a structure over all scenarios, Gy."""

    structure: str
    roi_number: int
    metric: str = Field(description="D98%, D95%, D50%, D2% or Dmean.")
    nominal_gy: float
    low_gy: float
    high_gy: float
    low_scenario: str
    high_scenario: str


class GoalBand(_Wire):
    """A goal over all scenarios."""

    text: str
    structure: str
    unit: str
    nominal: float | None
    worst: float | None
    worst_scenario: str | None
    worst_status: GoalStatus | None
    met: int = Field(description="Scenarios in which it is met.")
    scenarios: int


class Robustness(_Wire):
    """A plan under errors of setup and range: every scenario is a Monte Carlo dose of the final meterset."""

    strategy: Strategy
    setup_systematic_mm: tuple[float, float, float]
    setup_random_mm: tuple[float, float, float]
    range_percent: float
    scenarios: tuple[ScenarioResult, ...] = Field(description="The nominal one is the first.")
    bands: tuple[DvhBand, ...] = ()
    metrics: tuple[MetricBand, ...] = ()
    goals: tuple[GoalBand, ...] = ()
