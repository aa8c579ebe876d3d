"""Objectives of the optimiser: what is pushed, on the dose that is reported. Goals, which judge, live in `goals`."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from .strict import Asked


class ObjectiveMetric(StrEnum):
    DMIN = "DMin"
    DMAX = "DMax"
    DUNIFORM = "DUniform"
    DMEAN = "DMean"  # mean pushed to the limit from both sides
    DMEAN_MAX = "DMeanMax"  # mean pushed below the limit
    DVH_MIN = "DVHMin"  # at least volume_percent gets dose_gy
    DVH_MAX = "DVHMax"  # at most volume_percent gets more than dose_gy


class Objective(Asked):
    """One quadratic penalty.

    ``structure`` is a name in the plan's structure map (a TG-263 name or the RTSTRUCT's own ROI
    name). ``dose_gy`` is the total over all fractions, RBE-weighted for protons, like the
    prescription.
    """

    structure: str = Field(min_length=1, max_length=64)
    metric: ObjectiveMetric
    dose_gy: float = Field(ge=0, le=200)
    volume_percent: float | None = Field(default=None, gt=0, lt=100)
    weight: float = Field(default=1.0, gt=0, le=1e6)
    robust: bool = Field(default=False, description="Counted over all error scenarios (proton-robust).")
    over_scenarios: Literal["worst-case", "expected"] = Field(
        default="worst-case",
        description="Of a robust objective: worst-case counts, with all others of its kind, in the worst scenario; "
        "expected as the mean over the scenarios.",
    )

    @model_validator(mode="after")
    def _volume_only_for_dvh(self) -> Self:
        is_dvh = self.metric in (ObjectiveMetric.DVH_MIN, ObjectiveMetric.DVH_MAX)
        if is_dvh and self.volume_percent is None:
            raise ValueError(f"{self.metric} needs volume_percent")
        if not is_dvh and self.volume_percent is not None:
            raise ValueError(f"{self.metric} takes no volume_percent")
        return self
