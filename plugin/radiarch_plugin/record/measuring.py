"""Values of measurements from their points alone: millimetres in the patient's coordinates (LPS, PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from radiarch_contract.errors import InvalidRequestError

Point = tuple[float, float, float]
MAX_POINTS = 500
MAX_MM = 10_000.0
FLAT_MM = 1.0
"""How far a point of an outline may lie from its plane."""
_SAME_MM = 1e-6


class Value(NamedTuple):
    value: float
    unit: str


def distance(points: Sequence[Point]) -> Value:
    """Between two points.

    >>> distance([(0, 0, 0), (3, 4, 0)])
    Value(value=5.0, unit='mm')
    """
    _count(points, "distance", 2, 2)
    return Value(math.dist(points[0], points[1]), "mm")


def angle(points: Sequence[Point]) -> Value:
    """At the second of three points, between the other two, 0 to 180 degrees.

    >>> angle([(5, 0, 0), (0, 0, 0), (0, 0, 2)])
    Value(value=90.0, unit='deg')
    """
    _count(points, "angle", 3, 3)
    a, b = _minus(points[0], points[1]), _minus(points[2], points[1])
    if min(_length(a), _length(b)) < _SAME_MM:
        raise _wrong("two of an angle's points are the same", "Give its middle as the second point, and two others.")
    # the tangent: exact also near 0 and 180 degrees, where the cosine is not
    return Value(math.degrees(math.atan2(_length(_cross(a, b)), _dot(a, b))), "deg")


def area(points: Sequence[Point]) -> Value:
    """Of a plane outline that is closed from its last point to its first and does not cross itself.

    >>> area([(0, 0, 7), (10, 0, 7), (10, 20, 7), (0, 20, 7)])
    Value(value=200.0, unit='mm2')
    """
    _count(points, "area", 3, MAX_POINTS)
    relative = [_minus(p, points[0]) for p in points]
    total = (0.0, 0.0, 0.0)
    for a, b in zip(relative, [*relative[1:], relative[0]], strict=True):
        total = _plus(total, _cross(a, b))
    double = _length(total)
    if double < _SAME_MM:
        raise _wrong("the outline encloses no area", "Give at least three points that are not on one line.")
    normal = (total[0] / double, total[1] / double, total[2] / double)
    heights = [_dot(p, normal) for p in relative]
    if max(heights) - min(heights) > FLAT_MM:
        raise _wrong(
            f"the outline's points lie {max(heights) - min(heights):.1f} mm apart across its plane, expected at most "
            f"{FLAT_MM} mm",
            "Draw it on one image.",
        )
    if _crosses(_flat(relative, normal)):
        raise _wrong("the outline crosses itself, its area is not defined", "Draw it without crossing lines.")
    return Value(double / 2, "mm2")


TYPES: Mapping[str, Callable[[Sequence[Point]], Value]] = {"distance": distance, "angle": angle, "area": area}


def measured(kind: str, points: Sequence[Point]) -> Value:
    """The value of a measurement. Raises `InvalidRequestError`."""
    if any(not math.isfinite(c) or abs(c) > MAX_MM for p in points for c in p):
        raise _wrong(f"a point is further than {MAX_MM:.0f} mm from the origin", "Give points in the patient, in mm.")
    return TYPES[kind](points)


def _count(points: Sequence[Point], what: str, least: int, most: int) -> None:
    if not least <= len(points) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise _wrong(
            f"{len(points)} points for a measurement of type {what}, expected {expected}", "Correct points_mm."
        )


def _flat(points: Sequence[Point], normal: Point) -> list[tuple[float, float]]:
    """Points without the axis that lies most along the normal: crossings stay crossings."""
    drop = max(range(3), key=lambda i: abs(normal[i]))
    i, j = (k for k in range(3) if k != drop)
    return [(p[i], p[j]) for p in points]


def _crosses(points: Sequence[tuple[float, float]]) -> bool:
    """Whether two edges that are not neighbours meet."""
    n = len(points)
    edges = [(points[i], points[(i + 1) % n]) for i in range(n)]
    return any(_meet(*edges[i], *edges[j]) for i in range(n) for j in range(i + 2, n) if (j + 1) % n != i)


def _meet(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]) -> bool:
    return _side(a, b, c) * _side(a, b, d) < 0 and _side(c, d, a) * _side(c, d, b) < 0


def _side(a: tuple[float, float], b: tuple[float, float], p: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _plus(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _length(a: Point) -> float:
    return math.hypot(*a)


def _wrong(message: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(message, remedy=remedy)
