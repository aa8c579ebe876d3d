"""DICOM of a phantom: one CT series and its RTSTRUCT from HU and shapes; which phantom it is lives elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from .shapes import Shape, Vector3

# Retired by the standard, and still what every RTSTRUCT has as the class of the referenced study.
_DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
_DATE, _TIME = "20250101", "120000"


@dataclass(frozen=True)
class PhantomRoi:
    """One structure: its shape is what is contoured."""

    name: str
    shape: Shape
    interpreted_type: str
    colour: tuple[int, int, int]
    points: int = 72
    more: tuple[Shape, ...] = ()
    """Further parts, apart from ``shape``: the other lung, the trunk below the head."""


@dataclass
class PhantomStudy:
    """A CT series and its structure set.

    Attributes
    ----------
    images : CT instances, from the lowest slice up
    rtstruct : the structure set
    shapes : the analytic shape of each ROI, by name; the first part of those that have several
    """

    images: list[Dataset]
    rtstruct: Dataset
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def datasets(self) -> list[Dataset]:
        """Every instance, the RTSTRUCT last."""
        return [*self.images, self.rtstruct]

    def copy(self) -> PhantomStudy:
        """A study that can be changed without changing this one."""
        return PhantomStudy([copy.deepcopy(d) for d in self.images], copy.deepcopy(self.rtstruct), self.shapes)

    def save(self, folder: Path) -> list[Path]:
        """Write ``CT/0001.dcm`` … and ``RTSTRUCT.dcm``; the paths, the RTSTRUCT last."""
        (folder / "CT").mkdir(parents=True, exist_ok=True)
        paths = [folder / "CT" / f"{i:04d}.dcm" for i in range(1, len(self.images) + 1)] + [folder / "RTSTRUCT.dcm"]
        for dataset, path in zip(self.datasets, paths, strict=True):
            dataset.save_as(path, enforce_file_format=True)
        return paths


def file_bytes(dataset: Dataset) -> bytes:
    """A data set as the bytes of a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Uids:
    """UIDs by what they identify, the same ones for the same seed."""

    seed: str

    def __call__(self, what: str) -> UID:
        return generate_uid(entropy_srcs=["radiarch-phantom", self.seed, what])


def make_study(
    hu: npt.NDArray[np.float32],
    rois: Sequence[PhantomRoi],
    *,
    origin_mm: Vector3,
    spacing_mm: Vector3,
    patient_id: str,
    patient_name: str,
    study_description: str,
    series_description: str,
    seed: str | None = None,
    body_part: str = "PELVIS",
) -> PhantomStudy:
    """Build the DICOM of a phantom.

    Parameters
    ----------
    hu : (Z, Y, X) HU, from the lowest slice up, patient LPS
    rois : structures, numbered from 1 in this order
    origin_mm : (x, y, z) of the centre of voxel [0, 0, 0]
    spacing_mm : (x, y, z)
    seed : None for fresh UIDs, else UIDs derived from it
    body_part : DICOM's Body Part Examined
    """
    uid = _Uids(generate_uid() if seed is None else seed)
    common = _common(uid, patient_id, patient_name, study_description)
    images = [
        _ct_slice(common, uid, k, hu[k], origin_mm, spacing_mm, series_description, body_part)
        for k in range(hu.shape[0])
    ]
    rtstruct = _rtstruct(common, uid, images, rois)
    return PhantomStudy(images, rtstruct, {r.name: r.shape for r in rois})


def _common(uid: _Uids, patient_id: str, patient_name: str, study_description: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDate, ds.StudyTime = _DATE, _TIME
    ds.AccessionNumber = ""
    ds.Manufacturer = "Radiarch"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = study_description
    ds.PatientName = patient_name
    ds.PatientID = patient_id
    ds.PatientBirthDate = "19500101"
    ds.PatientSex = "M"
    ds.StudyInstanceUID = uid("study")
    ds.StudyID = "1"
    ds.FrameOfReferenceUID = uid("frame of reference")
    ds.PositionReferenceIndicator = ""
    return ds


def _file_meta(sop_class: UID, instance: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta


def _ct_slice(
    common: Dataset,
    uid: _Uids,
    k: int,
    hu: npt.NDArray[np.float32],
    origin_mm: Vector3,
    spacing_mm: Vector3,
    series_description: str,
    body_part: str,
) -> Dataset:
    ds = copy.deepcopy(common)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid(f"image {k}")
    ds.file_meta = _file_meta(ds.SOPClassUID, ds.SOPInstanceUID)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = "CT"
    ds.BodyPartExamined = body_part
    ds.SeriesDate, ds.AcquisitionDate, ds.ContentDate = _DATE, _DATE, _DATE
    ds.SeriesTime, ds.AcquisitionTime, ds.ContentTime = _TIME, _TIME, _TIME
    ds.SeriesDescription = series_description
    ds.SeriesInstanceUID = uid("ct series")
    ds.SeriesNumber = 1
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = k + 1
    ds.KVP = 120
    ds.SliceThickness = spacing_mm[2]
    ds.PatientPosition = "HFS"
    ds.ImagePositionPatient = [_ds(v) for v in (origin_mm[0], origin_mm[1], origin_mm[2] + k * spacing_mm[2])]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.PixelSpacing = [spacing_mm[1], spacing_mm[0]]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = 1
    ds.WindowCenter, ds.WindowWidth = 40, 400
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.PixelData = np.rint(hu + 1024).astype("<i2").tobytes()
    return ds


def _rtstruct(common: Dataset, uid: _Uids, images: Sequence[Dataset], rois: Sequence[PhantomRoi]) -> Dataset:
    ds = copy.deepcopy(common)
    frame = str(ds.FrameOfReferenceUID)
    ds.SOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID = uid("rtstruct")
    ds.file_meta = _file_meta(ds.SOPClassUID, ds.SOPInstanceUID)
    ds.Modality = "RTSTRUCT"
    ds.SeriesDate, ds.SeriesTime = _DATE, _TIME
    ds.SeriesDescription = "Structures"
    ds.SeriesInstanceUID = uid("rtstruct series")
    ds.SeriesNumber = 2
    ds.InstanceNumber = 1
    ds.OperatorsName = ""
    ds.StructureSetLabel = "PHANTOM"
    ds.StructureSetDate, ds.StructureSetTime = _DATE, _TIME
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_referenced_frame(frame, images)]
    ds.StructureSetROISequence = []
    ds.ROIContourSequence = []
    ds.RTROIObservationsSequence = []
    for number, roi in enumerate(rois, start=1):
        item = Dataset()
        item.ROINumber = number
        item.ReferencedFrameOfReferenceUID = frame
        item.ROIName = roi.name
        item.ROIGenerationAlgorithm = "AUTOMATIC"
        ds.StructureSetROISequence.append(item)
        ds.ROIContourSequence.append(_contours(number, roi, images))
        observation = Dataset()
        observation.ObservationNumber = number
        observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = roi.interpreted_type
        observation.ROIInterpreter = ""
        ds.RTROIObservationsSequence.append(observation)
    return ds


def image_reference(image: Dataset) -> Dataset:
    """An item that references an image."""
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item


def _referenced_frame(frame: str, images: Sequence[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = [image_reference(i) for i in images]
    study = Dataset()
    study.ReferencedSOPClassUID = _DETACHED_STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    item = Dataset()
    item.FrameOfReferenceUID = frame
    item.RTReferencedStudySequence = [study]
    return item


def _contours(number: int, roi: PhantomRoi, images: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.ROIDisplayColor = list(roi.colour)
    item.ReferencedROINumber = number
    item.ContourSequence = []
    for image in images:
        z_mm = float(image.ImagePositionPatient[2])
        for shape in (roi.shape, *roi.more):
            if (xy := shape.contour(z_mm, roi.points)) is not None:
                item.ContourSequence.append(closed_planar(xy, z_mm, image))
    return item


def closed_planar(xy_mm: npt.NDArray[np.float64], z_mm: float, image: Dataset | None = None) -> Dataset:
    """One closed contour at height z, drawn on ``image``."""
    contour = Dataset()
    if image is not None:
        contour.ContourImageSequence = [image_reference(image)]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(xy_mm)
    contour.ContourData = [_ds(v) for x, y in xy_mm for v in (x, y, z_mm)]
    return contour


def _ds(value: float) -> float:
    """A coordinate to the micrometre, so that it fits the 16 characters of a decimal string."""
    return round(float(value), 3)
