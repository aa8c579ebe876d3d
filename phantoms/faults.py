"""What can be wrong or unusual with a study: each function gives a changed copy and leaves its argument alone."""

from __future__ import annotations

import copy
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from io import BytesIO
from math import cos, radians, sin
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

from .study import PhantomStudy, file_bytes, image_reference

# Transfer syntaxes that dcmtk writes; pydicom writes the rest.
_DCMTK: Mapping[str, tuple[str, ...]] = {
    ImplicitVRLittleEndian: ("dcmconv", "+ti"),
    ExplicitVRBigEndian: ("dcmconv", "+tb"),
    DeflatedExplicitVRLittleEndian: ("dcmconv", "+td"),
    JPEGLosslessSV1: ("dcmcjpeg", "+e1"),
}


def stored(image: Dataset) -> npt.NDArray[np.int64]:
    """The stored values of an uncompressed image of this package, (rows, columns)."""
    kind = "<i" if image.PixelRepresentation else "<u"
    values = np.frombuffer(image.PixelData, dtype=f"{kind}{image.BitsAllocated // 8}")
    return values.reshape(image.Rows, image.Columns).astype(np.int64)


def store(image: Dataset, values: npt.NDArray[np.int64]) -> None:
    """Put stored values into an image."""
    kind = "<i" if image.PixelRepresentation else "<u"
    image.Rows, image.Columns = values.shape
    image.PixelData = values.astype(f"{kind}{image.BitsAllocated // 8}").tobytes()


# --- slices -----------------------------------------------------------------------------------------------------------


def missing_slice(study: PhantomStudy, index: int = 10) -> PhantomStudy:
    """An image that the structure set references does not come."""
    bad = study.copy()
    del bad.images[index]
    return bad


def gap(study: PhantomStudy, index: int = 10) -> PhantomStudy:
    """A slice was never reconstructed: nothing references it."""
    bad = missing_slice(study, index)
    uid = study.images[index].SOPInstanceUID
    series = _referenced_series(bad)
    series.ContourImageSequence = [i for i in series.ContourImageSequence if i.ReferencedSOPInstanceUID != uid]
    for roi in bad.rtstruct.ROIContourSequence:
        roi.ContourSequence = [
            c for c in roi.ContourSequence if c.ContourImageSequence[0].ReferencedSOPInstanceUID != uid
        ]
    return bad


def duplicate_slice(study: PhantomStudy, index: int = 10) -> PhantomStudy:
    """A second image lies where another one lies."""
    bad = study.copy()
    twin = copy.deepcopy(bad.images[index])
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    bad.images.append(twin)
    _referenced_series(bad).ContourImageSequence.append(image_reference(twin))
    return bad


def uneven_slices(study: PhantomStudy, index: int = 10, by_mm: float = 1.0) -> PhantomStudy:
    """One slice is not where it should be."""
    bad = study.copy()
    x, y, z = bad.images[index].ImagePositionPatient
    bad.images[index].ImagePositionPatient = [x, y, z + by_mm]
    return bad


def tilted(study: PhantomStudy, degrees: float = 12.0) -> PhantomStudy:
    """The gantry was tilted: slices lean, their positions are shifted along the table."""
    bad = study.copy()
    for image in bad.images:
        image.GantryDetectorTilt = degrees
        image.ImageOrientationPatient = [1, 0, 0, 0, round(cos(radians(degrees)), 6), round(-sin(radians(degrees)), 6)]
    return bad


def sheared(study: PhantomStudy, by_mm: float = 0.5) -> PhantomStudy:
    """Axial slices, each shifted against the one below."""
    bad = study.copy()
    for k, image in enumerate(bad.images):
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y + k * by_mm, z]
    return bad


def turned(study: PhantomStudy) -> PhantomStudy:
    """Pixels stored from the patient's left posterior corner: unusual, and right."""
    other = study.copy()
    for image in other.images:
        x, y, z = image.ImagePositionPatient
        dy, dx = image.PixelSpacing
        image.ImagePositionPatient = [x + (image.Columns - 1) * dx, y + (image.Rows - 1) * dy, z]
        image.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        store(image, stored(image)[::-1, ::-1])
    return other


def sagittal(study: PhantomStudy) -> PhantomStudy:
    """The same volume as sagittal slices."""
    bad = study.copy()
    volume = np.stack([stored(i) for i in study.images])  # (Z, Y, X)
    first, last = study.images[0], study.images[-1]
    dy, dx = first.PixelSpacing
    dz = (last.ImagePositionPatient[2] - first.ImagePositionPatient[2]) / (len(study.images) - 1)
    x, y, _ = first.ImagePositionPatient
    bad.images = []
    for k in range(volume.shape[2]):
        image = copy.deepcopy(first)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InstanceNumber = k + 1
        image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        image.ImagePositionPatient = [x + k * dx, y, last.ImagePositionPatient[2]]
        image.PixelSpacing = [dz, dy]
        store(image, volume[::-1, :, k])
        bad.images.append(image)
    _referenced_series(bad).ContourImageSequence = [image_reference(i) for i in bad.images]
    for roi in bad.rtstruct.ROIContourSequence:
        for contour in roi.ContourSequence:
            del contour.ContourImageSequence
    return bad


def patient_position(study: PhantomStudy, code: str) -> PhantomStudy:
    """All images say how the patient lay."""
    return _with_images(study, PatientPosition=code)


def other_size(study: PhantomStudy, index: int = 10) -> PhantomStudy:
    """One slice has fewer rows."""
    bad = study.copy()
    store(bad.images[index], stored(bad.images[index])[:-2])
    return bad


# --- identity ---------------------------------------------------------------------------------------------------------


def other_frame(study: PhantomStudy) -> PhantomStudy:
    """All images are in another frame of reference than the structures."""
    return _with_images(study, FrameOfReferenceUID=generate_uid())


def mixed_frames(study: PhantomStudy, index: int = 10) -> PhantomStudy:
    """One image is in another frame of reference than the others."""
    bad = study.copy()
    bad.images[index].FrameOfReferenceUID = generate_uid()
    return bad


def other_patient(study: PhantomStudy, patient_id: str = "SOMEBODY-ELSE") -> PhantomStudy:
    """The structure set is of another patient than the images."""
    bad = study.copy()
    bad.rtstruct.PatientID = patient_id
    return bad


def other_birth_date(study: PhantomStudy) -> PhantomStudy:
    """Two patients of two hospitals share an ID."""
    bad = study.copy()
    bad.rtstruct.PatientBirthDate = "19770707"
    return bad


def mr(study: PhantomStudy) -> PhantomStudy:
    """MR images instead of CT."""
    return _with_class(study, MRImageStorage, "MR")


def enhanced_ct(study: PhantomStudy) -> PhantomStudy:
    """Images of the enhanced CT class."""
    return _with_class(study, EnhancedCTImageStorage, "CT")


def _with_class(study: PhantomStudy, sop_class: UID, modality: str) -> PhantomStudy:
    bad = _with_images(study, SOPClassUID=sop_class, Modality=modality)
    for image in bad.images:
        image.file_meta.MediaStorageSOPClassUID = sop_class
    for item in _image_references(bad.rtstruct):
        item.ReferencedSOPClassUID = sop_class
    return bad


# --- structures -------------------------------------------------------------------------------------------------------


def roi_number(study: PhantomStudy, name: str) -> int:
    """The number of a ROI by its name."""
    return next(int(r.ROINumber) for r in study.rtstruct.StructureSetROISequence if r.ROIName == name)


def contours_of(study: PhantomStudy, name: str) -> Dataset:
    """The item of ROI Contour Sequence of one ROI."""
    number = roi_number(study, name)
    item: Dataset = next(c for c in study.rtstruct.ROIContourSequence if c.ReferencedROINumber == number)
    return item


def without_roi(study: PhantomStudy, *names: str) -> PhantomStudy:
    """The structure set lacks some ROIs: with the target's name, it has no target; with BODY, no outline."""
    bad = study.copy()
    numbers = {roi_number(study, name) for name in names}
    ds = bad.rtstruct
    ds.StructureSetROISequence = [r for r in ds.StructureSetROISequence if r.ROINumber not in numbers]
    ds.ROIContourSequence = [c for c in ds.ROIContourSequence if c.ReferencedROINumber not in numbers]
    ds.RTROIObservationsSequence = [o for o in ds.RTROIObservationsSequence if o.ReferencedROINumber not in numbers]
    return bad


def renamed(study: PhantomStudy, names: Mapping[str, str]) -> PhantomStudy:
    """ROIs under other names, their interpreted types OTHER."""
    other = study.copy()
    for roi, observation in zip(
        other.rtstruct.StructureSetROISequence, other.rtstruct.RTROIObservationsSequence, strict=True
    ):
        if roi.ROIName in names:
            roi.ROIName = names[roi.ROIName]
            observation.RTROIInterpretedType = "OTHER"
    return other


def copied_roi(study: PhantomStudy, name: str, copy_name: str, *, interpreted_type: str | None = None) -> PhantomStudy:
    """The structure set has one ROI more: a copy under another name, or the same one, with the next number."""
    other = study.copy()
    ds, number = other.rtstruct, roi_number(study, name)
    new = max(int(r.ROINumber) for r in ds.StructureSetROISequence) + 1
    roi = copy.deepcopy(next(r for r in ds.StructureSetROISequence if r.ROINumber == number))
    roi.ROINumber, roi.ROIName = new, copy_name
    contours = copy.deepcopy(contours_of(other, name))
    contours.ReferencedROINumber = new
    observation = copy.deepcopy(next(o for o in ds.RTROIObservationsSequence if o.ReferencedROINumber == number))
    observation.ReferencedROINumber, observation.ObservationNumber = new, new
    if interpreted_type is not None:
        observation.RTROIInterpretedType = interpreted_type
    ds.StructureSetROISequence.append(roi)
    ds.ROIContourSequence.append(contours)
    ds.RTROIObservationsSequence.append(observation)
    return other


def with_many_rois(study: PhantomStudy, count: int, *, points: int = 100, slices: int = 5) -> PhantomStudy:
    """So many small round ROIs more, all over the image, each on some slices with so many points."""
    other = study.copy()
    ds = other.rtstruct
    first = study.images[0]
    spacing, size = float(first.PixelSpacing[0]), int(first.Columns) * float(first.PixelSpacing[0])
    angle = 2 * np.pi * np.arange(points) / points
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    number = max(int(r.ROINumber) for r in ds.StructureSetROISequence)
    for n in range(count):
        number += 1
        roi, observation = copy.deepcopy(ds.StructureSetROISequence[0]), copy.deepcopy(ds.RTROIObservationsSequence[0])
        roi.ROINumber, roi.ROIName = number, f"small {n + 1}"
        observation.ReferencedROINumber, observation.ObservationNumber = number, number
        observation.RTROIInterpretedType = "ORGAN"
        item = Dataset()
        item.ReferencedROINumber = number
        place = (np.array([n % 45, n // 45 % 45]) / 45 - 0.5) * 0.6 * size
        item.ContourSequence = []
        for image in study.images[2 : 2 + slices]:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = points
            xy = place + 1.5 * spacing * circle
            z = float(image.ImagePositionPatient[2])
            contour.ContourData = [round(float(v), 3) for x, y in xy for v in (x, y, z)]
            reference = Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
                image.SOPClassUID,
                image.SOPInstanceUID,
            )
            contour.ContourImageSequence = [reference]
            item.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(item)
        ds.RTROIObservationsSequence.append(observation)
    return other


def empty_roi(study: PhantomStudy, name: str) -> PhantomStudy:
    """A ROI with a name and no contours."""
    bad = study.copy()
    del contours_of(bad, name).ContourSequence
    return bad


def moved_roi(study: PhantomStudy, name: str, x_mm: float = 0.0, y_mm: float = 0.0, z_mm: float = 0.0) -> PhantomStudy:
    """A ROI's contours elsewhere, and on no image: by enough, off the image."""
    bad = study.copy()
    for contour in contours_of(bad, name).ContourSequence:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) + np.array([x_mm, y_mm, z_mm])
        contour.ContourData = [round(v, 3) for v in points.ravel().tolist()]
        del contour.ContourImageSequence
    return bad


def garbage_contours(study: PhantomStudy, name: str) -> PhantomStudy:
    """Contour data that are no numbers."""
    bad = study.copy()
    contour = contours_of(bad, name).ContourSequence[0]
    contour.ContourData = [1.0, 2.0, 3.0] * int(contour.NumberOfContourPoints)
    bad.rtstruct = reread(bad.rtstruct, lambda b: b.replace(b"1.0\\2.0\\3.0\\1.0", b"one\\two\\XYZ\\1.0", 1))
    return bad


def garbage_rtstruct(study: PhantomStudy) -> bytes:
    """A file that begins as an RTSTRUCT and goes on as noise."""
    data = bytearray(file_bytes(study.rtstruct))
    noise = np.random.default_rng(1).integers(0, 256, len(data) - 600, dtype=np.uint8)
    data[600:] = noise.tobytes()
    return bytes(data)


# --- names, encodings, pixels -----------------------------------------------------------------------------------------


def in_charset(study: PhantomStudy, charset: str | list[str], patient_name: str, roi_name: str) -> PhantomStudy:
    """Patient's and target's names in another Specific Character Set; the target is the second ROI."""
    other = study.copy()
    for dataset in other.datasets:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = patient_name
    other.rtstruct.StructureSetROISequence[1].ROIName = roi_name
    other.images = [reread(i) for i in other.images]
    other.rtstruct = reread(other.rtstruct)
    return other


def transcoded(study: PhantomStudy, syntax: UID) -> PhantomStudy:
    """Images in another transfer syntax; the RTSTRUCT too, where the syntax does not compress pixels."""
    other = study.copy()
    other.images = [_transcode(i, syntax) for i in other.images]
    if not syntax.is_encapsulated:
        other.rtstruct = _transcode(other.rtstruct, syntax)
    return other


def _transcode(dataset: Dataset, syntax: UID) -> Dataset:
    if syntax not in _DCMTK:
        dataset.compress(syntax, generate_instance_uid=False)
        return reread(dataset)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        dataset.save_as(before, enforce_file_format=True)
        subprocess.run([*_DCMTK[syntax], str(before), str(after)], check=True, capture_output=True)
        return pydicom.dcmread(BytesIO(after.read_bytes()))


def rescaled_by_slice(study: PhantomStudy) -> PhantomStudy:
    """The same HU, each slice with its own slope and intercept."""
    other = study.copy()
    for k, image in enumerate(other.images):
        hu = stored(image) + int(image.RescaleIntercept)
        slope, intercept = (1.0, 0.5)[k % 2], -1024 + 8 * (k % 5)
        image.RescaleSlope, image.RescaleIntercept = slope, intercept
        store(image, np.rint((hu - intercept) / slope).astype(np.int64))
    return other


def stored_as(study: PhantomStudy, *, bits: int, signed: bool) -> PhantomStudy:
    """The same HU with another number of bits and sign."""
    other = study.copy()
    for image in other.images:
        hu = stored(image) + int(image.RescaleIntercept)
        image.RescaleIntercept = 0 if signed else -1024
        image.BitsStored, image.HighBit, image.PixelRepresentation = bits, bits - 1, int(signed)
        store(image, hu - int(image.RescaleIntercept))
    return other


def padded(
    study: PhantomStudy, value: int = -3000, *, radius_mm: float = 78.0, limit: int | None = None
) -> PhantomStudy:
    """Everything outside of a round field of view is padding."""
    other = study.copy()
    for image in other.images:
        values = stored(image)
        dy, dx = image.PixelSpacing
        y, x = np.indices(values.shape)
        radius = np.hypot((x - (image.Columns - 1) / 2) * dx, (y - (image.Rows - 1) / 2) * dy)
        values[radius > radius_mm] = value
        if limit is not None:  # some padding at the other end of the range
            values[0, 0] = limit
        store(image, values)
        image.add_new("PixelPaddingValue", "SS" if image.PixelRepresentation else "US", value)
        if limit is not None:
            image.add_new("PixelPaddingRangeLimit", "SS" if image.PixelRepresentation else "US", limit)
    return other


def with_hu(study: PhantomStudy, hu: float, *, half: int = 1) -> PhantomStudy:
    """A cube of one HU in the middle of the CT, such as a gold marker's."""
    other = study.copy()
    middle = len(other.images) // 2
    for image in other.images[middle - half : middle + half + 1]:
        values = stored(image)
        y, x = image.Rows // 2, image.Columns // 2
        values[y - half : y + half + 1, x - half : x + half + 1] = int(hu) - int(image.RescaleIntercept)
        store(image, values)
    return other


def without_attribute(study: PhantomStudy, keyword: str, index: int = 10) -> PhantomStudy:
    """One image lacks an attribute."""
    bad = study.copy()
    delattr(bad.images[index], keyword)
    return bad


def reread(dataset: Dataset, change: Callable[[bytes], bytes] = bytes) -> Dataset:
    """A data set as it is when read from its file; ``change`` may tamper with the bytes."""
    return pydicom.dcmread(BytesIO(change(file_bytes(dataset))))


def _with_images(study: PhantomStudy, **attributes: object) -> PhantomStudy:
    changed = study.copy()
    for image in changed.images:
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
    return changed


def _referenced_series(study: PhantomStudy) -> Dataset:
    frame = study.rtstruct.ReferencedFrameOfReferenceSequence[0]
    series: Dataset = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    return series


def _image_references(rtstruct: Dataset) -> list[Dataset]:
    frame = rtstruct.ReferencedFrameOfReferenceSequence[0]
    items = list(frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].ContourImageSequence)
    for roi in rtstruct.ROIContourSequence:
        for contour in roi.ContourSequence:
            items += contour.ContourImageSequence
    return items


def observed(
    study: PhantomStudy,
    name: str,
    *,
    interpreted_type: str | None = None,
    properties: Mapping[str, object] | None = None,
) -> PhantomStudy:
    """A ROI of another type, or with physical properties by DICOM's term."""
    bad = study.copy()
    number = roi_number(bad, name)
    item = next(o for o in bad.rtstruct.RTROIObservationsSequence if o.ReferencedROINumber == number)
    if interpreted_type is not None:
        item.RTROIInterpretedType = interpreted_type
    if properties:
        item.ROIPhysicalPropertiesSequence = []
    for term, value in (properties or {}).items():
        entry = Dataset()
        entry.ROIPhysicalProperty = term
        entry.ROIPhysicalPropertyValue = value
        item.ROIPhysicalPropertiesSequence.append(entry)
    return bad


# --- which images are meant -------------------------------------------------------------------------------------------


def naming_only_contoured(study: PhantomStudy, *names: str) -> PhantomStudy:
    """The structure set has these ROIs alone, and lists only the images with their contours."""
    other = without_roi(study, *({str(r.ROIName) for r in study.rtstruct.StructureSetROISequence} - set(names)))
    drawn = {
        c.ContourImageSequence[0].ReferencedSOPInstanceUID
        for roi in other.rtstruct.ROIContourSequence
        for c in roi.ContourSequence
    }
    series = _referenced_series(other)
    series.ContourImageSequence = [i for i in series.ContourImageSequence if i.ReferencedSOPInstanceUID in drawn]
    return other


def naming_no_series(study: PhantomStudy) -> PhantomStudy:
    """The structure set does not say in which series its images are; contours name them."""
    other = study.copy()
    del other.rtstruct.ReferencedFrameOfReferenceSequence
    return other


def listing_pet(study: PhantomStudy, images: int = 5) -> PhantomStudy:
    """The structure set lists a PET series in a frame of its own as well; no contour is on it."""
    other = study.copy()
    item = copy.deepcopy(other.rtstruct.ReferencedFrameOfReferenceSequence[0])
    item.FrameOfReferenceUID = generate_uid()
    series = item.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.SeriesInstanceUID = generate_uid()
    series.ContourImageSequence = []
    for _ in range(images):
        image = Dataset()
        image.ReferencedSOPClassUID = PositronEmissionTomographyImageStorage
        image.ReferencedSOPInstanceUID = generate_uid()
        series.ContourImageSequence.append(image)
    other.rtstruct.ReferencedFrameOfReferenceSequence.append(item)
    return other


COPIES: Mapping[str, Mapping[str, str]] = {
    "another series": {"SeriesInstanceUID": "new"},
    "another study": {"StudyInstanceUID": "new"},
    "another series of another study": {"StudyInstanceUID": "new", "SeriesInstanceUID": "new"},
    "another patient": {"PatientID": "SOMEBODY-ELSE"},
    "another patient's series": {"PatientID": "SOMEBODY-ELSE", "SeriesInstanceUID": "new"},
}
"""In what copies of images with the same SOP Instance UIDs differ."""


def copies(study: PhantomStudy, kind: str, by_hu: int = 400) -> list[Dataset]:
    """The images again under their own SOP Instance UIDs, with other HU, as one of `COPIES`."""
    fresh = {keyword: generate_uid() if value == "new" else value for keyword, value in COPIES[kind].items()}
    made = copy.deepcopy(study.images)
    for image in made:
        store(image, stored(image) + by_hu)
        for keyword, value in fresh.items():
            setattr(image, keyword, value)
    return made
