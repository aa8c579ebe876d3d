"""Judging a dose: DVHs, metrics, goals; comparing it with another. What is planned for lives in `optimization`."""

from __future__ import annotations

from .comparison import Compared, compare
from .evaluate import evaluate
from .result import Evaluation
from .rtdose import ReadDose, read_rtdose

__all__ = ["Compared", "Evaluation", "ReadDose", "compare", "evaluate", "read_rtdose"]
