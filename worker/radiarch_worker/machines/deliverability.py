"""Whether a machine can deliver photon beams, how long that takes, and how complex they are; no plan is made here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import InvalidRequestError

from radiarch_worker.photon import ControlPoint, FluenceMode, Opening, PhotonBeam, Rotation

from .photon_machine import Jaws, PhotonEnergy, PhotonMachine

SMALL_CM2 = 4.0
"""Apertures smaller than this are small: their dose depends on what is hard to measure."""
_ROUNDED_MM = 0.011
_MOVED_MM = 0.01


class Limit(StrEnum):
    """What a machine cannot do."""

    ENERGY = "energy"
    LEAF_COUNT = "leaf_count"
    LEAF_RANGE = "leaf_range"
    LEAF_SPAN = "leaf_span"
    LEAF_GAP = "leaf_gap"
    INTERDIGITATION = "interdigitation"
    LEAF_SPEED = "leaf_speed"
    JAW_RANGE = "jaw_range"
    JAWS_MOVE = "jaws_move"
    GANTRY_SPEED = "gantry_speed"
    GANTRY_STOP = "gantry_stop"
    DOSE_RATE = "dose_rate"
    MU = "mu"


@dataclass(frozen=True)
class Broken:
    """A limit that a control point, or the way from it to the next one, breaks."""

    beam: int
    index: int
    limit: Limit
    message: str


@dataclass(frozen=True)
class Delivery:
    """What delivering a beam means.

    Attributes
    ----------
    time_s : with the beam on or waiting for leaves, estimated: without acceleration
    modulation : modulation complexity score, 1 for an open field, less for what is more complex (McNiven et al. 2010,
        doi:10.1118/1.3276775)
    small_aperture_share : of the MU
    """

    broken: tuple[Broken, ...]
    time_s: float
    modulation: float
    small_aperture_share: float


def delivery(beam: PhotonBeam, machine: PhotonMachine) -> Delivery:
    """Check a beam control point by control point."""
    mode = "STANDARD" if beam.fluence is FluenceMode.FLATTENED else "FFF"
    broken: list[Broken] = []
    energy: PhotonEnergy | None = None
    try:
        energy = machine.energy(beam.energy_mv, mode)
    except InvalidRequestError as e:
        broken.append(Broken(beam.number, 0, Limit.ENERGY, str(e)))
    pairs = None if beam.leaf_boundaries_mm is None else len(beam.leaf_boundaries_mm) - 1
    has = len(machine.file.mlc.boundaries_mm) - 1
    if pairs is not None and pairs != has:
        broken.append(Broken(beam.number, 0, Limit.LEAF_COUNT, f"{pairs} leaf pairs, the machine has {has}"))
    for index, point in enumerate(beam.control_points):
        broken += (Broken(beam.number, index, *found) for found in _at(point, machine))
    times = []
    for index, (a, b) in enumerate(pairwise(beam.control_points)):
        seconds, found = _between(beam, index, a, b, machine, energy)
        times.append(seconds)
        broken += (Broken(beam.number, index, *each) for each in found)
    broken += (Broken(beam.number, 0, *found) for found in _turn(beam, machine))
    return Delivery(tuple(broken), float(sum(times)), modulation_score(beam), small_aperture_share(beam))


_Found = Iterator[tuple[Limit, str]]


def _at(point: ControlPoint, machine: PhotonMachine) -> _Found:
    """What a still aperture breaks."""
    mlc = machine.file.mlc
    if point.leaves_mm is not None:
        low, high = mlc.range_mm
        worst = float(np.max(np.maximum(low - point.leaves_mm, point.leaves_mm - high)))
        if worst > _ROUNDED_MM:
            yield Limit.LEAF_RANGE, f"a leaf is {worst:.2f} mm beyond {low:g} to {high:g} mm"
        for bank, positions in zip(("X1", "X2"), point.leaves_mm, strict=True):
            if (span := float(np.ptp(positions))) > mlc.span_mm + _ROUNDED_MM:
                yield Limit.LEAF_SPAN, f"leaves of bank {bank} are {span:.1f} mm apart, at most {mlc.span_mm:g} mm"
        if not mlc.interdigitation:
            x1, x2 = point.leaves_mm
            over = max(float(np.max(x1[1:] - x2[:-1])), float(np.max(x1[:-1] - x2[1:])))
            if over > _ROUNDED_MM:
                yield Limit.INTERDIGITATION, f"a leaf is {over:.2f} mm beyond an opposite leaf of the next pair"
    for axis, jaws, limits in (
        ("X", point.jaws_x_mm, machine.file.jaws_x),
        ("Y", point.jaws_y_mm, machine.file.jaws_y),
    ):
        if jaws is None:
            continue
        if limits is None:
            yield Limit.JAW_RANGE, f"jaws in {axis}, which the machine does not have"
        elif jaws[0] < limits.range_mm[0] - _ROUNDED_MM or jaws[1] > limits.range_mm[1] + _ROUNDED_MM:
            low, high = limits.range_mm
            yield Limit.JAW_RANGE, f"jaws in {axis} at {jaws[0]:g}, {jaws[1]:g} mm, beyond {low:g} to {high:g} mm"


def _between(
    beam: PhotonBeam, index: int, a: ControlPoint, b: ControlPoint, machine: PhotonMachine, energy: PhotonEnergy | None
) -> tuple[float, list[tuple[Limit, str]]]:
    """Seconds from one control point to the next, and what is broken on the way.

    The machine waits for what is slowest; where it may not shine as slowly as that, the limit of the slowest is broken.
    """
    mu = b.cumulative_mu - a.cumulative_mu
    turn = abs(beam.gantry_path_deg[index + 1] - beam.gantry_path_deg[index])
    needed = {Limit.GANTRY_SPEED: float(turn) / machine.file.gantry.speed_deg_s}
    found: list[tuple[Limit, str]] = []
    if a.leaves_mm is not None and b.leaves_mm is not None:
        way = np.abs(b.leaves_mm - a.leaves_mm)
        needed[Limit.LEAF_SPEED] = float(way.max()) / machine.file.mlc.speed_mm_s
        gaps = np.minimum(a.leaves_mm[1] - a.leaves_mm[0], b.leaves_mm[1] - b.leaves_mm[0])
        moving = gaps[way.max(axis=0) > _MOVED_MM]
        if mu > 0 and moving.size and (gap := float(moving.min())) < machine.file.mlc.gap_min_mm - _ROUNDED_MM:
            found.append((Limit.LEAF_GAP, f"moving leaves are {gap:.2f} mm apart, {machine.file.mlc.gap_min_mm:g} mm"))
    jaws_s = _jaws_seconds(a, b, machine, mu > 0 and beam.rotation is not Rotation.NONE, found)
    if energy is None:
        return max(*needed.values(), jaws_s), found
    lowest, highest = (rate / 60.0 for rate in energy.dose_rate_mu_min)
    if a.dose_rate_mu_min is not None and a.dose_rate_mu_min > energy.dose_rate_mu_min[1] + 0.5:
        found.append((Limit.DOSE_RATE, f"{a.dose_rate_mu_min:g} MU/min, at most {energy.dose_rate_mu_min[1]:g}"))
    seconds = max(*needed.values(), jaws_s, mu / highest)
    moves = max(needed.values()) > 1e-9
    if mu > 0 and moves:
        limit = max(needed, key=lambda k: needed[k])
        if mu / lowest < needed[limit] * (1 - 1e-6):
            found.append(
                (
                    limit,
                    f"takes {needed[limit]:.3f} s, in which at least {lowest * needed[limit]:.3f} MU are given; it has "
                    f"{mu:.3f}",
                )
            )
        if mu < machine.file.mu_per_control_point - 1e-4:
            found.append((Limit.MU, f"{mu:.4f} MU while it moves, at least {machine.file.mu_per_control_point:g}"))
    return seconds, found


def _jaws_seconds(
    a: ControlPoint, b: ControlPoint, machine: PhotonMachine, in_arc: bool, found: list[tuple[Limit, str]]
) -> float:
    seconds = 0.0
    pairs: Sequence[tuple[str, Opening | None, Opening | None, Jaws | None]] = (
        ("X", a.jaws_x_mm, b.jaws_x_mm, machine.file.jaws_x),
        ("Y", a.jaws_y_mm, b.jaws_y_mm, machine.file.jaws_y),
    )
    for axis, before, after, limits in pairs:
        if before is None or after is None or limits is None:
            continue
        way = max(abs(after[0] - before[0]), abs(after[1] - before[1]))
        if way > _MOVED_MM and in_arc and not limits.moves_during_arc:
            found.append((Limit.JAWS_MOVE, f"jaws in {axis} move by {way:.1f} mm during an arc; the machine's stay"))
        seconds = max(seconds, way / limits.speed_mm_s)
    return seconds


def _turn(beam: PhotonBeam, machine: PhotonMachine) -> _Found:
    """Whether an arc passes the angle at which the gantry stops."""
    if beam.rotation is Rotation.NONE:
        return
    low, high = sorted((float(beam.gantry_path_deg[0]), float(beam.gantry_path_deg[-1])))
    stop = machine.file.gantry.stop_deg
    passed = stop + 360.0 * np.ceil((low + 1e-6 - stop) / 360.0)
    if passed < high - 1e-6:
        yield Limit.GANTRY_STOP, f"the gantry passes {stop:g}°, where the machine's stops"


def _open(beam: PhotonBeam, point: ControlPoint) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(2, pairs) tips within the jaws, and (pairs,) mm of each leaf's side that the jaws leave open."""
    y = point.jaws_y_mm or (-np.inf, np.inf)
    x = point.jaws_x_mm or (-np.inf, np.inf)
    if point.leaves_mm is None or beam.leaf_boundaries_mm is None:
        return np.array([[x[0]], [x[1]]]), np.array([y[1] - y[0]])
    tips = np.clip(point.leaves_mm, *x)
    return tips, np.diff(np.clip(beam.leaf_boundaries_mm, *y))


def area_cm2(beam: PhotonBeam, point: ControlPoint) -> float:
    """Open area at the isocenter plane."""
    tips, heights = _open(beam, point)
    return float((tips[1] - tips[0]) @ heights) / 100.0


def small_aperture_share(beam: PhotonBeam) -> float:
    """Share of the MU that apertures of less than `SMALL_CM2` give."""
    small = sum(e.mu for e in beam.exposures() if area_cm2(beam, e.point) < SMALL_CM2)
    return float(small / beam.meterset_mu)


def modulation_score(beam: PhotonBeam) -> float:
    """Modulation complexity score: leaf sequence variability times aperture area variability, weighted by MU."""
    shapes = [(e.mu, *_open(beam, e.point)) for e in beam.exposures()]
    lows = np.min([np.where(_is_open(t, h), t[0], np.inf) for _, t, h in shapes], axis=0)
    highs = np.max([np.where(_is_open(t, h), t[1], -np.inf) for _, t, h in shapes], axis=0)
    whole = float(np.sum(np.clip(highs - lows, 0, None)))
    if whole <= 0:
        return 0.0
    score = 0.0
    for mu, tips, heights in shapes:
        used = _is_open(tips, heights)
        wide = float(np.sum((tips[1] - tips[0])[used]))
        score += mu * wide / whole * _sequence(tips[0][used]) * _sequence(tips[1][used])
    return score / beam.meterset_mu


def _is_open(tips: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (tips[1] - tips[0] > _MOVED_MM) & (heights > 0)
    return found


def _sequence(tips: npt.NDArray[np.float64]) -> float:
    """1 where neighbours of a bank stand at one place, less the more they differ."""
    if len(tips) < 2 or (most := float(np.ptp(tips))) <= 0:
        return 1.0
    return float(np.mean((most - np.abs(np.diff(tips))) / most))
