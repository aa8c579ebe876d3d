"""Drawing DVHs: in the terminal with braille characters, or as a PNG with matplotlib; nothing is fetched here."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from radiarch_client._files import write
from radiarch_client.models import DvhBand, DvhCurve

from ._base import clean

# Okabe and Ito's colors, told apart by color-blind readers too (https://jfly.uni-koeln.de/color/)
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999")
_DASHES = ("solid", "dashed", "dotted", "dashdot")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


def color(index: int) -> str:
    return _COLORS[index % len(_COLORS)]


def top_dose_gy(curves: Sequence[DvhCurve]) -> float:
    """The highest dose that any structure gets."""
    return max((d for c in curves for d, v in zip(c.dose_gy, c.volume_percent, strict=True) if v > 0), default=1.0)


def tick_step_gy(top_gy: float) -> float:
    """A round step that divides the axis into four to ten parts."""
    if top_gy <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(top_gy))
    return next(power * f for f in (0.1, 0.2, 0.5, 1.0, 2.0) if top_gy <= power * f * 10)


def volume_at(curve: DvhCurve, dose_gy: float) -> float:
    """Volume in % that gets at least a dose; linear between the curve's points."""
    d, v = curve.dose_gy, curve.volume_percent
    if not d or dose_gy <= d[0]:
        return v[0] if v else 0.0
    if dose_gy >= d[-1]:
        return v[-1] if dose_gy == d[-1] else 0.0
    low, high = 0, len(d) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if d[middle] <= dose_gy else (low, middle)
    share = (dose_gy - d[low]) / (d[high] - d[low])
    return v[low] + share * (v[high] - v[low])


def in_terminal(curves: Sequence[DvhCurve], *, width: int = 72, height: int = 18) -> Text:
    """Curves over dose (Gy, across) and volume (%, up)."""
    step = tick_step_gy(top_dose_gy(curves))
    parts = math.floor(top_dose_gy(curves) / step + 1e-9) + 1  # beyond the last fall of a curve
    top = step * parts
    columns, rows = width * 2, height * 4
    dots = [[0] * width for _ in range(height)]
    owner: list[list[int | None]] = [[None] * width for _ in range(height)]
    for number, curve in enumerate(curves):
        above = 0
        for x in range(columns):
            share = min(max(volume_at(curve, top * x / (columns - 1)) / 100, 0.0), 1.0)
            y = round((rows - 1) * (1 - share))
            # steep parts are drawn through, so that a target's edge is a line and not two dots
            for dot in range(min(above + 1, y), y + 1):
                row, column = dot // 4, x // 2
                dots[row][column] |= _DOTS[dot % 4][x % 2]
                owner[row][column] = number
            above = y
            if share == 0:
                break  # nothing gets more: the axis stays free
    text = Text()
    for row in range(height):
        tick = {0: "100 %", height // 2: " 50 %", height - 1: "  0 %"}.get(row, "     ")
        text.append(f"{tick} │")
        for column in range(width):
            who = owner[row][column]
            text.append(chr(_BLANK + dots[row][column]), style=color(who) if who is not None else "")
        text.append("\n")
    text.append("      └" + "─" * width + "\n")
    labels = [" "] * (width + 12)
    for i in reversed(range(parts + 1)):  # the last one has the unit, so it never gives way
        label = f"{step * i:.4g}" + (" Gy" if i == parts else "")
        start = min(7 + (width - 1) * i // parts, 7 + width - len(label))  # within the axis, for narrow terminals
        if set(labels[start - 1 : start + len(label) + 1]) == {" "}:
            labels[start : start + len(label)] = label
    text.append("".join(labels).rstrip() + "\n")
    for number, curve in enumerate(curves):
        text.append("  ━━ ", style=color(number))
        text.append(clean(curve.structure))
    return text


def to_png(plans: Sequence[tuple[str, Sequence[DvhCurve]]], path: Path, *, bands: Sequence[DvhBand] = ()) -> None:
    """One picture of one or more plans' curves: a color a structure, a dash a plan, bands of a robust one shaded."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    structures = list(dict.fromkeys(c.structure for _, curves in plans for c in curves))
    # '$' in a name would be taken for mathematics
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(9, 5.5), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for i, (label, curves) in enumerate(plans):
            for curve in curves:
                axes.plot(
                    curve.dose_gy,
                    curve.volume_percent,
                    color=color(structures.index(curve.structure)),
                    linestyle=_DASHES[i % len(_DASHES)],
                    label=clean(curve.structure if len(plans) == 1 else f"{curve.structure}, {label}"),
                )
        for band in bands:
            if band.structure in structures:
                axes.fill_between(
                    band.dose_gy,
                    band.low_percent,
                    band.high_percent,
                    color=color(structures.index(band.structure)),
                    alpha=0.2,
                    linewidth=0,
                )
        axes.set(xlabel="Dose in Gy", ylabel="Volume in %", xlim=(0, None), ylim=(0, 101))
        axes.grid(alpha=0.3)
        axes.set_title("Cumulative DVH. Research use only, unapproved", fontsize=9)
        axes.legend(fontsize=8, loc="upper right")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    write({path: drawn.getvalue()})
