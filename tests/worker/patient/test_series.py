"""All slices of the stack that the structure set is drawn on are planned on, and no other image of its series."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from radiarch_contract.errors import ErrorCode
from radiarch_worker.model import SeriesUse
from radiarch_worker.patient import ct_used

from phantoms import PhantomStudy, faults

from .support import load, refusal, volumes_cc
from .test_ct import assert_same


def test_the_whole_series_is_used_where_only_contoured_slices_are_named(water: PhantomStudy) -> None:
    some = faults.naming_only_contoured(water, "PTV", "OAR")
    whole = load(faults.without_roi(water, "BODY"))
    patient = load(some)
    assert patient.series == SeriesUse(named=8, stored=30)
    assert_same(patient, whole)
    used = ct_used(patient)
    assert used is not None
    assert (used.slices, used.named, used.stored, used.patient_position) == (30, 8, 30, "HFS")
    assert any("names 8 images" in n and "all 30 slices" in n for n in patient.notes)
    assert not any("names" in n for n in whole.notes)


def test_the_whole_series_is_used_where_every_second_slice_is_named(water: PhantomStudy) -> None:
    some = faults.naming_only_contoured(water, "PTV")
    series = some.rtstruct.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    kept = series.RTReferencedSeriesSequence[0].ContourImageSequence[::2]
    series.RTReferencedSeriesSequence[0].ContourImageSequence = kept
    for roi in some.rtstruct.ROIContourSequence:
        roi.ContourSequence = roi.ContourSequence[::2]
    patient = load(some)
    assert patient.ct.grid.shape[0] == 30
    assert patient.ct.grid.spacing_mm[2] == 4.0
    assert volumes_cc(patient)["PTV"] == pytest.approx(volumes_cc(load(water))["PTV"], rel=0.15)


def other_frame(image: Dataset) -> None:
    image.FrameOfReferenceUID = generate_uid()


def localizer(image: Dataset) -> None:
    image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def other_orientation(image: Dataset) -> None:
    image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def other_size(image: Dataset) -> None:
    faults.store(image, faults.stored(image)[:-2])


def other_pixels(image: Dataset) -> None:
    image.PixelSpacing = [2.0, 2.0]


def other_class(image: Dataset) -> None:
    image.SOPClassUID, image.Modality = MRImageStorage, "MR"


def shifted(image: Dataset) -> None:
    x, y, z = image.ImagePositionPatient
    image.ImagePositionPatient = [x + 3, y, z]


def nowhere(image: Dataset) -> None:
    del image.ImagePositionPatient


def second_reconstruction(image: Dataset) -> None:
    image.ConvolutionKernel = "SHARP"


def thin(image: Dataset) -> None:
    x, y, z = image.ImagePositionPatient
    image.ImagePositionPatient, image.SliceThickness = [x, y, z + 1.5], 1.0


MISFITS: dict[str, Callable[[Dataset], None]] = {
    "of another frame of reference": other_frame,
    "localizers": localizer,
    "of another orientation": other_orientation,
    "of another size": other_size,
    "another size": other_pixels,
    "no CT images": other_class,
    "shifted": shifted,
    "whose place cannot be read": nowhere,
    "that lie where a named one lies": second_reconstruction,
    "made otherwise": thin,
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_is_not_of_the_stack_is_left_out_and_said(water: PhantomStudy, name: str) -> None:
    more = water.copy()
    for index in (0, 7, 29):
        extra = copy.deepcopy(more.images[index])
        extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        MISFITS[name](extra)
        more.images.append(extra)
    random.Random(3).shuffle(more.images)
    patient = load(more)
    assert_same(patient, load(water))
    assert patient.series == SeriesUse(30, 33)
    assert any(name in n and "3 images" in n and "left out" in n for n in patient.notes), patient.notes


def test_slices_that_leave_a_gap_are_refused(water: PhantomStudy) -> None:
    """Nothing says whether the missing one was never reconstructed or has yet to come."""
    some = faults.naming_only_contoured(water, "PTV")
    del some.images[3]
    error = refusal(some)
    assert error.code is ErrorCode.NON_UNIFORM_SLICES
    assert error.info.details["usual_step_mm"] == 4.0


def test_two_unnamed_slices_in_one_place_are_refused(water: PhantomStudy) -> None:
    some = faults.naming_only_contoured(water, "PTV")
    twin = copy.deepcopy(some.images[2])
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    some.images.append(twin)
    assert refusal(some).code is ErrorCode.DUPLICATE_SLICES


def test_a_series_that_is_merely_listed_is_said_and_not_needed(water: PhantomStudy) -> None:
    patient = load(faults.listing_pet(water))
    assert_same(patient, load(water))
    assert any("5 images of other series" in n for n in patient.notes)


def test_contours_on_two_series_are_refused(water: PhantomStudy) -> None:
    bad = faults.listing_pet(water)
    pet = bad.rtstruct.ReferencedFrameOfReferenceSequence[1].RTReferencedStudySequence[0]
    image = pet.RTReferencedSeriesSequence[0].ContourImageSequence[0]
    bad.rtstruct.ROIContourSequence[2].ContourSequence[0].ContourImageSequence = [image]
    assert refusal(bad).code is ErrorCode.NOT_CT


@pytest.mark.parametrize("spoil", [np.nan, 1e9])
def test_what_is_wrong_with_a_named_slice_is_said_of_it(water: PhantomStudy, spoil: float) -> None:
    some = faults.naming_only_contoured(water, "PTV")
    x, y, _ = some.images[14].ImagePositionPatient
    some.images[14].ImagePositionPatient = [x, y, spoil]
    error = refusal(some)
    assert error.code is ErrorCode.UNREADABLE_IMAGE
    assert some.images[14].SOPInstanceUID in error.info.message
