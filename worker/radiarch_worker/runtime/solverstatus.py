"""Status of a running optimizer: its latest iterations and the DVHs reached; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIVE_ITERATIONS = 200
"""Latest iterations that a status has; the result has all of them."""


class SolverStatus:
    """Gathers a job's messages.

    Attributes
    ----------
    value : ``{iteration, objective, terms}`` of the latest iteration, ``trace`` with the same of the latest ones, and
        ``dvh`` once the optimised beamlets' DVHs are known; None before the first
    """

    def __init__(self) -> None:
        self.value: dict[str, Any] | None = None

    def iterations(self, iterations: list[Mapping[str, Any]]) -> None:
        if iterations:
            before = self.value or {}
            trace = [*before.get("trace", ()), *iterations][-LIVE_ITERATIONS:]
            self.value = {**before, **iterations[-1], "trace": trace}

    def preview(self, dvh: list[Mapping[str, Any]]) -> None:
        self.value = {**(self.value or {}), "dvh": dvh}
