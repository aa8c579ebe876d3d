"""The color of each structure: its own, readable on white and on dark, and unlike every other's; nothing is drawn here.

Pages, the viewer, reports and the command line take it from here, so that a structure looks the same in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

Rgb = tuple[int, int, int]
_Lab = tuple[float, float, float]

OUTLINE: Rgb = (125, 135, 148)
"""Of an outline of the body without a color of its own."""
ALIKE = 0.045
"""Colors nearer to each other than this in OKLab are taken for the same on a thin line."""
MOST = 200
"""So many structures of a set are kept apart; more are never looked at together."""
_LUMINANCE = (0.135, 0.295)
"""Relative luminance with a contrast of 3:1 on white and on the pages' dark surface (WCAG 2.2, 1.4.11)."""
_HUES = 24
_CHROMAS = (0.15, 0.075)


def structure_colors(wanted: Mapping[int, Rgb | None], outlines: Sequence[int] = ()) -> dict[int, Rgb]:
    """The color that each ROI is drawn with.

    A ROI keeps the hue of its own color; only the lightness is changed where it could not be seen on white or on dark.
    Of colors that are alike the first ROI keeps it, and the others get the free color farthest from all that are used.

    Parameters
    ----------
    wanted : Mapping
        By ROI number, in the order of the structure set: ROI Display Color (3006,002A), or None.
    outlines : Sequence
        ROI numbers of outlines of the body: gray, where they have no color.
    """
    found: dict[int, Rgb] = {}
    used: list[_Lab] = []
    left = []
    for place, (number, own) in enumerate(wanted.items()):
        color = readable(own) if own is not None else OUTLINE if number in outlines else None
        if color is None or place >= MOST or any(math.dist(lab(color), other) < ALIKE for other in used):
            left.append((number, color))
            continue
        found[number] = color
        used.append(lab(color))
    free = _farthest(used)
    for number, color in left:
        found[number] = next(free) if len(found) < MOST else color or OUTLINE
    return {number: found[number] for number in wanted}


def readable(color: Rgb) -> Rgb:
    """The color of the same hue that is nearest in lightness and has enough contrast on white and on dark."""
    low, high = _LUMINANCE
    if low <= luminance(color) <= high:
        return color
    lightness, a, b = lab(color)
    target = low if luminance(color) < low else high
    bottom, top = 0.0, 1.0
    for _ in range(24):  # luminance rises with lightness
        lightness = (bottom + top) / 2
        if luminance(_rgb((lightness, a, b))) < target:
            bottom = lightness
        else:
            top = lightness
    return _rgb((lightness, a, b))


def luminance(color: Rgb) -> float:
    """Relative luminance (WCAG 2.2), 0 to 1."""
    r, g, b = map(_linear, color)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def as_color(value: object) -> Rgb | None:
    """A value of ROI Display Color (3006,002A) as a color; None where it is not three numbers from 0 to 255."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != 3:
        return None
    red, green, blue = (int(v) for v in value)
    return (red, green, blue) if all(0 <= v <= 255 for v in (red, green, blue)) else None


def as_hex(color: Rgb) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def lab(color: Rgb) -> _Lab:
    """OKLab (Ottosson 2020): distances are about those that one sees."""
    r, g, b = map(_linear, color)
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _rgb(color: _Lab) -> Rgb:
    lightness, a, b = color
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _byte(4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short),
        _byte(-1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short),
        _byte(-0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short),
    )


def _linear(value: int) -> float:
    part = value / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _byte(linear: float) -> int:
    part = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055))


@cache
def _candidates() -> tuple[tuple[Rgb, _Lab], ...]:
    """Readable colors all around the circle of hues, at both ends of the lightness that is allowed, vivid and pale."""
    colors: dict[Rgb, None] = {}
    for lightness in (0.53, 0.6, 0.66):
        for chroma in _CHROMAS:
            for i in range(_HUES):
                angle = 2 * math.pi * i / _HUES
                colors[readable(_rgb((lightness, chroma * math.cos(angle), chroma * math.sin(angle))))] = None
    return tuple((color, lab(color)) for color in colors)


def _farthest(used: Sequence[_Lab]) -> Iterator[Rgb]:
    """Colors, each of them farthest from those before; when all are used, again from the first."""
    distances = {c: min((math.dist(at, other) for other in used), default=1.0) for c, at in _candidates()}
    places = dict(_candidates())
    while True:
        best = max(distances, key=distances.__getitem__)
        yield best
        for color in distances:
            distances[color] = min(distances[color], math.dist(places[color], places[best]))
        if max(distances.values()) == 0:
            distances = dict.fromkeys(distances, 1.0)
