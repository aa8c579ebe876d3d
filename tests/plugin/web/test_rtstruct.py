"""What is read of an RTSTRUCT equals what was written; what is no RTSTRUCT is refused by name, whatever it is."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_plugin.dicom import rtstruct
from radiarch_plugin.dicom.rtstruct import read_rtstruct

from phantoms import box

STUDY = box(shape=(4, 16, 16), seed="rtstruct")


def encoded(ds: Dataset, syntax: str | None = None) -> bytes:
    buffer = BytesIO()
    copy = pydicom.dcmread(BytesIO(_plain(ds)))
    if syntax is not None:
        copy.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    pydicom.dcmwrite(buffer, copy, enforce_file_format=True)
    return buffer.getvalue()


def _plain(ds: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


DATA = encoded(STUDY.rtstruct)


def test_facts_are_what_was_written() -> None:
    facts = read_rtstruct(DATA, calling_ae="CT1")
    assert facts.sop_instance_uid == STUDY.rtstruct.SOPInstanceUID
    assert facts.patient_id == STUDY.rtstruct.PatientID
    assert facts.study_instance_uid == STUDY.rtstruct.StudyInstanceUID
    assert set(facts.images.images) == {d.SOPInstanceUID for d in STUDY.images}
    assert facts.referenced_sop_class_uids == {CTImageStorage}
    assert facts.frame_of_reference_uid == STUDY.images[0].FrameOfReferenceUID
    assert [r.name for r in facts.rois] == list(STUDY.shapes)
    assert facts.calling_ae == "CT1"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_transfer_syntax_does_not_matter(syntax: str) -> None:
    plain, other = read_rtstruct(encoded(STUDY.rtstruct)), read_rtstruct(encoded(STUDY.rtstruct, syntax))
    assert other.images == plain.images
    assert other.rois == plain.rois
    if syntax != ExplicitVRBigEndian:
        assert other.sha256 == plain.sha256


def test_names_in_another_character_set_are_read() -> None:
    ds = STUDY.copy().rtstruct
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StructureSetROISequence[0].ROIName = "Hüftkopf µ"
    assert read_rtstruct(encoded(ds)).rois[0].name == "Hüftkopf µ"


def _no_rois(ds: Dataset) -> None:
    ds.StructureSetROISequence = []


def _no_references(ds: Dataset) -> None:
    del ds.ReferencedFrameOfReferenceSequence
    del ds.ROIContourSequence


def test_absent_parts_are_empty() -> None:
    ds = STUDY.copy().rtstruct
    _no_rois(ds)
    _no_references(ds)
    facts = read_rtstruct(encoded(ds))
    assert (facts.rois, facts.images.images, facts.frame_of_reference_uid) == ((), {}, None)


def _other_class(ds: Dataset) -> None:
    ds.SOPClassUID = CTImageStorage


def _path_as_uid(ds: Dataset) -> None:
    ds.StudyInstanceUID = "../../etc/passwd"


def _no_study(ds: Dataset) -> None:
    del ds.StudyInstanceUID


def _same_number(ds: Dataset) -> None:
    ds.StructureSetROISequence[1].ROINumber = ds.StructureSetROISequence[0].ROINumber


def _no_number(ds: Dataset) -> None:
    del ds.StructureSetROISequence[0].ROINumber


def _long_name(ds: Dataset) -> None:
    ds.StructureSetROISequence[0].ROIName = "x" * 300


@pytest.mark.parametrize("spoil", [_other_class, _path_as_uid, _no_study, _same_number, _no_number, _long_name])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom complains while the bad value is made
def test_what_cannot_be_right_is_refused(spoil: Callable[[Dataset], None]) -> None:
    ds = STUDY.copy().rtstruct
    spoil(ds)
    with pytest.raises(InputRefusedError) as caught:
        read_rtstruct(encoded(ds))
    assert caught.value.code is ErrorCode.UNREADABLE_RTSTRUCT


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=40))
def test_a_damaged_file_is_read_or_refused_never_worse(offset: int, junk: bytes) -> None:
    data = bytearray(DATA)
    data[offset : offset + len(junk)] = junk
    try:
        read_rtstruct(bytes(data))
    except InputRefusedError as e:
        assert e.code is ErrorCode.UNREADABLE_RTSTRUCT  # noqa: PT017 (reading it all the same is right too)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20_000))
def test_a_truncated_file_is_read_or_refused_never_worse(length: int) -> None:
    try:
        read_rtstruct(DATA[:length])
    except InputRefusedError as e:
        assert e.code is ErrorCode.UNREADABLE_RTSTRUCT  # noqa: PT017


def test_a_deflated_bomb_is_refused_before_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtstruct, "MAX_BYTES", 100_000)
    data = encoded(STUDY.rtstruct, DeflatedExplicitVRLittleEndian)
    body = zlib.compressobj(wbits=-15)
    bomb = data[: _end_of_meta(data)] + body.compress(b"\0" * 10_000_000) + body.flush()
    assert len(bomb) < 100_000
    with pytest.raises(InputRefusedError, match="deflated"):
        read_rtstruct(bomb)


def _end_of_meta(data: bytes) -> int:
    return 144 + int.from_bytes(data[140:144], "little")


@pytest.mark.parametrize(
    ("written", "read"),
    [([1, 2, 255], (1, 2, 255)), ([], None), ([1, 2], None), ([1, 2, 256], None), ([-1, 0, 0], None)],
)
def test_a_display_color_is_read_where_it_is_one(written: list[int], read: tuple[int, int, int] | None) -> None:
    changed = pydicom.dcmread(BytesIO(DATA))
    changed.ROIContourSequence[0].ROIDisplayColor = written
    number = changed.ROIContourSequence[0].ReferencedROINumber
    found = {roi.number: roi.display_color for roi in read_rtstruct(_plain(changed)).rois}
    assert found[number] == read
