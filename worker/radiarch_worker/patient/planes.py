"""A ROI's outlines by the plane on which they lie, each counted once; what lies between planes is in `slices`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radiarch_worker.model import Grid

from . import limits
from .outlines import Resolved, resolve
from .raster import FloatArray

_SAME_PLANE_MM = limits.PLANE_TOLERANCE_MM / 3
_CELLS_IN_PIXEL = 3


@dataclass(frozen=True)
class Planes:
    """Outlines that count, by plane.

    Attributes
    ----------
    z_mm : (planes,) rising
    outlines : of each plane, (n, 2) x, y in mm; by the even-odd rule
    """

    z_mm: FloatArray
    outlines: tuple[tuple[FloatArray, ...], ...]

    def without(self, planes: Sequence[int]) -> Planes:
        kept = [i for i in range(len(self.z_mm)) if i not in set(planes)]
        return Planes(self.z_mm[kept], tuple(self.outlines[i] for i in kept))

    @property
    def contours(self) -> tuple[tuple[float, FloatArray], ...]:
        """(z_mm, (n, 2) xy mm) of each outline."""
        return tuple((float(z), xy) for z, drawn in zip(self.z_mm, self.outlines, strict=True) for xy in drawn)


@dataclass(frozen=True)
class Found:
    """What was found while outlines were put on planes.

    Attributes
    ----------
    doubled_mm : z of planes with contours that are stored more than once
    joined_mm : z of planes that were put on another one of the same slice
    unclear : z and words of planes on which a contour may be a hole or stored twice
    crossing_mm2, area_mm2 : (planes,) enclosed by two contours that cross; by all
    """

    doubled_mm: tuple[float, ...]
    joined_mm: tuple[float, ...]
    unclear: tuple[tuple[float, str], ...]
    crossing_mm2: FloatArray
    area_mm2: FloatArray


def on_planes(
    outlines: Sequence[FloatArray], z_mm: FloatArray, grid: Grid, *, is_filled: bool = False
) -> tuple[Planes, Found]:
    """Put outlines on planes, and decide which of each plane count.

    Parameters
    ----------
    outlines : (n, 2) x, y in mm
    z_mm : (outlines,) height of each
    is_filled : whether holes mean nothing here

    Raises
    ------
    TooLargeError
    """
    order = np.argsort(z_mm, kind="stable")
    sheet = np.concatenate([[0], np.cumsum(np.diff(z_mm[order]) > _SAME_PLANE_MM)]).astype(np.int64)
    sheet_mm = np.array([z_mm[order[sheet == s]].mean() for s in range(sheet[-1] + 1)])
    slot = _joined(sheet_mm, grid)
    cell_mm = min(grid.spacing_mm[:2]) / _CELLS_IN_PIXEL
    of_slot = np.split(order, np.flatnonzero(np.diff(slot[sheet])) + 1)
    heights, kept, resolved, joined = [], [], [], []
    for s, members in enumerate(of_slot):
        sheets = np.flatnonzero(slot == s)
        z = _nearest_to_slice(sheet_mm[sheets], grid)
        joined += [h for h in sheet_mm[sheets].tolist() if h != z]
        layer = np.array([int(np.abs(sheet_mm - z_mm[m]).argmin()) for m in members])
        # Where several planes are one slice's, what lies nearest to it comes first, and so is what counts.
        first = np.argsort(np.abs(z_mm[members] - z), kind="stable") if len(sheets) > 1 else np.arange(len(members))
        one = resolve(
            [outlines[m] for m in members[first]], layer[first].tolist(), cell_mm=cell_mm, is_filled=is_filled
        )
        heights.append(z)
        kept.append(one.outlines)
        resolved.append(one)
    return Planes(np.array(heights), tuple(kept)), _found(heights, resolved, joined)


def _found(heights: Sequence[float], resolved: Sequence[Resolved], joined: Sequence[float]) -> Found:
    return Found(
        doubled_mm=tuple(z for z, r in zip(heights, resolved, strict=True) if r.doubled),
        joined_mm=tuple(joined),
        unclear=tuple((z, r.unclear) for z, r in zip(heights, resolved, strict=True) if r.unclear),
        crossing_mm2=np.array([r.crossing_mm2 for r in resolved]),
        area_mm2=np.array([r.area_mm2 for r in resolved]),
    )


def _joined(sheet_mm: FloatArray, grid: Grid) -> npt.NDArray[np.int64]:
    """Which sheets are one plane: much closer than the others usually are, and of one slice.

    A ROI that is drawn more finely than the CT's slices has sheets that are all equally close: these stay apart.
    """
    if len(sheet_mm) == 1:
        return np.zeros(1, dtype=np.int64)
    steps = np.diff(sheet_mm)
    close_mm = 0.5 * min(grid.spacing_mm[2], float(np.percentile(steps, 75)))
    slices = np.rint((sheet_mm - grid.origin_mm[2]) / grid.spacing_mm[2])
    apart = (steps >= close_mm) | (np.diff(slices) != 0)
    joined: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(apart)]).astype(np.int64)
    return joined


def _nearest_to_slice(heights: FloatArray, grid: Grid) -> float:
    at = (heights - grid.origin_mm[2]) / grid.spacing_mm[2]
    return float(heights[np.abs(at - np.rint(at)).argmin()])
