"""The patient's outline: by name, by type, or found from the CT."""

from __future__ import annotations

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode
from radiarch_worker.patient import load_patient
from radiarch_worker.patient.body import FOUND_ROI_NUMBER, find_body, known_extent_mm

from phantoms import PhantomStudy, box, faults, pelvis

from .support import load, refusal


def test_the_outline_is_found_by_name_or_by_type(water: PhantomStudy) -> None:
    assert load(water).body.roi_number == 1
    assert load(faults.renamed(water, {"BODY": "skin"})).body.roi_number == 1
    other = water.copy()
    other.rtstruct.StructureSetROISequence[0].ROIName = "X17"  # of type EXTERNAL
    assert load(other).body.roi_number == 1


def test_the_outline_that_is_told_comes_first(water: PhantomStudy) -> None:
    """A protocol's own selector may name it."""
    other = faults.renamed(water, {"BODY": "Kontur 7"})
    told = load_patient(other.rtstruct, other.images, body_roi=1)
    assert told.body.roi_number == 1
    assert load(other).body.roi_number == FOUND_ROI_NUMBER


def test_two_outlines_are_refused_unless_one_is_told(water: PhantomStudy) -> None:
    twins = faults.copied_roi(water, "BODY", "BODY")
    error = refusal(twins)
    assert error.code is ErrorCode.AMBIGUOUS_STRUCTURE
    assert "'BODY' (ROI 1), 'BODY' (ROI 4)" in str(error)
    assert load_patient(twins.rtstruct, twins.images, body_roi=4).body.roi_number == 4
    helper = faults.renamed(faults.copied_roi(water, "BODY", "_BODY"), {"BODY": "Hull"})
    assert load(helper).body.roi_number == FOUND_ROI_NUMBER  # a helper of type EXTERNAL is none either


def test_no_outline_is_found_from_the_ct_and_said(man: PhantomStudy) -> None:
    patient = load(faults.without_roi(man, "BODY"))
    drawn = load(man).body.mask
    assert patient.body.roi_number == FOUND_ROI_NUMBER
    assert FOUND_ROI_NUMBER not in patient.structures
    assert any("found from the CT" in n for n in patient.notes)
    common = 2 * (patient.body.mask & drawn).sum() / (patient.body.mask.sum() + drawn.sum())
    assert common > 0.99
    # Rectal gas is inside of the patient, the couch is not.
    assert (patient.body.mask & (patient.ct.hu < -800)).sum() > 50
    assert (patient.body.mask & ~drawn).sum() < 0.005 * drawn.sum()


def test_an_empty_body_is_found_from_the_ct(man: PhantomStudy) -> None:
    assert load(faults.empty_roi(man, "BODY")).body.roi_number == FOUND_ROI_NUMBER


def test_without_a_patient_there_is_no_body() -> None:
    error = refusal(faults.without_roi(box(hu=-950.0), "BODY"))
    assert error.code == ErrorCode.NO_BODY


def test_an_outline_of_air_is_no_body() -> None:
    assert refusal(box(hu=-950.0)).code == ErrorCode.NO_BODY


def test_a_ring_of_skin_means_the_whole_patient(water: PhantomStudy) -> None:
    ring = water.copy()
    sequence = faults.contours_of(ring, "BODY").ContourSequence
    for inner in faults.contours_of(water.copy(), "PTV").ContourSequence:
        sequence.append(inner)
    patient = load(ring)
    assert np.array_equal(patient.body.mask, load(water).body.mask)
    assert patient.structures[1].mask.sum() < patient.body.mask.sum()  # for its own DVH it is as drawn
    assert any("Holes of 'BODY' were filled" in n for n in patient.notes)


def test_slices_without_an_outline_are_told(water: PhantomStudy) -> None:
    part = water.copy()
    item = faults.contours_of(part, "BODY")
    item.ContourSequence = item.ContourSequence[4:-3]
    told = [n for n in load(part).notes if "not drawn on 7 of 30 CT slices" in n]
    assert told
    assert "the patient goes on beyond its end at z = -42.00 mm and z = 46.00 mm" in told[0]


def test_an_outline_that_ends_with_the_patient_is_no_early_end(water: PhantomStudy) -> None:
    other = water.copy()
    item = faults.contours_of(other, "BODY")
    item.ContourSequence = item.ContourSequence[4:-3]
    for image in (*other.images[:4], *other.images[-3:]):
        faults.store(image, np.zeros((40, 40), dtype=np.int64))
    patient = load(other)
    assert [n for n in patient.notes if "CT slices" in n] == ["'BODY' is not drawn on 7 of 30 CT slices."]
    low, high = known_extent_mm(patient.ct, patient.body.mask)
    assert (low[2], high[2]) == (-60, 60)
    patient = load(water)
    assert [e[2] for e in known_extent_mm(patient.ct, patient.body.mask)] == [-60, 60]


def test_a_patient_cut_off_by_the_image_is_told() -> None:
    narrow = pelvis(shape=(48, 96, 112))
    assert any("reaches the CT's edge (right, left)" in n for n in load(narrow).notes)


@pytest.mark.parametrize("shape", [(30, 40, 40), (30, 120, 40)])
def test_two_bodies_are_not_joined(shape: tuple[int, int, int]) -> None:
    """A second thing in the image, such as an arm rest, is not the patient."""
    study = box(shape=shape, margin_mm=20.0)
    for image in study.images:
        values = faults.stored(image)
        values[-3:, 5:-5] = 1024 + 50
        faults.store(image, values)
    patient = load(study)
    notes: list[str] = []
    found = find_body(patient.ct, notes)
    assert np.array_equal(found, patient.body.mask)
    assert len(notes) == 1
    assert "apart from the outline" in notes[0]
