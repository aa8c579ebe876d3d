"""Draws a fit beside what was measured, with the differences below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .linac import Comparison, Fit


def draw(fit: Fit, title: str, path: Path) -> None:
    """Write a PNG: a column for each measurement, what is judged drawn in full."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(fit.comparisons))
    rows = -(-len(fit.comparisons) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(rows, columns)
    for n, comparison in enumerate(fit.comparisons):
        part = grid[n // columns, n % columns].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.0)
        upper = figure.add_subplot(part[0])
        lower = figure.add_subplot(part[1], sharex=upper)
        upper.tick_params(labelbottom=False)
        _curves(upper, lower, comparison)
    figure.savefig(path, dpi=100)


def _curves(upper: Any, lower: Any, comparison: Comparison) -> None:
    at, judged = comparison.at, comparison.judged
    few = "o" if len(at) < 20 else None
    upper.plot(at, comparison.measured, color="#1f5fa8", lw=2.2, alpha=0.55, marker=few, label="measured")
    upper.plot(at, comparison.computed, color="#b3261e", lw=1.0, marker=few, ms=3, label="computed")
    upper.set_title(f"{comparison.title}\nlargest difference {comparison.worst:.2f} %", fontsize=8)
    upper.set_ylabel("relative dose", fontsize=8)
    upper.legend(fontsize=7, frameon=False)
    residual = comparison.residual
    lower.plot(at, residual, color="#999999", lw=0.8)
    lower.plot(at, np.where(judged, residual, np.nan), color="#b3261e", lw=1.2, marker=few, ms=3)
    lower.axhline(0, color="#444444", lw=0.6)
    lower.set_ylim(-3.2, 3.2)
    lower.set_ylabel("%", fontsize=8)
    lower.set_xlabel(comparison.unit, fontsize=8)
