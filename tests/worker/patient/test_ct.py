"""A CT comes to the same volume, whatever order, orientation and encoding it arrives in."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from radiarch_contract.errors import ErrorCode
from radiarch_worker.model import Patient, Scanner

from phantoms import PhantomStudy, box, faults

from .support import load, refusal

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLosslessSV1,
]


def assert_same(a: Patient, b: Patient) -> None:
    assert a.ct.grid == b.ct.grid
    assert np.array_equal(a.ct.hu, b.ct.hu)
    assert a.ct.sop_instance_uids == b.ct.sop_instance_uids
    assert list(a.structures) == list(b.structures)
    for number, structure in a.structures.items():
        assert np.array_equal(structure.mask, b.structures[number].mask)
    assert np.array_equal(a.body.mask, b.body.mask)


def test_voxels_lie_where_the_headers_say() -> None:
    patient = load(box(shape=(9, 30, 34), spacing_mm=(3.0, 4.0, 5.0), origin_mm=(-7.5, 120.25, -300.0), hu=37.0))
    grid = patient.ct.grid
    assert grid.origin_mm == (-7.5, 120.25, -300.0)
    assert grid.spacing_mm == (3.0, 4.0, 5.0)
    assert grid.shape == patient.ct.hu.shape == (9, 30, 34)
    assert patient.ct.hu.dtype == np.float32
    # 12 mm of air at each side: 4 columns, 3 rows
    assert (patient.ct.hu[:, 3:-3, 4:-4] == 37).all()
    assert np.count_nonzero(patient.ct.hu == -1000) == 9 * (30 * 34 - 24 * 26)


def test_a_marker_is_at_its_place(water: PhantomStudy) -> None:
    study = water.copy()
    values = faults.stored(study.images[3])
    values[12, 25] = 3000 + 1024
    faults.store(study.images[3], values)
    patient = load(study)
    assert np.argwhere(patient.ct.hu == 3000).tolist() == [[3, 12, 25]]
    x, y, z = study.images[3].ImagePositionPatient
    grid = patient.ct.grid
    assert [grid.axis_mm(a)[i] for a, i in ((0, 25), (1, 12), (2, 3))] == pytest.approx([x + 25 * 4, y + 12 * 4, z])


def test_the_order_of_slices_does_not_matter(water: PhantomStudy) -> None:
    shuffled = water.copy()
    random.Random(1).shuffle(shuffled.images)
    assert_same(load(water), load(shuffled))


def test_turned_pixels_are_turned_back(man: PhantomStudy) -> None:
    assert_same(load(man), load(faults.turned(man)))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda u: u.name)
def test_the_transfer_syntax_does_not_matter(man: PhantomStudy, syntax: UID) -> None:
    small = PhantomStudy(man.images[:12], _only_referencing(man, 12), man.shapes)
    assert_same(load(small), load(faults.transcoded(small, syntax)))


def _only_referencing(study: PhantomStudy, count: int) -> Dataset:
    """The structure set of the lowest slices."""
    rtstruct = study.copy().rtstruct
    kept = {i.SOPInstanceUID for i in study.images[:count]}
    series = rtstruct.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.ContourImageSequence = [i for i in series.ContourImageSequence if i.ReferencedSOPInstanceUID in kept]
    for roi in rtstruct.ROIContourSequence:
        roi.ContourSequence = [
            c for c in roi.ContourSequence if c.ContourImageSequence[0].ReferencedSOPInstanceUID in kept
        ]
    return rtstruct


def test_lossy_compression_is_told(water: PhantomStudy) -> None:
    lossy = water.copy()
    for image in lossy.images:
        image.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
        image.LossyImageCompression = "01"
    patient = load(lossy)
    assert np.abs(patient.ct.hu - load(water).ct.hu).max() <= 2
    assert any("with loss" in n for n in patient.notes)


def test_bytes_behind_the_last_pixel_do_no_harm(water: PhantomStudy) -> None:
    padded = water.copy()
    for image in padded.images:
        image.PixelData += bytes(100)
    assert_same(load(water), load(padded))


def test_an_unknown_transfer_syntax_is_refused(water: PhantomStudy) -> None:
    bad = water.copy()
    bad.images[4].file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")  # MPEG2
    error = refusal(bad)
    assert error.code == ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX
    assert error.info.details["transfer_syntax_uid"] == "1.2.840.10008.1.2.4.100"


@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, False), (13, True), (16, True)])
def test_bits_and_sign_do_not_matter(water: PhantomStudy, bits: int, signed: bool) -> None:
    assert_same(load(water), load(faults.stored_as(water, bits=bits, signed=signed)))


def test_values_beyond_the_stored_bits_are_refused(water: PhantomStudy) -> None:
    bad = faults.stored_as(water, bits=12, signed=False)
    values = faults.stored(bad.images[5])
    values[20, 20] = 5000
    faults.store(bad.images[5], values)
    error = refusal(bad)
    assert error.code == ErrorCode.UNREADABLE_IMAGE
    assert "(0028,0101) Bits Stored" in error.info.message


def test_negative_values_with_cleared_unused_bits_are_read(water: PhantomStudy) -> None:
    other = faults.stored_as(water, bits=12, signed=True)
    for image in other.images:
        faults.store(image, faults.stored(image) & 0x0FFF)
    assert_same(load(water), load(other))


def test_each_slice_has_its_own_rescale(water: PhantomStudy) -> None:
    assert_same(load(water), load(faults.rescaled_by_slice(water)))


@pytest.mark.parametrize("signed", [True, False])
def test_padding_is_air(water: PhantomStudy, signed: bool) -> None:
    study = faults.stored_as(water, bits=16, signed=signed)
    patient = load(faults.padded(study, -3000 if signed else 60000, radius_mm=100.0))
    assert_same(load(water), patient)


def test_a_padding_value_written_with_the_other_sign_is_understood(water: PhantomStudy) -> None:
    study = faults.padded(faults.stored_as(water, bits=16, signed=True), -2000, radius_mm=100.0)
    for image in study.images:
        image.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert_same(load(water), load(study))


def test_a_range_of_padding_is_air(water: PhantomStudy) -> None:
    study = faults.stored_as(water, bits=16, signed=True)
    assert_same(load(water), load(faults.padded(study, -3000, limit=-2500, radius_mm=100.0)))


def test_padding_in_implicit_little_endian_is_read() -> None:
    """There the element says not whether it is signed."""
    thin = box(shape=(4, 40, 40))
    study = faults.padded(faults.stored_as(thin, bits=16, signed=True), -3000, radius_mm=100.0)
    assert_same(load(thin), load(faults.transcoded(study, ImplicitVRLittleEndian)))


def test_a_patient_beyond_the_field_of_view_is_refused(water: PhantomStudy) -> None:
    study = faults.stored_as(water, bits=16, signed=True)
    error = refusal(faults.padded(study, -3000, radius_mm=60.0))
    assert error.code == ErrorCode.STRUCTURE_OUTSIDE_IMAGE
    assert error.info.details["volume_cc"] > 100


def test_a_padding_value_that_may_be_tissue_is_refused(water: PhantomStudy) -> None:
    """Water is stored as 1024 here, and the header calls that padding: air instead of water would be planned on."""
    bad = water.copy()
    for image in bad.images:
        image.add_new("PixelPaddingValue", "SS", 1024)
    for study in (bad, faults.without_roi(bad, "BODY")):
        error = refusal(study)
        assert error.code == ErrorCode.UNREADABLE_IMAGE
        assert error.info.details["padding_hu"] == 0


@pytest.mark.parametrize("hu", [3071.0, 20000.0, -1024.0])
def test_extreme_hu_are_handed_on_as_they_are(water: PhantomStudy, hu: float) -> None:
    """Whether the calibration reaches so far is decided where it is known."""
    patient = load(faults.with_hu(water, hu))
    assert np.count_nonzero(patient.ct.hu == hu) == 27


def test_a_localizer_of_the_series_is_left_out(water: PhantomStudy) -> None:
    study = water.copy()
    scout = study.copy().images[0]
    scout.SOPInstanceUID = "1.2.3.4"
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    study.images.append(scout)
    patient = load(study)
    assert any("localizer" in n for n in patient.notes)
    assert patient.ct.sop_instance_uids == load(water).ct.sop_instance_uids


def test_slices_beyond_the_referenced_ones_are_planned_on_too(water: PhantomStudy) -> None:
    """Some systems reference only the slices that they contoured."""
    study = PhantomStudy(water.images, _only_referencing(water, 12))
    patient = load(study)
    assert patient.ct.grid == load(water).ct.grid


def test_the_study_is_the_cts(water: PhantomStudy) -> None:
    study = load(water).ct.study
    first = water.images[0]
    assert study.patient_id == first.PatientID == "RADIARCH-BOX"
    assert study.patient_name == str(first.PatientName)
    assert study.study_instance_uid == first.StudyInstanceUID
    assert (study.study_date, study.patient_birth_date, study.patient_sex) == ("20250101", "19500101", "M")


def test_what_the_images_say_of_their_scanner_comes_with_the_volume(water: PhantomStudy) -> None:
    for image in water.images:
        image.Manufacturer, image.ManufacturerModelName = "SIEMENS Healthineers", "SOMATOM Confidence"
        image.StationName, image.KVP = "CT1", "120"
    assert load(water).ct.scanners == (Scanner("SIEMENS Healthineers", "SOMATOM Confidence", "CT1", 120.0),)
    by_height = sorted(water.images, key=lambda i: float(i.ImagePositionPatient[2]))
    by_height[-1].KVP = "140"
    by_height[0].StationName = "CT2"
    del by_height[1].KVP
    voltages = [(s.station, s.kvp) for s in load(water).ct.scanners]
    assert voltages == [("CT2", 120.0), ("CT1", None), ("CT1", 120.0), ("CT1", 140.0)]


@pytest.mark.parametrize("kvp", [None, "", "0", "-120", "1e9"])
def test_a_scanner_that_says_nothing_is_none_in_particular(water: PhantomStudy, kvp: str | None) -> None:
    for image in water.images:
        for keyword in ("Manufacturer", "ManufacturerModelName", "StationName", "KVP"):
            if keyword in image:
                delattr(image, keyword)
        if kvp is not None:
            image.KVP = kvp
    assert load(water).ct.scanners == (Scanner(),)
