"""Equal content has an equal hash, whatever the encoding; other content another."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)
from radiarch_contract.identity import dataset_sha256


def structure_set() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID = "1.2.3"
    ds.PatientName = "A^B"
    roi = Dataset()
    roi.ROINumber = 1
    roi.ROIName = "PTV"
    ds.StructureSetROISequence = [roi]
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.ContourData = [1.5, 2.0, -3.25, 4.0, 5.0, -3.25, 0.0, 1.0, -3.25]
    rc = Dataset()
    rc.ReferencedROINumber = 1
    rc.ContourSequence = [contour]
    ds.ROIContourSequence = [rc]
    ds.RecommendedDisplayFrameRateInFloat = 2.5
    ds.Rows = 7
    ds.FrameIncrementPointer = [0x3004000C, 0x00280010]
    return ds


def stored(ds: Dataset, syntax: str) -> Dataset:
    buffer = io.BytesIO()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda u: u.name
)
def test_the_encoding_does_not_matter(syntax: str) -> None:
    reference = dataset_sha256(stored(structure_set(), ImplicitVRLittleEndian))
    assert dataset_sha256(stored(structure_set(), syntax)) == reference


def test_one_digit_of_one_contour_matters() -> None:
    reference = dataset_sha256(stored(structure_set(), ImplicitVRLittleEndian))
    changed = structure_set()
    changed.ROIContourSequence[0].ContourSequence[0].ContourData[4] = 5.1
    assert dataset_sha256(stored(changed, ImplicitVRLittleEndian)) != reference


def test_reading_values_first_does_not_matter() -> None:
    ds = stored(structure_set(), ExplicitVRLittleEndian)
    reference = dataset_sha256(ds)
    assert ds.ROIContourSequence[0].ContourSequence[0].ContourData[0] == 1.5
    assert str(ds.PatientName) == "A^B"
    assert ds.Rows == 7
    assert len(ds.FrameIncrementPointer) == 2
    assert ds.RecommendedDisplayFrameRateInFloat == 2.5
    assert dataset_sha256(ds) == reference
