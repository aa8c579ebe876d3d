"""Closed outlines on one plane: which count, where some are stored twice, nested or crossing; no slices, no DICOM.

What outlines enclose follows from the even-odd rule: a nested one is a hole. An outline that is stored twice then
deletes itself, so what is the same has to be found first; and what lies so closely within another that it may be
either, is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from . import limits
from .raster import FloatArray, Region, TooLargeError, fill

_STEP_MM = 0.2
"""Between points along an outline from which distances are measured."""
_MAX_STEPS = 20_000
_ALONG_MM = 0.25
_ALONG_SHARE = 0.35
"""A hole that touches the edge does so at a point; a part of what is stored as a whole too, along its side."""
_SLIVER_MM, _SLIVER_SHARE = 0.25, 0.1
"""Outlines that overlap by a strip narrower than this, and by less than this share of the smaller, only touch."""
_FILM_MM = 1.2
"""Holes that leave nothing thicker than this of an outline are no holes."""
_MAX_CELLS = 100_000_000
"""Of the bitmaps of one plane."""
_RETURN_MM = 0.01


@dataclass(frozen=True)
class Resolved:
    """Outlines of a plane that count.

    Attributes
    ----------
    kept : indices into what was given, rising
    outlines : (n, 2) mm, of those; an outline that goes round twice goes round once here
    doubled : how many were the same as one that is kept
    unclear : what may be a hole or stored twice, in words; empty where everything is clear
    crossing_mm2 : that two outlines both enclose though neither is within the other
    area_mm2 : of all that are kept, holes too
    """

    kept: tuple[int, ...]
    outlines: tuple[FloatArray, ...]
    doubled: int = 0
    unclear: str = ""
    crossing_mm2: float = 0.0
    area_mm2: float = 0.0


def resolve(
    outlines: Sequence[FloatArray], layer: Sequence[int], *, cell_mm: float, is_filled: bool = False
) -> Resolved:
    """Decide which outlines of a plane count.

    Parameters
    ----------
    outlines : (n, 2) x, y in mm; of two that are the same the first one is kept
    layer
        Which of the planes that were put on this one each comes from. Outlines of different planes that nearly
        agree are one, never a wall.
    cell_mm : spacing of the bitmaps by which areas are compared
    is_filled : whether holes mean nothing here (the patient's outline): then nothing nested is unclear

    Raises
    ------
    TooLargeError
    """
    drawn = [_once(o) for o in outlines]
    doubled = sum(len(d) < len(o) for d, o in zip(drawn, outlines, strict=True))
    kept = _without_repeats(drawn)
    doubled += len(drawn) - len(kept)
    if len(kept) == 1:
        return Resolved(tuple(kept), tuple(drawn[i] for i in kept), doubled, area_mm2=_shoelace_mm2(drawn[kept[0]]))
    plane = _Plane({i: _Outline(drawn[i]) for i in kept}, cell_mm)
    dropped: set[int] = set()
    unclear = ""
    crossing_mm2 = 0.0
    has_holes = False
    for i, j in plane.pairs():
        if i in dropped or j in dropped:
            continue
        relation, common_mm2 = plane.relation(i, j)
        if relation is _Relation.CLOSE and (is_filled or layer[i] != layer[j]):
            relation = _Relation.SAME
        if relation is _Relation.SAME or (relation is _Relation.ALONG and is_filled):
            # Of an outline that is filled the larger one says where it ends.
            dropped.add(i if is_filled and plane.area_mm2(i) < plane.area_mm2(j) else j)
        elif relation in (_Relation.CLOSE, _Relation.ALONG):
            unclear = unclear or plane.words(i, j, relation)
        elif relation is _Relation.HOLE:
            has_holes = True
        elif relation is _Relation.CROSSING:
            crossing_mm2 += common_mm2
    kept = [i for i in kept if i not in dropped]
    if has_holes and not unclear and not is_filled and plane.is_film(kept):
        unclear = f"contours within others leave nothing of them that is thicker than {_FILM_MM:g} mm"
    area_mm2 = sum(_shoelace_mm2(drawn[i]) for i in kept)
    return Resolved(tuple(kept), tuple(drawn[i] for i in kept), doubled + len(dropped), unclear, crossing_mm2, area_mm2)


def _once(points: FloatArray) -> FloatArray:
    """An outline that goes round several times, once: even-odd would leave nothing of two rounds."""
    back = np.flatnonzero((np.abs(points[1:] - points[0]) <= _RETURN_MM).all(axis=1)) + 1
    starts = [0, *(i for i in back.tolist() if 3 <= i <= len(points) - 3)]
    if len(starts) == 1:
        return points
    rounds = [r for r in np.split(points, starts[1:]) if len(r) > 2]
    first = _Outline(rounds[0])
    others = [_Outline(r) for r in rounds[1:]]
    if all(first.is_near(o, limits.SAME_OUTLINE_MM) for o in others) and all(
        first.distance_mm(o) <= limits.SAME_OUTLINE_MM for o in others
    ):
        return rounds[0]
    return points


def _without_repeats(outlines: Sequence[FloatArray]) -> list[int]:
    """Indices of outlines without exact copies, also reversed or begun elsewhere; the cheap part of the work."""
    if len(outlines) == 1:
        return [0]
    first: dict[bytes, int] = {}
    for i, points in enumerate(outlines):
        first.setdefault(_key(points), i)
    return list(first.values())


def _key(points: FloatArray) -> bytes:
    whole = np.rint(points * 1000).astype(np.int64)
    whole = whole[(whole != np.roll(whole, 1, axis=0)).any(axis=1)]
    if len(whole) < 3:
        return bytes(whole.tobytes())
    x, y = (whole - whole[0]).astype(np.float64).T
    if np.dot(x, np.roll(y, -1)) < np.dot(y, np.roll(x, -1)):
        whole = whole[::-1]
    start = int(np.lexsort((whole[:, 1], whole[:, 0]))[0])
    key: bytes = np.roll(whole, -start, axis=0).tobytes()
    return key


def _shoelace_mm2(points: FloatArray) -> float:
    x, y = (points - points[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


class _Relation(Enum):
    APART = "apart"
    SAME = "the same"
    CLOSE = "nearly the same"
    ALONG = "within the other and along its edge"
    HOLE = "well within the other"
    CROSSING = "crossing"


class _Outline:
    """One outline, and what is measured of it when it is asked for."""

    def __init__(self, points: FloatArray) -> None:
        self.points = points
        self.low, self.high = points.min(axis=0), points.max(axis=0)

    @cached_property
    def _steps(self) -> FloatArray:
        """Points along the outline, evenly spread."""
        closed = np.vstack([self.points, self.points[:1]])
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
        count = min(max(int(along[-1] / _STEP_MM), 16), _MAX_STEPS)
        at = np.linspace(0.0, along[-1], count, endpoint=False)
        return np.column_stack([np.interp(at, along, closed[:, a]) for a in (0, 1)])

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self._steps)

    @cached_property
    def length_mm(self) -> float:
        closed = np.vstack([self.points, self.points[:1]])
        return float(np.hypot(*np.diff(closed, axis=0).T).sum())

    def is_near(self, other: _Outline, mm: float) -> bool:
        """Whether the boxes round both agree so far; cheap, and needed for the outlines to agree."""
        return bool(
            (np.abs(self.low - other.low) <= mm + _STEP_MM).all()
            and (np.abs(self.high - other.high) <= mm + _STEP_MM).all()
        )

    def away_mm(self, other: _Outline) -> FloatArray:
        """Distance of evenly spread points of this outline from the other one."""
        found, _ = other._tree.query(self._steps)
        return np.asarray(found, dtype=np.float64)

    def distance_mm(self, other: _Outline) -> float:
        """Hausdorff distance: the farthest that a point of one lies from the other."""
        return float(max(self.away_mm(other).max(), other.away_mm(self).max()))


@dataclass
class _Plane:
    """Outlines of one plane, and bitmaps of them on one lattice."""

    outlines: dict[int, _Outline]
    cell_mm: float
    _bitmaps: dict[int, Region] = field(default_factory=dict)
    _cells: int = 0

    def __post_init__(self) -> None:
        low = np.min([o.low for o in self.outlines.values()], axis=0)
        high = np.max([o.high for o in self.outlines.values()], axis=0)
        self.cell_mm = max(self.cell_mm, float((high - low).max()) / 2048)

    def pairs(self) -> list[tuple[int, int]]:
        """Outlines whose boxes overlap, in rising order."""
        if len(self.outlines) > limits.MAX_CONTOURS_ON_PLANE:
            raise TooLargeError(f"{len(self.outlines)} contours on one slice")
        index = list(self.outlines)
        low = np.array([self.outlines[i].low for i in index])
        high = np.array([self.outlines[i].high for i in index])
        apart = (low[:, None] > high[None, :]).any(axis=2)
        found = np.argwhere(np.triu(~(apart | apart.T), 1))
        if len(found) > limits.MAX_OVERLAPS_ON_PLANE:
            raise TooLargeError(f"{len(found)} overlaps of contours on one slice")
        return [(index[a], index[b]) for a, b in found.tolist()]

    def relation(self, i: int, j: int) -> tuple[_Relation, float]:
        """How two outlines lie to each other, and the area that both enclose."""
        a, b = self.outlines[i], self.outlines[j]
        small, large = (i, j) if self.area_mm2(i) < self.area_mm2(j) else (j, i)
        common_mm2 = self._common_mm2(i, j)
        small_mm2 = self.area_mm2(small)
        if a.is_near(b, limits.MIN_WALL_MM) and 2 * common_mm2 >= small_mm2:
            distance_mm = a.distance_mm(b)
            if distance_mm <= limits.SAME_OUTLINE_MM:
                return _Relation.SAME, common_mm2
            if distance_mm < limits.MIN_WALL_MM:
                return _Relation.CLOSE, common_mm2
        sliver_mm2 = min(_SLIVER_MM * self.outlines[small].length_mm, _SLIVER_SHARE * small_mm2)
        if common_mm2 <= sliver_mm2:
            return _Relation.APART, common_mm2
        if small_mm2 - common_mm2 <= sliver_mm2:
            along = self.outlines[small].away_mm(self.outlines[large]) <= _ALONG_MM
            return (_Relation.ALONG if along.mean() > _ALONG_SHARE else _Relation.HOLE), common_mm2
        return _Relation.CROSSING, common_mm2

    def words(self, i: int, j: int, relation: _Relation) -> str:
        if relation is _Relation.CLOSE:
            distance_mm = self.outlines[i].distance_mm(self.outlines[j])
            return (
                f"two contours are {distance_mm:.2f} mm apart: up to {limits.SAME_OUTLINE_MM:g} mm they count as one "
                f"stored twice, from {limits.MIN_WALL_MM:g} mm the inner one as a hole"
            )
        return "a contour lies within another and along its edge, as a part does of what is stored as a whole too"

    def area_mm2(self, i: int) -> float:
        return self._bitmap(i).count * self.cell_mm**2

    def is_film(self, kept: Sequence[int]) -> bool:
        """Whether even-odd leaves nothing thick of outlines that are."""
        region = self._filled([self.outlines[i].points for i in kept])
        largest_mm2 = max(self.area_mm2(i) for i in kept)
        if region.count * self.cell_mm**2 >= largest_mm2 / 2:
            return False
        steps = int(_FILM_MM / 2 / self.cell_mm)
        inside = np.pad(region.inside[0], 1)
        left = ndimage.binary_erosion(inside, iterations=steps) if steps else inside
        return not bool(left.any())

    def _bitmap(self, i: int) -> Region:
        if i not in self._bitmaps:
            self._bitmaps[i] = self._filled([self.outlines[i].points])
        return self._bitmaps[i]

    def _filled(self, outlines: Sequence[FloatArray]) -> Region:
        scaled = [o / self.cell_mm for o in outlines]
        low = np.floor(np.min([o.min(axis=0) for o in scaled], axis=0)).astype(int)
        high = np.ceil(np.max([o.max(axis=0) for o in scaled], axis=0)).astype(int) + 2
        self._cells += int(np.prod(high - low))
        if self._cells > _MAX_CELLS:
            raise TooLargeError("too many large contours on one slice")
        region = fill(
            scaled,
            np.zeros(len(scaled), dtype=np.int64),
            low=(0, int(low[1]), int(low[0])),
            high=(1, int(high[1]), int(high[0])),
            max_crossings=limits.MAX_CROSSINGS,
            max_voxels=_MAX_CELLS,
        )
        return region if region.inside.size else Region((0, 0, 0), np.zeros((1, 0, 0), dtype=np.bool_))

    def _common_mm2(self, i: int, j: int) -> float:
        a, b = self._bitmap(i), self._bitmap(j)
        windows: list[tuple[slice, slice]] = []
        for axis in (1, 2):
            low = max(a.start[axis], b.start[axis])
            high = min(a.start[axis] + a.inside.shape[axis], b.start[axis] + b.inside.shape[axis])
            if high <= low:
                return 0.0
            windows.append((slice(low - a.start[axis], high - a.start[axis]), _shifted(low, high, b.start[axis])))
        (ay, by), (ax, bx) = windows
        both: npt.NDArray[np.bool_] = a.inside[0][ay, ax] & b.inside[0][by, bx]
        return int(np.count_nonzero(both)) * self.cell_mm**2


def _shifted(low: int, high: int, start: int) -> slice:
    return slice(low - start, high - start)
