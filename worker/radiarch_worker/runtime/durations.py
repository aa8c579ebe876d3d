"""How long the stages of earlier plans took here, for the estimate of progress; losing it costs nothing else."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from radiarch_contract.states import Stage

from .progress import TYPICAL_S

_WEIGHT_OF_NEWEST = 0.4


def expected_s(cache: Path, workflow_id: str) -> Mapping[Stage, float]:
    """Seconds by stage, a running average of this workflow's plans; typical ones where there are none."""
    try:
        stored = json.loads(_path(cache, workflow_id).read_text())
        return {s: min(max(float(stored[s.value]), 0.01), 86400.0) for s in Stage}
    except (OSError, ValueError, KeyError, TypeError):
        return TYPICAL_S


def remember(cache: Path, workflow_id: str, measured_s: Mapping[Stage, float]) -> None:
    """Take one successful plan into the average."""
    old = expected_s(cache, workflow_id)
    first = old is TYPICAL_S
    weight = 1.0 if first else _WEIGHT_OF_NEWEST
    new = {s.value: old[s] + weight * (measured_s.get(s, 0.0) - old[s]) for s in Stage}
    path = _path(cache, workflow_id)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(new))
        part.replace(path)


def _path(cache: Path, workflow_id: str) -> Path:
    safe = "".join(c if c.isalnum() or c == "-" else "_" for c in workflow_id)[:100]
    return cache / "durations" / f"{safe}.json"
