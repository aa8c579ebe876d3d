"""Colors of structures: what a structure set says, readable everywhere, each to be told from the others."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest
from radiarch_contract.structure_colors import (
    ALIKE,
    MOST,
    OUTLINE,
    Rgb,
    as_hex,
    lab,
    luminance,
    readable,
    structure_colors,
)

SURFACES = {"white": 1.0, "dark": luminance((0x17, 0x1C, 0x23))}


def contrast(color: Rgb, surface: float) -> float:
    lighter, darker = sorted((luminance(color), surface), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def nearest(colors: list[Rgb]) -> float:
    return min(math.dist(lab(a), lab(b)) for a, b in combinations(colors, 2))


@pytest.mark.parametrize("surface", SURFACES)
def test_every_color_can_be_seen_on_white_and_on_dark(surface: str) -> None:
    step = (0, 51, 102, 153, 204, 255)
    wanted = dict(enumerate((r, g, b) for r in step for g in step for b in step))
    for color in structure_colors(wanted).values():
        assert contrast(color, SURFACES[surface]) >= 2.98, as_hex(color)  # rounded to whole bytes


@pytest.mark.parametrize("own", [None, (255, 0, 0), (255, 255, 0), (0, 0, 0), (255, 255, 255)])
def test_thirty_structures_of_one_color_are_told_apart(own: Rgb | None) -> None:
    found = structure_colors(dict.fromkeys(range(30), own))
    assert nearest(list(found.values())) > ALIKE


def test_thirty_random_colors_are_told_apart_and_most_are_kept() -> None:
    at = random.Random(7)
    wanted = {n: (at.randrange(256), at.randrange(256), at.randrange(256)) for n in range(30)}
    found = structure_colors(wanted)
    assert nearest(list(found.values())) > 0.9 * ALIKE
    assert sum(found[n] == readable(wanted[n]) for n in wanted) >= 20


def test_a_color_of_its_own_is_kept_and_others_alike_give_way() -> None:
    found = structure_colors({3: (255, 0, 0), 1: (250, 4, 2), 2: (0, 0, 255)})
    assert list(found) == [3, 1, 2]
    assert found[3] == (255, 0, 0)
    assert found[1] != readable((250, 4, 2))
    assert found[2] == readable((0, 0, 255))


def test_hue_stays_where_lightness_has_to_change() -> None:
    for own in ((255, 255, 0), (0, 255, 255), (0, 0, 128), (255, 200, 200)):
        (_, a, b), (_, c, d) = lab(own), lab(readable(own))
        turned = (math.atan2(b, a) - math.atan2(d, c) + math.pi) % (2 * math.pi) - math.pi
        assert abs(turned) < math.radians(12), own


def test_an_outline_without_a_color_is_gray() -> None:
    assert structure_colors({1: None, 2: None}, outlines=[2])[2] == OUTLINE


def test_however_many_structures_there_are_each_has_a_color() -> None:
    found = structure_colors(dict.fromkeys(range(MOST + 50), (9, 9, 9)))
    assert len(found) == MOST + 50
    assert structure_colors({}) == {}
