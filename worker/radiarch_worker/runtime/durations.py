"""How long the stages of earlier plans took here, for the estimate of progress; losing it costs nothing else."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radiarch_contract.states import Stage

from .progress import TYPICAL_S, TYPICAL_S_PER_UNIT

_WEIGHT_OF_NEWEST = 0.4
_PER_UNIT = "s_per_unit"


@dataclass(frozen=True)
class Expected:
    """What the stages of a workflow's plans take, as running averages.

    Attributes
    ----------
    stages_s : seconds of each stage
    s_per_unit : seconds of each unit of work, of the stages that tell theirs
    measured : whether any plan was measured
    """

    stages_s: Mapping[Stage, float] = field(default_factory=lambda: TYPICAL_S)
    s_per_unit: Mapping[Stage, float] = field(default_factory=lambda: TYPICAL_S_PER_UNIT)
    measured: bool = False


def expected(cache: Path, workflow_id: str) -> Expected:
    """Running averages of this workflow's plans; typical values where there are none."""
    try:
        stored: dict[str, Any] = json.loads(_path(cache, workflow_id).read_text())
        stages_s = {s: _bounded(stored[s.value]) for s in Stage}
        per_unit = {s: _bounded(v) for s in TYPICAL_S_PER_UNIT if (v := stored.get(_PER_UNIT, {}).get(s.value))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Expected()
    return Expected(stages_s, {**TYPICAL_S_PER_UNIT, **per_unit}, measured=True)


def remember(
    cache: Path, workflow_id: str, measured_s: Mapping[Stage, float], work: Mapping[Stage, float] | None = None
) -> None:
    """Take one successful plan into the averages.

    Parameters
    ----------
    work
        Units of the stages that told theirs; 0 where there was nothing to do.
    """
    old = expected(cache, workflow_id)
    weight = _WEIGHT_OF_NEWEST if old.measured else 1.0
    new: dict[str, Any] = {s.value: _mean(old.stages_s[s], measured_s.get(s, 0.0), weight) for s in Stage}
    new[_PER_UNIT] = {
        s.value: _mean(before, measured_s[s] / units, weight) if (units := (work or {}).get(s)) else before
        for s, before in old.s_per_unit.items()
    }
    path = _path(cache, workflow_id)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(new))
        part.replace(path)


def _mean(old: float, new: float, weight: float) -> float:
    return old + weight * (new - old)


def _bounded(value: Any) -> float:
    return min(max(float(value), 0.01), 86400.0)


def _path(cache: Path, workflow_id: str) -> Path:
    safe = "".join(c if c.isalnum() or c == "-" else "_" for c in workflow_id)[:100]
    return cache / "durations" / f"{safe}.json"
