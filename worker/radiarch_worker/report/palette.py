"""Colors and line styles of reports and pictures: safe for the color-blind, and never the only sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from radiarch_contract.goals import Goal
from radiarch_contract.job import JobSpec
from radiarch_contract.states import GoalStatus
from radiarch_contract.structure_colors import OUTLINE

from radiarch_worker.model import Patient, Structure

Rgb = tuple[int, int, int]

# Where the structure set has no such structure: Okabe and Ito's without black and with a yellow for paper, and one more
_COLORS: tuple[Rgb, ...] = (
    (213, 94, 0),
    (0, 158, 115),
    (86, 160, 233),
    (204, 121, 167),
    (200, 160, 0),
    (120, 94, 240),
    (0, 175, 187),
    (160, 110, 60),
)
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (1.2, 1.4), (6, 1.5, 1.2, 1.5))
"""On and off, in units of the line's width."""

MAX_DRAWN = len(_COLORS) * len(_DASHES)
"""Number of structures whose colors can be distinguished."""

ISODOSES_PERCENT = (107.0, 100.0, 95.0, 90.0, 80.0, 70.0, 50.0, 30.0)
WASH_FROM_PERCENT = 10.0
"""Dose below this share of the prescription is not washed over the CT."""

_WASH_ANCHORS: tuple[tuple[float, Rgb], ...] = (
    # brightness rises up to the prescription; what is above it turns to red
    (0, (30, 20, 110)),
    (30, (70, 50, 200)),
    (50, (40, 120, 230)),
    (70, (30, 175, 205)),
    (80, (60, 200, 140)),
    (90, (150, 220, 80)),
    (95, (225, 230, 60)),
    (100, (255, 215, 50)),
    (105, (255, 140, 30)),
    (110, (225, 40, 40)),
)

GOAL_COLORS: Mapping[GoalStatus | None, Rgb] = {
    GoalStatus.MET: (0, 120, 85),
    GoalStatus.NEAR: (170, 105, 0),
    GoalStatus.MISSED: (180, 30, 30),
    None: (110, 110, 110),
}


@dataclass(frozen=True)
class LineStyle:
    """How a structure is drawn wherever it is drawn; ``dash`` is on, off … in line widths."""

    color: Rgb
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A structure and how it is drawn."""

    structure: Structure
    style: LineStyle


def dose_colors(percent: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Colors of doses in % of the prescription; (…, 3), 0 to 255."""
    at = np.array([a for a, _ in _WASH_ANCHORS], np.float32)
    channels = np.array([rgb for _, rgb in _WASH_ANCHORS], np.float32)
    return np.stack([np.interp(percent, at, channels[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def isodose_color(percent: float) -> Rgb:
    """A line's color: the wash's, made lighter so that it stands out from it."""
    r, g, b = (round(0.72 * float(v) + 0.28 * 255) for v in dose_colors(np.array([percent], np.float32))[0])
    return r, g, b


def drawn_structures(spec: JobSpec, patient: Patient) -> tuple[Drawn, ...]:
    """Structures, colored as in pages and viewer: the target, what goals are about, the rest by number; the body last.

    No more than can be distinguished; the tables have all of them.
    """
    numbers = {ref.name: ref.roi_number for ref in spec.structures}
    target = None if spec.prescription is None else numbers.get(spec.prescription.target)
    first = [target, *(numbers.get(n) for n in _goal_structures(spec.goals))]
    body = patient.body
    order = dict.fromkeys(n for n in [*first, *sorted(patient.structures)] if n in patient.structures)
    order.pop(body.roi_number, None)
    styles = [LineStyle(color, dash) for dash in _DASHES for color in _COLORS]
    found = [
        Drawn(patient.structures[n], replace(style, color=patient.structures[n].color or style.color))
        for n, style in zip(order, styles, strict=False)
        if n is not None
    ]
    return (*found, Drawn(body, LineStyle(body.color or OUTLINE)))


def _goal_structures(goals: Sequence[str]) -> list[str]:
    return [Goal.parse(text).structure for text in goals]
