"""Judging a dose: cumulative DVHs, metrics and goals. What is planned for lives in `optimization`."""

from __future__ import annotations

from .evaluate import evaluate
from .result import Evaluation

__all__ = ["Evaluation", "evaluate"]
