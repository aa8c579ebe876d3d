"""Bad input and its named refusal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, generate_uid
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_worker.patient import limits, load_patient

from phantoms import PhantomStudy, faults

from .support import load, refusal

Fault = Callable[[PhantomStudy], PhantomStudy]

GEOMETRY: list[tuple[str, Fault, ErrorCode]] = [
    ("missing slice", faults.missing_slice, ErrorCode.MISSING_INSTANCES),
    ("gap", faults.gap, ErrorCode.NON_UNIFORM_SLICES),
    ("uneven", faults.uneven_slices, ErrorCode.NON_UNIFORM_SLICES),
    ("duplicate", faults.duplicate_slice, ErrorCode.DUPLICATE_SLICES),
    ("tilted", faults.tilted, ErrorCode.UNSUPPORTED_GEOMETRY),
    ("tilt in positions", faults.sheared, ErrorCode.UNSUPPORTED_GEOMETRY),
    ("sagittal", faults.sagittal, ErrorCode.UNSUPPORTED_GEOMETRY),
    ("other size", faults.other_size, ErrorCode.UNSUPPORTED_GEOMETRY),
    ("one slice", lambda s: _first_slices(s, 1), ErrorCode.UNSUPPORTED_GEOMETRY),
    ("other frame", faults.other_frame, ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
    ("mixed frames", faults.mixed_frames, ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
    ("other patient", faults.other_patient, ErrorCode.PATIENT_MISMATCH),
    ("other birth date", faults.other_birth_date, ErrorCode.PATIENT_MISMATCH),
    ("MR", faults.mr, ErrorCode.NOT_CT),
    ("enhanced CT", faults.enhanced_ct, ErrorCode.UNREADABLE_IMAGE),
]


def _first_slices(study: PhantomStudy, count: int) -> PhantomStudy:
    bad = study.copy()
    bad.images = bad.images[:count]
    series = _series(bad)
    series.ContourImageSequence = series.ContourImageSequence[:count]
    kept = {i.SOPInstanceUID for i in bad.images}
    for roi in bad.rtstruct.ROIContourSequence:
        roi.ContourSequence = [
            c for c in roi.ContourSequence if c.ContourImageSequence[0].ReferencedSOPInstanceUID in kept
        ]
    return bad


def _series(study: PhantomStudy) -> Dataset:
    frame = study.rtstruct.ReferencedFrameOfReferenceSequence[0]
    item: Dataset = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    return item


@pytest.mark.parametrize(("fault", "code"), [g[1:] for g in GEOMETRY], ids=[g[0] for g in GEOMETRY])
def test_refused_with_its_name(water: PhantomStudy, fault: Fault, code: ErrorCode) -> None:
    load(water)  # what is refused is the fault
    assert refusal(fault(water)).code == code


def test_missing_instances_are_counted(water: PhantomStudy) -> None:
    bad = faults.missing_slice(faults.missing_slice(water, 3), 12)
    details = refusal(bad).info.details
    assert (details["missing"], details["expected"]) == (2, 30)
    assert details["missing_sop_instance_uids"] == [water.images[i].SOPInstanceUID for i in (3, 13)]


def test_the_gap_is_told(water: PhantomStudy) -> None:
    error = refusal(faults.gap(water, 10))
    z = float(water.images[9].ImagePositionPatient[2])
    assert error.info.details["odd_steps"] == [{"z_mm": z, "step_mm": 8.0}]
    assert error.info.details["usual_step_mm"] == 4.0


def test_the_tilt_is_told_even_where_orientation_denies_it(water: PhantomStudy) -> None:
    bad = water.copy()
    for image in bad.images:
        image.GantryDetectorTilt = 7.5
    assert refusal(bad).info.details["tilt_deg"] == 7.5
    for image in bad.images:
        image.GantryDetectorTilt = 0
    load(bad)


def test_the_same_instance_twice_is_refused(water: PhantomStudy) -> None:
    bad = water.copy()
    bad.images.append(bad.images[4])
    assert refusal(bad).code == ErrorCode.DUPLICATE_SLICES


def test_two_series_are_refused(water: PhantomStudy) -> None:
    bad = water.copy()
    bad.images[4].SeriesInstanceUID = generate_uid()
    assert refusal(bad).code == ErrorCode.UNSUPPORTED_GEOMETRY


@pytest.mark.parametrize("code", ["", "SITTING", "LFS", "RFP", "AFDR", "PFDL", "hfs", "HF", "HFS\\FFS"])
def test_no_position_is_assumed(water: PhantomStudy, code: str) -> None:
    error = refusal(faults.patient_position(water, code))
    assert error.code == ErrorCode.UNSUPPORTED_PATIENT_POSITION
    assert "(0018,5100)" in error.info.message
    assert len(error.info.details["expected"]) == 8


@pytest.mark.parametrize("other", ["FFS", "HFP", ""])
def test_images_of_two_positions_are_refused(water: PhantomStudy, other: str) -> None:
    water.images[7].PatientPosition = other
    error = refusal(water)
    assert error.code == ErrorCode.UNSUPPORTED_PATIENT_POSITION
    assert error.info.details["found"] == sorted(["HFS", other])


def test_another_patient_than_asked_for_is_refused(water: PhantomStudy) -> None:
    load(water, patient_id="RADIARCH-BOX")
    error = refusal(water, patient_id="RADIARCH-BO")
    assert error.code == ErrorCode.PATIENT_MISMATCH
    assert "RADIARCH-BO" not in error.info.message


def test_images_of_two_patients_are_refused(water: PhantomStudy) -> None:
    bad = water.copy()
    bad.images[4].PatientID = "B"
    assert refusal(bad).code == ErrorCode.PATIENT_MISMATCH


def test_rois_of_another_frame_are_left_out_or_refused_when_needed(water: PhantomStudy) -> None:
    bad = water.copy()
    bad.rtstruct.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = generate_uid()
    assert sorted(load(bad).structures) == [1, 3]
    assert refusal(bad, needed=[2]).code == ErrorCode.FRAME_OF_REFERENCE_MISMATCH


def test_a_structure_set_without_images_is_refused(water: PhantomStudy) -> None:
    bad = water.copy()
    del bad.rtstruct.ReferencedFrameOfReferenceSequence
    for roi in bad.rtstruct.ROIContourSequence:
        for contour in roi.ContourSequence:
            del contour.ContourImageSequence
    assert refusal(bad).code == ErrorCode.NO_IMAGE_REFERENCE


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("ImagePositionPatient", "(0020,0032)"),
        ("ImageOrientationPatient", "(0020,0037)"),
        ("PixelSpacing", "(0028,0030)"),
        ("Rows", "(0028,0010)"),
        ("RescaleSlope", "(0028,1053)"),
        ("RescaleIntercept", "(0028,1052)"),
        ("BitsAllocated", "(0028,0100)"),
        ("PixelRepresentation", "(0028,0103)"),
        ("PixelData", "(7FE0,0010)"),
    ],
)
def test_a_missing_attribute_is_named(water: PhantomStudy, keyword: str, tag: str) -> None:
    error = refusal(faults.without_attribute(water, keyword))
    assert error.code == ErrorCode.UNREADABLE_IMAGE
    assert tag in error.info.message
    assert water.images[10].SOPInstanceUID in error.info.message


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("RescaleSlope", 0),
        ("RescaleType", "US"),
        ("PixelSpacing", [0.0, 4.0]),
        ("PixelSpacing", [4.0]),
        ("PhotometricInterpretation", "RGB"),
        ("SamplesPerPixel", 3),
        ("NumberOfFrames", 2),
        ("HighBit", 11),
        ("BitsAllocated", 12),
        ("Rows", 41),
    ],
)
def test_nonsense_is_refused(water: PhantomStudy, keyword: str, value: object) -> None:
    bad = water.copy()
    for image in bad.images:
        setattr(image, keyword, value)
    assert refusal(bad).code == ErrorCode.UNREADABLE_IMAGE


# --- hostile sizes ----------------------------------------------------------------------------------------------------


def test_the_size_of_an_image_is_bounded(water: PhantomStudy) -> None:
    bad = water.copy()
    for image in bad.images:
        image.Rows = image.Columns = 65535
    assert refusal(bad).code == ErrorCode.UNREADABLE_IMAGE


def test_the_number_of_voxels_is_bounded(water: PhantomStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiarch_worker.patient.geometry.MAX_VOXELS", 40 * 40 * 30 - 1)
    assert refusal(water).code == ErrorCode.TOO_LARGE


def test_a_compressed_image_larger_than_its_header_is_refused_undecoded(water: PhantomStudy) -> None:
    bad = faults.transcoded(water, JPEG2000Lossless)
    data = bad.images[2].PixelData
    at = data.index(b"\xff\x4f\xff\x51") + 8
    bad.images[2].PixelData = data[:at] + (60_000).to_bytes(4, "big") * 2 + data[at + 8 :]
    error = refusal(bad)
    assert error.code == ErrorCode.UNREADABLE_IMAGE
    assert "60000 x 60000" in error.info.message


def test_a_truncated_image_is_refused(water: PhantomStudy) -> None:
    for study in (water, faults.transcoded(water, JPEG2000Lossless)):
        bad = study.copy()
        bad.images[2].PixelData = bad.images[2].PixelData[:60]
        assert refusal(bad).code == ErrorCode.UNREADABLE_IMAGE


@pytest.mark.parametrize("name", ["MAX_ROIS", "MAX_CONTOURS", "MAX_POINTS"])
def test_the_size_of_a_structure_set_is_bounded(
    water: PhantomStudy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"radiarch_worker.patient.rtstruct.{name}", 2)
    assert refusal(water).code == ErrorCode.TOO_LARGE


@pytest.mark.parametrize("name", ["MAX_CROSSINGS", "MAX_REGION_VOXELS"])
def test_the_size_of_a_structure_is_bounded(water: PhantomStudy, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(limits, name, 10)
    assert refusal(water, needed=[2]).code == ErrorCode.TOO_LARGE


# --- unreadable structure sets ----------------------------------------------------------------------------------------


def test_noise_is_no_structure_set(water: PhantomStudy, tmp_path: object) -> None:
    noise = pydicom.dcmread(pydicom.filebase.DicomBytesIO(faults.garbage_rtstruct(water)), force=True)
    with pytest.raises(InputRefusedError) as caught:
        load_patient(noise, water.images)
    assert caught.value.code == ErrorCode.UNREADABLE_RTSTRUCT


def test_contours_of_letters_are_refused(water: PhantomStudy) -> None:
    error = refusal(faults.garbage_contours(water, "PTV"))
    assert error.code == ErrorCode.UNREADABLE_RTSTRUCT
    assert "(3006,0050) Contour Data" in error.info.message


def _break(change: Callable[[Dataset], object]) -> Fault:
    def fault(study: PhantomStudy) -> PhantomStudy:
        bad = study.copy()
        change(bad.rtstruct)
        return bad

    return fault


UNREADABLE: dict[str, Callable[[Dataset], object]] = {
    "a CT": lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
    "no ROIs": lambda ds: delattr(ds, "StructureSetROISequence"),
    "ROI number twice": lambda ds: setattr(ds.StructureSetROISequence[1], "ROINumber", 1),
    "contours twice": lambda ds: setattr(ds.ROIContourSequence[1], "ReferencedROINumber", 1),
    "wrong number of points": lambda ds: setattr(
        ds.ROIContourSequence[1].ContourSequence[0], "NumberOfContourPoints", 3
    ),
    "no multiple of three": lambda ds: ds.ROIContourSequence[1].ContourSequence[0].ContourData.append(1),
    "far away": lambda ds: ds.ROIContourSequence[1].ContourSequence[0].ContourData.__setitem__(0, 1e9),
    "no SOP Instance UID": lambda ds: delattr(ds, "SOPInstanceUID"),
}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_contradictory_structure_set_is_refused(water: PhantomStudy, change: Callable[[Dataset], object]) -> None:
    for study in (_break(change)(water), _reread(_break(change)(water))):
        assert refusal(study).code == ErrorCode.UNREADABLE_RTSTRUCT


def _reread(study: PhantomStudy) -> PhantomStudy:
    """As from a file: contour data are then read from undecoded bytes."""
    buffer = pydicom.filebase.DicomBytesIO()
    study.rtstruct.save_as(buffer)
    study.rtstruct = pydicom.dcmread(pydicom.filebase.DicomBytesIO(buffer.getvalue()), force=True)
    return study


@pytest.mark.parametrize("word", [b"nan", b"inf", b"1_0", b"", b"1e999", b"\xff\xfe"])
def test_coordinates_that_are_no_decimals_are_refused(water: PhantomStudy, word: bytes) -> None:
    bad = water.copy()
    bad.rtstruct = faults.reread(bad.rtstruct)
    contour = faults.contours_of(bad, "PTV").ContourSequence[0]
    raw = contour.get_item("ContourData")
    assert isinstance(raw, pydicom.dataelem.RawDataElement)
    assert raw.value is not None
    contour[0x30060050] = raw._replace(value=b"\\".join([word, *raw.value.split(b"\\")[1:]]))
    error = refusal(bad)
    assert error.code == ErrorCode.UNREADABLE_RTSTRUCT
    assert error.info.message.startswith("ROI 'PTV' (number 2), contour 1 of 8: (3006,0050) Contour Data has ")
    shown = {b"nan": "nan among its values", b"inf": "inf among its values", b"1e999": "inf among its values"}
    expected = shown.get(word, f"{word.decode('ascii', 'replace')!r} (value 1 of 12) among its values")
    assert expected in error.info.message


def test_a_coordinate_far_away_is_told(water: PhantomStudy) -> None:
    bad = water.copy()
    faults.contours_of(bad, "PTV").ContourSequence[2].ContourData[4] = -2e5
    assert refusal(bad).info.message == (
        "ROI 'PTV' (number 2), contour 3 of 8: (3006,0050) Contour Data has -200000 mm, expected at most 100000 mm"
    )


def test_the_given_data_sets_are_not_changed(water: PhantomStudy) -> None:
    before = [np.frombuffer(i.PixelData, dtype=np.uint8).copy() for i in water.images]
    text = str(water.rtstruct)
    load(water)
    assert text == str(water.rtstruct)
    assert all(
        np.array_equal(b, np.frombuffer(i.PixelData, dtype=np.uint8)) for b, i in zip(before, water.images, strict=True)
    )
