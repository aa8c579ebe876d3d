"""What an evaluation says; how it is computed lives beside it."""

from __future__ import annotations

from dataclasses import dataclass

from radiarch_contract.goals import GoalResult
from radiarch_contract.job import DvhCurve, StructureMetrics


@dataclass(frozen=True)
class Evaluation:
    """DVHs, metrics and goals of one dose on one patient.

    Attributes
    ----------
    dvh : one cumulative curve a structure; below 100 % at zero dose where part of the structure's dose is unknown
    metrics : one entry a structure whose dose is known (in 99.9 % of its volume)
    goals : in the order asked
    notes : what a user has to know to read the rest, such as structures that the dose grid does not cover
    """

    dvh: tuple[DvhCurve, ...]
    metrics: tuple[StructureMetrics, ...]
    goals: tuple[GoalResult, ...]
    notes: tuple[str, ...] = ()
