"""Contours that are stored twice, nested, cut or crossing: a structure keeps its volume, or is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import ErrorCode
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Dose, Patient
from radiarch_worker.patient.raster import fill_points
from radiarch_worker.patient.slices import outlines_by_slice

from phantoms import PhantomStudy, faults

from .drawings import SLICES_MM, Drawing, circle, drawing, rectangle, stack
from .support import load, refusal, volumes_cc

Floats = npt.NDArray[np.float64]
LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

DISC = circle(20.0)
DISC_CC = math.pi * 20**2 * 13 * 3 / 1000
HOLE = circle(9.0, at_mm=(4.0, 0.0))


def target_cc(drawn: Drawing) -> float:
    return volumes_cc(load(drawing(drawn), needed=[2]))["PTV"]


def dvh_cc(patient: Patient) -> float:
    """The target's volume as its DVH has it."""
    dose = Dose(np.ones(patient.ct.grid.shape, np.float32), patient.ct.grid, 1.1)
    return next(m.volume_cc for m in evaluate(patient, dose, None, (), {}).metrics if m.roi_number == 2)


def moved(xy: Floats, x_mm: float, y_mm: float = 0.0) -> Floats:
    return np.asarray(xy + np.array([x_mm, y_mm]))


def finer(xy: Floats) -> Floats:
    return np.asarray(np.stack([xy, (xy + np.roll(xy, -1, axis=0)) / 2], axis=1).reshape(-1, 2))


COPIES: dict[str, Callable[[Floats], Floats]] = {
    "as it is": lambda xy: xy,
    "reversed": lambda xy: xy[::-1],
    "begun elsewhere": lambda xy: np.roll(xy, 17, axis=0),
    "with more points": finer,
    "with fewer points": lambda xy: xy[::3],
    "rounded": lambda xy: np.round(xy, 1),
    "rounded to millimetres": np.round,
    "closed": lambda xy: np.vstack([xy, xy[:1]]),
    "shifted by 0.1 mm": lambda xy: moved(xy, 0.1),
    "shifted by 0.5 mm": lambda xy: moved(xy, -0.3, -0.4),
    "a little larger": lambda xy: xy * 1.01,
    "a little smaller": lambda xy: xy * 0.98,
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("times", [1, 2])
def test_a_contour_stored_again_counts_once(change: Callable[[Floats], Floats], times: int) -> None:
    twice = [*stack(DISC), *stack(*[change(DISC)] * times, heights_mm=SLICES_MM[6:12])]
    patient = load(drawing(twice), needed=[2])
    assert volumes_cc(patient)["PTV"] == target_cc(stack(DISC))
    assert dvh_cc(patient) == pytest.approx(DISC_CC, rel=0.01)
    (note,) = patient.notes
    assert "ROI 'PTV' (number 2)" in note
    assert "counted once, on z = -18.00, -15.00, -12.00, -9.00, -6.00, -3.00 mm" in note
    # what else uses the contours sees each once
    assert len(patient.structures[2].contours) == 13


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_hole_stored_again_counts_once(change: Callable[[Floats], Floats]) -> None:
    ring = load(drawing(stack(DISC, HOLE)), needed=[2])
    again = load(drawing(stack(DISC, HOLE, change(HOLE))), needed=[2])
    assert np.array_equal(again.structures[2].mask, ring.structures[2].mask)
    assert dvh_cc(again) == pytest.approx(math.pi * (20**2 - 9**2) * 39 / 1000, rel=0.01)


def test_an_outline_that_goes_round_twice_goes_round_once() -> None:
    once = target_cc(stack(DISC))
    assert target_cc(stack(np.vstack([DISC, DISC]))) == once
    assert target_cc(stack(np.vstack([DISC, DISC[:1], DISC[::-1]]))) == once
    assert target_cc(stack(np.vstack([DISC, DISC, DISC[:1]]))) == once


def test_an_outline_that_winds_about_itself_is_refused() -> None:
    """Two rounds that do not come back to the first point: what lies within both is inside, or not."""
    angle = np.linspace(0, 4 * np.pi, 180, endpoint=False)
    spiral = (18 + angle / 4)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    error = refusal(drawing(stack(spiral)), needed=[2])
    assert error.code is ErrorCode.AMBIGUOUS_STRUCTURE
    assert "goes round more than once" in error.info.message


@pytest.mark.parametrize("off_mm", [0.04, 0.1, 0.4, -0.4, 1.2])
@pytest.mark.parametrize("change", [COPIES["as it is"], COPIES["rounded"], COPIES["a little smaller"]])
def test_copies_on_two_planes_of_one_slice_count_once(off_mm: float, change: Callable[[Floats], Floats]) -> None:
    beside = [z + off_mm for z in SLICES_MM[6:12]]
    patient = load(drawing([*stack(change(DISC), heights_mm=beside), *stack(DISC)]), needed=[2])
    expected = target_cc(stack(DISC))
    assert volumes_cc(patient)["PTV"] == pytest.approx(expected, rel=0.02)
    assert dvh_cc(patient) == pytest.approx(DISC_CC, rel=0.02)
    assert any("counted once" in n for n in patient.notes)


def test_copies_on_both_sides_of_every_slice_count_once() -> None:
    drawn = [*stack(DISC), *stack(DISC, heights_mm=[z + d for z in SLICES_MM[6:-6] for d in (0.4, -0.4)])]
    patient = load(drawing(drawn[::-1]), needed=[2])
    assert volumes_cc(patient)["PTV"] == target_cc(stack(DISC))
    assert dvh_cc(patient) == pytest.approx(DISC_CC, rel=0.01)


def test_parts_on_two_planes_of_one_slice_are_both_inside() -> None:
    left, right = circle(8.0, at_mm=(-12.0, 0.0)), circle(8.0, at_mm=(12.0, 0.0))
    expected = target_cc(stack(left, right))
    beside = [z + 0.4 for z in SLICES_MM[6:-6]]
    assert target_cc([*stack(left), *stack(right, heights_mm=beside)]) == expected


# --- holes, parts, islands --------------------------------------------------------------------------------------------


def keyhole(outer: Floats, inner: Floats) -> Floats:
    """Outline and hole as one contour, joined by a cut."""
    return np.vstack([outer, outer[:1], inner[::-1], inner[-1:]])


WHOLE: dict[str, tuple[list[Floats], float]] = {
    "a hole": ([DISC, HOLE], math.pi * (20**2 - 9**2)),
    "a wall of 3 mm": ([DISC, circle(17.0)], math.pi * (20**2 - 17**2)),
    "a wall of 2 mm": ([DISC, circle(18.0)], math.pi * (20**2 - 18**2)),
    "a hole that touches the edge": ([DISC, circle(14.0, at_mm=(6.0, 0.0))], math.pi * (20**2 - 14**2)),
    "an island in a hole": ([DISC, circle(14.0), circle(6.0)], math.pi * (20**2 - 14**2 + 6**2)),
    "a keyhole": ([keyhole(DISC, circle(10.0))], math.pi * (20**2 - 10**2)),
    "two parts": ([circle(8.0, at_mm=(-12.0, 0.0)), circle(8.0, at_mm=(12.0, 0.0))], math.pi * 2 * 8**2),
    "parts that touch": ([rectangle(-20, -20, 0, 20), rectangle(0, -20, 20, 20)], 1600.0),
    "parts that touch along many sides": (
        [rectangle(x, y, x + 10, y + 10) for x in range(-20, 20, 10) for y in range(-20, 20, 10)],
        1600.0,
    ),
    "two holes": ([DISC, circle(6.0, at_mm=(-9.0, 0.0)), circle(6.0, at_mm=(9.0, 0.0))], math.pi * (400 - 72)),
    "small islands": ([DISC, circle(1.5, at_mm=(24.0, 0.0)), circle(1.5, at_mm=(28.0, 0.0))], math.pi * 404.5),
}


@pytest.mark.parametrize(("outlines", "area_mm2"), WHOLE.values(), ids=WHOLE.keys())
def test_what_is_drawn_once_stays_as_it_is(outlines: list[Floats], area_mm2: float) -> None:
    patient = load(drawing(stack(*outlines)), needed=[2])
    # voxels are as wide as some walls
    assert volumes_cc(patient)["PTV"] == pytest.approx(area_mm2 * 39 / 1000, rel=0.2)
    assert dvh_cc(patient) == pytest.approx(area_mm2 * 39 / 1000, rel=0.01)
    assert patient.notes == ()
    assert len(patient.structures[2].contours) == 13 * len(outlines)


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(LOADED, max_examples=6)
def test_any_drawing_with_copies_is_the_drawing(name: str, data: st.DataObject) -> None:
    """Copies of some outlines on some slices, in any order, change nothing: not the mask, not the DVH."""
    outlines, area_mm2 = WHOLE[name]
    plain = load(drawing(stack(*outlines)), needed=[2])
    drawn = stack(*outlines)
    picks = data.draw(st.lists(st.integers(0, len(drawn) - 1), min_size=1, max_size=30))
    exact = st.sampled_from(["as it is", "reversed", "begun elsewhere", "with more points", "closed"])
    copies = [(drawn[i][0], COPIES[data.draw(exact)](drawn[i][1])) for i in picks]
    mixed = data.draw(st.permutations([*drawn, *copies]))
    patient = load(drawing(mixed), needed=[2])
    assert np.array_equal(patient.structures[2].mask, plain.structures[2].mask)
    assert dvh_cc(patient) == pytest.approx(area_mm2 * 39 / 1000, rel=0.01)
    assert len(patient.structures[2].contours) == len(drawn)


@given(data=st.data())
@settings(LOADED, max_examples=25)
def test_a_drawing_with_nearly_equal_copies_keeps_its_volume_or_is_refused(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([*WHOLE]))
    outlines, area_mm2 = WHOLE[base]
    drawn = stack(*outlines)
    shift = st.floats(-0.9, 0.9)
    copies = []
    for i in data.draw(st.lists(st.integers(0, len(drawn) - 1), min_size=1, max_size=12)):
        z, xy = drawn[i]
        z += data.draw(st.sampled_from([0.0, 0.0, 0.1, -0.4, 0.4]))
        copies.append((z, moved(xy * data.draw(st.floats(0.97, 1.03)), data.draw(shift), data.draw(shift))))
    patient = load(drawing([*drawn, *copies]))
    if 2 not in patient.structures:
        assert refusal(drawing([*drawn, *copies]), needed=[2]).code is ErrorCode.AMBIGUOUS_STRUCTURE
        return
    assert volumes_cc(patient)["PTV"] == pytest.approx(target_cc(drawn), rel=0.05)
    assert dvh_cc(patient) == pytest.approx(area_mm2 * 39 / 1000, rel=0.05)


CONTRADICTIONS: dict[str, list[Floats]] = {
    "a wall of 1 mm": [DISC, circle(19.0)],
    "a wall of 1.5 mm": [DISC, circle(18.5)],
    "a copy 1 mm beside": [DISC, moved(DISC, 1.0)],
    "a copy 3 mm beside": [DISC, moved(DISC, 3.0)],
    "a whole and its halves": [rectangle(-20, -20, 20, 20), rectangle(-20, -20, 0, 20), rectangle(0, -20, 20, 20)],
    "a whole and one half": [rectangle(-20, -20, 20, 20), rectangle(-20, -20, 0, 20)],
    "a whole and a quarter": [rectangle(-20, -20, 20, 20), rectangle(-20, -20, 0, 0)],
    "a whole disc and its halves": [DISC, circle(20.0)[:37], np.roll(circle(20.0), 36, axis=0)[:37]],
    "parts that cross": [circle(15.0, at_mm=(-8.0, 0.0)), circle(15.0, at_mm=(8.0, 0.0))],
}


@pytest.mark.parametrize("outlines", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
@pytest.mark.parametrize("slices", [1, 13])
def test_what_may_be_a_hole_or_a_copy_is_refused_when_needed(outlines: list[Floats], slices: int) -> None:
    drawn = [*stack(outlines[0]), *stack(*outlines[1:], heights_mm=SLICES_MM[8 : 8 + slices])]
    error = refusal(drawing(drawn), needed=[2])
    assert error.code is ErrorCode.AMBIGUOUS_STRUCTURE
    assert error.info.message.startswith("ROI 'PTV' (number 2)")
    assert "z = -12.00" in error.info.message
    patient = load(drawing(drawn))
    assert 2 not in patient.structures
    assert [n for n in patient.notes if n.startswith("Left out: ROI 'PTV' (number 2)")]


def test_the_outline_counts_once_however_it_is_stored() -> None:
    """Holes of the patient's outline are filled: what is nested in it can be told."""
    plain = load(drawing())
    outer = rectangle(-52, -52, 52, 52)
    for again in (outer, outer * 0.99, outer * 0.97, rectangle(-52, -52, 0, 52)):
        patient = load(drawing(body=stack(outer, again, heights_mm=SLICES_MM)))
        assert np.array_equal(patient.body.mask, plain.body.mask)
        assert patient.notes


def test_mask_and_dvh_are_filled_from_the_same_outlines() -> None:
    """At the voxels' centres a DVH's points are the mask."""
    patient = load(drawing([*stack(DISC, HOLE), *stack(DISC[::-1], heights_mm=SLICES_MM[5:9])]), needed=[2])
    grid, structure = patient.ct.grid, patient.structures[2]
    for k, outlines in outlines_by_slice(structure, grid).items():
        assert np.array_equal(fill_points(outlines, grid.axis_mm(1), grid.axis_mm(0)), structure.mask[k])


def test_doubled_contours_of_the_box_leave_its_volume(water: PhantomStudy) -> None:
    bad = water.copy()
    sequence = faults.contours_of(bad, "PTV").ContourSequence
    for contour in list(sequence)[:4]:
        sequence.append(contour)
    assert volumes_cc(load(bad, needed=[2]))["PTV"] == pytest.approx(32.768)
