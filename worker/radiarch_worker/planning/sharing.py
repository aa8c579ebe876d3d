"""Reporters for parts of a stage, so that several computations make one bar; what they compute is not known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radiarch_contract.job import DvhCurve
from radiarch_contract.states import Stage

from radiarch_worker.model import Reporter


@dataclass(frozen=True)
class PartOfStage:
    """Reports the progress of a part of a stage, from ``start`` to ``stop`` of it."""

    whole: Reporter
    start: float
    stop: float

    def stage(self, stage: Stage, message: str = "") -> None:
        """The stage is reported by its owner."""

    def expect(self, work: Mapping[Stage, float]) -> None:
        """The work is reported by the stage's owner."""

    def progress(self, fraction: float, message: str = "") -> None:
        self.whole.progress(self.start + fraction * (self.stop - self.start), message)

    def log(self, line: str) -> None:
        self.whole.log(line)

    def solver(self, iteration: int, objective: float, terms: Mapping[str, float]) -> None:
        self.whole.solver(iteration, objective, terms)

    def preview(self, dvh: Sequence[DvhCurve]) -> None:
        self.whole.preview(dvh)
