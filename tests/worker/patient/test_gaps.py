"""Slices without a contour: interpolated up to a limit and said, else refused or left; where a structure ends."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode
from radiarch_worker.model import Patient

from phantoms import PhantomStudy, faults

from .drawings import SLICES_MM, circle, drawing, rectangle, stack
from .support import load, refusal, volumes_cc

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
DISC = circle(20.0)
OUTLINE = rectangle(-52, -52, 52, 52)
DRAWN = SLICES_MM[6:-6]


def heights_of(patient: Patient, number: int = 2) -> list[float]:
    """z of the slices that a structure has voxels on."""
    mask = patient.structures[number].mask
    return [round(z, 6) for z, used in zip(SLICES_MM, mask.any(axis=(1, 2)), strict=True) if used]


def note_of(patient: Patient) -> str:
    (note,) = patient.notes
    return note


def without(*planes: int) -> list[float]:
    return [z for i, z in enumerate(DRAWN) if i not in planes]


@pytest.mark.parametrize(
    "missing", [[5], [5, 6], [3, 4, 8, 9], [1, 3, 5, 7, 9], [2, 3, 5, 6, 8, 9]], ids=lambda m: str(m)
)
def test_missing_slices_are_interpolated_and_said(missing: list[int]) -> None:
    whole = load(drawing(stack(DISC, heights_mm=DRAWN)), needed=[2])
    patient = load(drawing(stack(DISC, heights_mm=without(*missing))), needed=[2])
    assert np.array_equal(patient.structures[2].mask, whole.structures[2].mask)
    named = ", ".join(f"{DRAWN[i]:.2f}" for i in missing)
    assert note_of(patient) == (
        f"ROI 'PTV' (number 2): {len(missing)} slices without a contour were interpolated between their neighbours, "
        f"z = {named} mm."
    )


@given(
    missing=st.sets(st.integers(2, len(DRAWN) - 3)),
    order=st.randoms(use_true_random=False),
    radii=st.tuples(st.floats(12, 24), st.floats(12, 24)),
)
@settings(LOADED, max_examples=30)
def test_whatever_is_missing_the_volume_is_kept_or_refused(
    missing: set[int], order: object, radii: tuple[float, float]
) -> None:
    """A cone, from which any inner slices are missing, in any order."""
    cone = [(z, circle(r)) for z, r in zip(DRAWN, np.linspace(*radii, len(DRAWN)), strict=True)]
    drawn = [c for i, c in enumerate(cone) if i not in missing]
    order.shuffle(drawn)  # type: ignore[attr-defined]
    longest = max(
        (len(list(run)) for gone, run in itertools.groupby(i in missing for i in range(13)) if gone), default=0
    )
    if 3 * longest > 10:
        error = refusal(drawing(drawn), needed=[2])
        assert error.code is ErrorCode.INCOMPLETE_STRUCTURE
        assert "at most 10 mm" in error.info.message
        return
    patient = load(drawing(drawn), needed=[2])
    assert heights_of(patient) == list(DRAWN)
    assert volumes_cc(patient)["PTV"] == pytest.approx(volumes_cc(load(drawing(cone)))["PTV"], rel=0.03)
    assert bool(patient.notes) == bool(missing)


def changed(kind: str, planes: list[int]) -> PhantomStudy:
    """A target, some of whose contours are of another type."""
    study = drawing(stack(DISC, heights_mm=DRAWN))
    for i in planes:
        contour = faults.contours_of(study, "PTV").ContourSequence[i]
        contour.ContourGeometricType = kind
    return study


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "OPEN_NONPLANAR", "POINT", "", "CLOSED"])
@pytest.mark.parametrize("planes", [[5], [5, 6], [2, 6, 10]], ids=lambda m: str(m))
def test_inner_contours_of_another_type_are_interpolated_and_said(kind: str, planes: list[int]) -> None:
    patient = load(changed(kind, planes), needed=[2])
    assert heights_of(patient) == list(DRAWN)
    left_out, interpolated = patient.notes
    assert f"({len(planes)} of {kind or 'no type'}, on z = {DRAWN[planes[0]]:.2f}" in left_out
    assert "interpolated" in interpolated


@pytest.mark.parametrize("planes", [[0], [12], [0, 1, 5]], ids=lambda m: str(m))
def test_a_target_whose_end_is_not_closed_is_refused(planes: list[int]) -> None:
    """Where it ends is not known; shorter by a slice it would be underdosed in silence."""
    error = refusal(changed("OPEN_PLANAR", planes), needed=[2])
    assert error.code is ErrorCode.INCOMPLETE_STRUCTURE
    assert "(3006,0042) Contour Geometric Type" in error.info.message
    assert "OPEN_PLANAR" in " ".join(load(changed("OPEN_PLANAR", planes)).notes)


def test_a_target_with_an_open_contour_beside_a_closed_one_is_refused() -> None:
    study = drawing(stack(circle(8.0, at_mm=(-12.0, 0.0)), circle(8.0, at_mm=(12.0, 0.0)), heights_mm=DRAWN))
    faults.contours_of(study, "PTV").ContourSequence[9].ContourGeometricType = "OPEN_PLANAR"
    assert refusal(study, needed=[2]).code is ErrorCode.INCOMPLETE_STRUCTURE


def test_single_points_at_a_tip_are_no_reason_to_refuse() -> None:
    """Some systems leave contours of one or two points where a structure ends."""
    study = drawing(stack(DISC, heights_mm=DRAWN))
    sequence = faults.contours_of(study, "PTV").ContourSequence
    for z in (DRAWN[0] - 3, DRAWN[-1] + 3):
        point = Dataset()
        point.ContourGeometricType = "CLOSED_PLANAR"
        point.ContourData = [0, 0, z]
        sequence.append(point)
    patient = load(study, needed=[2])
    assert heights_of(patient) == list(DRAWN)
    assert "2 of fewer than 3 points" in note_of(patient)


def test_contours_that_enclose_nothing_are_as_good_as_missing() -> None:
    line = np.array([(0.0, 0.0), (5.0, 0.0), (2.0, 0.0)])
    drawn = [(z, line if i in (4, 7) else DISC) for i, z in enumerate(DRAWN)]
    patient = load(drawing(drawn), needed=[2])
    assert heights_of(patient) == list(DRAWN)
    assert any("enclose nothing" in n for n in patient.notes)
    assert len(patient.structures[2].contours) == 11


# --- beyond the limit -------------------------------------------------------------------------------------------------


def test_a_target_with_a_longer_gap_is_refused_and_others_have_two_parts() -> None:
    study = drawing(stack(DISC, heights_mm=without(4, 5, 6, 7)))
    error = refusal(study, needed=[2])
    assert error.code is ErrorCode.INCOMPLETE_STRUCTURE
    assert error.info.message.startswith("ROI 'PTV' (number 2) has no contour between z = -9.00 and 6.00 mm (12.0 mm")
    patient = load(study)
    assert heights_of(patient) == without(4, 5, 6, 7)
    assert "no contour between z = -9.00 and 6.00 mm (12.0 mm missing); it counts as parts" in note_of(patient)


def test_the_site_sets_the_limit() -> None:
    study = drawing(stack(DISC, heights_mm=without(4, 5, 6, 7)))
    assert heights_of(load(study, needed=[2], max_contour_gap_mm=12.0)) == list(DRAWN)
    one = drawing(stack(DISC, heights_mm=without(4)))
    assert refusal(one, needed=[2], max_contour_gap_mm=2.0).code is ErrorCode.INCOMPLETE_STRUCTURE
    assert heights_of(load(one, needed=[2], max_contour_gap_mm=3.0)) == list(DRAWN)


def test_shapes_with_nothing_in_common_are_not_joined() -> None:
    """What lies between them cannot be interpolated, however near they are."""
    left, right = circle(5.0, at_mm=(-20.0, 0.0)), circle(5.0, at_mm=(20.0, 0.0))
    drawn = [*stack(left, heights_mm=DRAWN[:6]), *stack(right, heights_mm=DRAWN[7:])]
    assert refusal(drawing(drawn), needed=[2]).code is ErrorCode.INCOMPLETE_STRUCTURE
    patient = load(drawing(drawn))
    assert heights_of(patient) == without(6)
    assert "it counts as parts with nothing between" in note_of(patient)


def test_few_contours_far_apart_are_no_structure() -> None:
    drawn = stack(DISC, heights_mm=DRAWN[::5])
    assert refusal(drawing(drawn), needed=[2]).code is ErrorCode.INCOMPLETE_STRUCTURE
    patient = load(drawing(drawn))
    assert 2 not in patient.structures
    assert "contours 15.0 mm apart" in note_of(patient)


# --- the outline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [[8], [8, 9], [5, 16], [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21]])
def test_the_outline_is_completed_and_said(missing: list[int]) -> None:
    heights = [z for i, z in enumerate(SLICES_MM) if i not in missing]
    patient = load(drawing(body=stack(OUTLINE, heights_mm=heights)))
    assert np.array_equal(patient.body.mask, load(drawing()).body.mask)
    assert f"{len(missing)} slices without a contour were interpolated" in note_of(patient)


def test_an_outline_with_a_longer_gap_is_refused() -> None:
    heights = [z for i, z in enumerate(SLICES_MM) if i not in (8, 9, 10, 11)]
    error = refusal(drawing(body=stack(OUTLINE, heights_mm=heights)))
    assert error.code is ErrorCode.INCOMPLETE_STRUCTURE
    assert "ROI 'BODY' (number 1) has no contour between z = -15.00 and 0.00 mm" in error.info.message


@pytest.mark.parametrize("beyond", [1, 3, 12, 40])
def test_an_outline_that_reaches_beyond_the_ct_is_cut(beyond: int) -> None:
    heights = [SLICES_MM[0] + 3.0 * k for k in range(-beyond, 25 + beyond)]
    patient = load(drawing(body=stack(OUTLINE, heights_mm=heights)))
    assert patient.body.roi_number == 1
    assert np.array_equal(patient.body.mask, load(drawing()).body.mask)
    assert f"contours from z = {heights[0]:.2f} to {heights[-1]:.2f} mm, the CT from -36.00 to 36.00 mm" in note_of(
        patient
    )


def test_an_outline_off_to_the_side_is_refused() -> None:
    error = refusal(drawing(body=stack(OUTLINE + np.array([30.0, 0.0]), heights_mm=SLICES_MM)))
    assert error.code is ErrorCode.STRUCTURE_OUTSIDE_IMAGE
    assert "ROI 'BODY' (number 1) lies outside of the CT" in error.info.message


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("first", [6, 7])
def test_a_structure_is_as_long_as_its_contours_say(every: int, first: int) -> None:
    """Each contour stands for as many slices as are from one to the next."""
    heights = SLICES_MM[first : first + 12 : every]
    patient = load(drawing(stack(DISC, heights_mm=heights)), needed=[2])
    assert len(heights_of(patient)) == every * len(heights)
    assert volumes_cc(patient)["PTV"] == pytest.approx(math.pi * 400 * 3 * every * len(heights) / 1000, rel=0.02)


@pytest.mark.parametrize("sparse_above", [True, False])
def test_an_end_that_is_drawn_on_every_second_slice_is_whole(sparse_above: bool) -> None:
    dense, sparse = list(SLICES_MM[5:12]), list(SLICES_MM[13:20:2])
    heights = dense + sparse if sparse_above else [-z for z in dense + sparse]
    patient = load(drawing(stack(DISC, heights_mm=heights)), needed=[2])
    assert volumes_cc(patient)["PTV"] == pytest.approx(math.pi * 400 * 15 * 3 / 1000, rel=0.02)


@pytest.mark.parametrize("off_mm", [0.0, 0.1, 0.7, -1.2, 1.5])
def test_one_contour_is_one_slice(off_mm: float) -> None:
    patient = load(drawing(stack(DISC, heights_mm=[SLICES_MM[10] + off_mm])), needed=[2])
    assert len(heights_of(patient)) == 1
    assert volumes_cc(patient)["PTV"] == pytest.approx(math.pi * 400 * 3 / 1000, rel=0.02)


def test_a_slice_that_is_missing_beside_the_end_makes_it_no_longer() -> None:
    patient = load(drawing(stack(DISC, heights_mm=without(1, 11))), needed=[2])
    assert heights_of(patient) == list(DRAWN)
