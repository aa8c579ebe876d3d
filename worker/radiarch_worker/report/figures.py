"""Figures of the report: planes with contours and isodoses, DVHs; drawn as vectors over the CT's pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from radiarch_contract.job import DvhCurve
from radiarch_contract.robustness import DvhBand

from .page import FAINT, INK, RULE, Pages
from .palette import Drawn, LineStyle, Rgb, isodose_color
from .planes import LETTERS, Cut
from .raster import rgb

_PX_PER_MM = 8.0
"""200 dots an inch: finer than the CT at any size it is printed."""
_JPEG_QUALITY = 90
_WHITE: Rgb = (255, 255, 255)
_OTHER = LineStyle((120, 120, 120), (2, 2))
"""Structures beyond those whose colors can be distinguished."""


def plane_figure(pages: Pages, cut: Cut, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> None:
    """A cut in a black field, as large as fits, nothing stretched."""
    pages.box(x_mm, y_mm, width_mm, height_mm, (0, 0, 0))
    scale = min(width_mm / cut.window.width_mm, height_mm / cut.window.height_mm)
    w, h = cut.window.width_mm * scale, cut.window.height_mm * scale
    left, top = x_mm + (width_mm - w) / 2, y_mm + (height_mm - h) / 2
    picture = Image.fromarray(rgb(cut, max(2, round(w * _PX_PER_MM)), max(2, round(h * _PX_PER_MM))))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    pages.picture(buffer.getvalue(), left, top, w, h)
    pages.clip(left, top, w, h)
    start = np.array([cut.window.u_min, cut.window.v_min])
    corner = np.array([left, top])
    for isodose in cut.isodoses:
        for line in isodose.lines:
            pages.line((line - start) * scale + corner, width_pt=0.55, color=isodose_color(isodose.percent))
    for outline in reversed(cut.outlines):
        for line in outline.lines:
            points = (line - start) * scale + corner
            pages.line(points, width_pt=1.0, color=outline.style.color, dash=_closer(outline.style.dash))
    u, v = (np.array(cut.center) - start) * scale + corner
    pages.line([(u - 2, v), (u + 2, v)], width_pt=0.5, color=_WHITE)
    pages.line([(u, v - 2), (u, v + 2)], width_pt=0.5, color=_WHITE)
    pages.unclip()
    middle_x, middle_y = x_mm + width_mm / 2, y_mm + height_mm / 2
    places = (
        (x_mm + 2.6, middle_y + 1.2),
        (x_mm + width_mm - 2.6, middle_y + 1.2),
        (middle_x, y_mm + 4.2),
        (middle_x, y_mm + height_mm - 1.8),
    )
    for letter, (lx, ly) in zip(LETTERS[cut.plane], places, strict=True):
        pages.box(lx - 1.7, ly - 3.0, 3.4, 3.9, (0, 0, 0), 0.6)
        pages.text(lx, ly, letter, 9, bold=True, color=_WHITE, align="center")


def _closer(dash: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(0.8 * d for d in dash)


def swatch(pages: Pages, x_mm: float, y_mm: float, style: LineStyle, *, width_pt: float = 1.6) -> None:
    """A piece of a structure's line, 7 mm long."""
    pages.line([(x_mm, y_mm), (x_mm + 7, y_mm)], width_pt=width_pt, color=style.color, dash=style.dash)


def isodose_key(pages: Pages, cuts: Sequence[Cut], x_mm: float, y_mm: float) -> float:
    """Which line is which dose; returns where it ends."""
    levels = {i.percent: i.dose_gy for cut in cuts for i in cut.isodoses}
    pages.text(x_mm, y_mm, "Isodoses", 8.5, bold=True)
    for percent in sorted(levels, reverse=True):
        y_mm += 4.4
        pages.box(x_mm, y_mm - 2.7, 8, 3.4, (45, 48, 54), 0.4)
        pages.line([(x_mm + 0.8, y_mm - 1), (x_mm + 7.2, y_mm - 1)], width_pt=1.1, color=isodose_color(percent))
        pages.text(x_mm + 18, y_mm, f"{percent:g} %", 8, align="right")
        pages.text(x_mm + 33, y_mm, f"{levels[percent]:.1f} Gy", 8, color=FAINT, align="right")
    return y_mm


def structure_key(
    pages: Pages, cuts: Sequence[Cut], x_mm: float, y_mm: float, width_mm: float, bottom_mm: float
) -> float:
    """Which line is which structure, of those that are on a picture; returns where it ends."""
    styles: dict[str, LineStyle] = {}
    for cut in cuts:
        styles |= {o.name: o.style for o in cut.outlines if o.name not in styles}
    pages.text(x_mm, y_mm, "Structures", 8.5, bold=True)
    room = int((bottom_mm - y_mm) / 4.4)
    names = list(styles)
    for name in names if len(names) <= room else names[: room - 1]:
        y_mm += 4.4
        swatch(pages, x_mm, y_mm - 1, styles[name])
        pages.text(x_mm + 9, y_mm, name, 8, width_mm=width_mm - 9)
    if len(names) > room:
        y_mm += 4.4
        pages.text(x_mm + 9, y_mm, f"and {len(names) - room + 1} more", 8, color=FAINT)
    return y_mm


def dvh_figure(
    pages: Pages,
    curves: Sequence[DvhCurve],
    bands: Sequence[DvhBand],
    drawn: Mapping[int, Drawn],
    mark: tuple[str, float],
    dose_label: str,
    x_mm: float,
    y_mm: float,
    width_mm: float,
    height_mm: float,
) -> None:
    """Cumulative DVHs; axes from 0 to the highest dose or the mark (a name and its dose), and from 0 to 100 %."""
    name, prescription_gy = mark
    most_gy = max([1.04 * prescription_gy, *(c.dose_gy[-1] for c in curves if c.dose_gy)])
    step = _nice_step(most_gy / 9)
    top_gy = math.ceil(most_gy / step - 1e-9) * step
    left, top, w, h = x_mm + 11, y_mm + 2, width_mm - 13, height_mm - 13

    def points(dose_gy: npt.NDArray[np.float64], percent: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack([left + dose_gy / top_gy * w, top + (1 - percent / 100) * h], axis=1)

    for percent in range(0, 101, 20):
        y = top + (1 - percent / 100) * h
        pages.rule(left, y, left + w)
        pages.text(left - 1.5, y + 1, f"{percent}", 7.5, color=FAINT, align="right")
    for n in range(round(top_gy / step) + 1):
        x = left + n * step / top_gy * w
        pages.line([(x, top), (x, top + h)], width_pt=0.5, color=RULE)
        pages.text(x, top + h + 4, f"{n * step:g}", 7.5, color=FAINT, align="center")
    pages.text(left + w / 2, top + h + 8.6, dose_label, 8, align="center")
    pages.text(left, top - 1.4, "Volume, %", 8)
    x = left + prescription_gy / top_gy * w
    pages.line([(x, top), (x, top + h)], width_pt=0.7, color=FAINT, dash=(4, 3))
    pages.text(x, top - 1.4, f"{name} {prescription_gy:.4g} Gy", 7.5, color=FAINT, align="center")
    pages.clip(left - 0.3, top - 0.3, w + 0.6, h + 0.6)
    for band in bands:
        if band.roi_number in drawn and len(band.dose_gy) > 1:
            dose_gy = np.asarray(band.dose_gy)
            low, high = (points(dose_gy, np.asarray(v)) for v in (band.low_percent, band.high_percent))
            pages.area(np.vstack([high, low[::-1]]), drawn[band.roi_number].style.color, 0.22)
    # the first structures are drawn last: they lie on top
    for curve in reversed(curves):
        style = drawn[curve.roi_number].style if curve.roi_number in drawn else _OTHER
        pages.line(points(*_thinned(curve)), width_pt=1.15, color=style.color, dash=style.dash)
    pages.unclip()
    pages.line([(left, top), (left, top + h), (left + w, top + h)], width_pt=0.8, color=INK, round_joins=False)


def _thinned(curve: DvhCurve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The curve without points that change it by less than a hair's breadth (0.15 % of the volume)."""
    dose_gy, percent = np.asarray(curve.dose_gy), np.asarray(curve.volume_percent)
    kept = np.zeros(len(dose_gy), bool)
    level = np.floor(percent / 0.15)
    kept[[0, -1]] = True
    changes = np.flatnonzero(np.diff(level))
    kept[changes] = True
    kept[changes + 1] = True
    return dose_gy[kept], percent[kept]


def _nice_step(least: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below ``least``.

    Examples
    --------
    >>> _nice_step(8.1)
    10.0
    """
    decade = 10.0 ** math.floor(math.log10(least))
    return next(m * decade for m in (1, 2, 5, 10) if m * decade >= least * (1 - 1e-9))
