"""Judging a dose: DVHs, metrics, goals; comparing it with another. What is planned for lives in `optimization`."""

from __future__ import annotations

from .comparison import Compared, as_comparison, compare
from .evaluate import evaluate
from .result import Evaluation
from .rtdose import ReadDose, read_rtdose

__all__ = ["Compared", "Evaluation", "ReadDose", "as_comparison", "compare", "evaluate", "read_rtdose"]
