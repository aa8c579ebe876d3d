"""Seconds that planning takes, by stage; a part of a result, not of the plan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from radiarch_contract.states import Stage


@dataclass
class Clock:
    """Seconds of each stage, and of the engine over all of them; a stage that comes again adds to its seconds."""

    timings_s: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    run: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.timings_s[stage.value] = self.timings_s.get(stage.value, 0.0) + time.monotonic() - started

    def reached(self, what: str) -> None:
        """Seconds from the beginning of planning to ``what``."""
        self.timings_s[what] = time.monotonic() - self.started

    def engine(self, seconds: float) -> None:
        self.timings_s["engine"] = self.timings_s.get("engine", 0.0) + seconds
