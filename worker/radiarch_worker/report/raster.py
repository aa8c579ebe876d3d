"""CT in grey with the dose washed over it, as pixels; lines and letters are drawn by `png` and `figures`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .palette import WASH_FROM_PERCENT, dose_colors
from .planes import Cut, Sheet

_GRAY_FROM_HU, _GRAY_TO_HU = -160.0, 240.0
"""Soft tissue: level 40, width 400."""
_WASH_ALPHA = 0.45
_OUTSIDE_HU = -1024.0


def rgb(cut: Cut, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """The cut's window as (height, width, 3) pixels.

    The middle of pixel (r, c) is at ``v_min + (r + 0.5) * height_mm / height_px`` and the like for u.
    """
    window = cut.window
    u_mm = window.u_min + (np.arange(width_px) + 0.5) * window.width_mm / width_px
    v_mm = window.v_min + (np.arange(height_px) + 0.5) * window.height_mm / height_px
    hu, _ = sample(cut.hu, u_mm, v_mm, _OUTSIDE_HU)
    gray = np.clip((hu - _GRAY_FROM_HU) * np.float32(255 / (_GRAY_TO_HU - _GRAY_FROM_HU)), 0, 255)
    color = np.repeat(gray[..., None], 3, axis=2)
    if cut.percent is not None:
        percent, known = sample(cut.percent, u_mm, v_mm, 0.0)
        # the wash begins softly: an edge at its threshold would look like an isodose
        strength = np.clip((percent - WASH_FROM_PERCENT) / WASH_FROM_PERCENT, 0, 1) * np.float32(_WASH_ALPHA)
        strength = (strength * known)[..., None]
        color = color * (1 - strength) + dose_colors(percent) * strength
    pixels: npt.NDArray[np.uint8] = np.rint(color).astype(np.uint8)
    return pixels


def sample(
    sheet: Sheet, u_mm: npt.NDArray[np.float64], v_mm: npt.NDArray[np.float64], outside: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Values at the crossings of columns and rows, bilinear, and where they are known: within half a spacing."""
    columns, u_known = _places(sheet.u_mm, u_mm)
    rows, v_known = _places(sheet.v_mm, v_mm)
    (c0, c1, cw), (r0, r1, rw) = columns, rows
    across = sheet.values[:, c0] * (1 - cw) + sheet.values[:, c1] * cw
    values = across[r0] * (1 - rw[:, None]) + across[r1] * rw[:, None]
    known = v_known[:, None] & u_known[None, :]
    return np.where(known, values, np.float32(outside)), known


def _places(
    axis_mm: npt.NDArray[np.float64], at_mm: npt.NDArray[np.float64]
) -> tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]], npt.NDArray[np.bool_]]:
    count = len(axis_mm)
    spacing = (axis_mm[-1] - axis_mm[0]) / (count - 1) if count > 1 else 1.0
    place = (at_mm - axis_mm[0]) / spacing
    known = (place >= -0.5) & (place <= count - 0.5)
    place = np.clip(place, 0, count - 1)
    low = np.minimum(place.astype(np.intp), count - 1)
    high = np.minimum(low + 1, count - 1)
    return (low, high, (place - low).astype(np.float32)), known
