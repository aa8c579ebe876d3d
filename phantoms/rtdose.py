"""RTDOSE objects as other systems write them, on a phantom's frame of reference; whatever a test wants of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, RTIonPlanStorage, generate_uid

from .shapes import Vector3
from .study import PhantomStudy


def rtdose(
    study: PhantomStudy,
    dose_gy: npt.NDArray[np.float32],
    *,
    origin_mm: Vector3,
    spacing_mm: Vector3,
    bits: int = 32,
    absolute: bool = False,
    flip: tuple[bool, bool, bool] = (False, False, False),
    rtplan_uid: str | None = None,
    **changes: Any,
) -> Dataset:
    """A dose of another system.

    Parameters
    ----------
    dose_gy : (Z, Y, X), all axes rising, patient LPS
    absolute : Grid Frame Offset Vector as the planes' z instead of offsets
    flip : (z, y, x) axes that are stored falling
    changes : attributes that take the place of what is written; None removes one
    """
    reference = study.rtstruct
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"):
        setattr(ds, keyword, reference.get(keyword))
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName = "20250101", "120000", "", ""
    ds.FrameOfReferenceUID = reference.FrameOfReferenceUID
    ds.PositionReferenceIndicator = ""
    ds.SOPClassUID = RTDoseStorage
    ds.SOPInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = RTDoseStorage, ds.SOPInstanceUID
    ds.Modality, ds.Manufacturer, ds.SeriesDescription, ds.SeriesNumber = "RTDOSE", "Other", "PLAN_A", 5
    ds.InstanceNumber = 1
    nz, ny, nx = dose_gy.shape
    flip_z, flip_y, flip_x = flip
    position = [o + f * (n - 1) * s for o, n, s, f in zip(origin_mm, (nx, ny, nz), spacing_mm, flip[::-1], strict=True)]
    ds.ImagePositionPatient = [round(v, 6) for v in position]
    ds.ImageOrientationPatient = [-1 if flip_x else 1, 0, 0, 0, -1 if flip_y else 1, 0]
    ds.PixelSpacing = [spacing_mm[1], spacing_mm[0]]
    ds.SliceThickness = spacing_mm[2]
    ds.NumberOfFrames, ds.Rows, ds.Columns = nz, ny, nx
    ds.FrameIncrementPointer = 0x3004000C
    normal = -1.0 if flip_x != flip_y else 1.0
    steps = np.arange(nz) * spacing_mm[2] * (-1.0 if flip_z else 1.0)
    offsets: Sequence[float] = (position[2] + steps if absolute else steps * normal).tolist()
    ds.GridFrameOffsetVector = [round(v, 6) for v in offsets]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    ds.DoseGridScaling = float(f"{float(dose_gy.max()) / (2**bits - 2):.10e}")
    turned = dose_gy[:: -1 if flip_z else 1, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    stored = np.rint(turned.astype(np.float64) / float(ds.DoseGridScaling))
    ds.PixelData = stored.astype("<u2" if bits == 16 else "<u4").tobytes()
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = RTIonPlanStorage, rtplan_uid or generate_uid()
    ds.ReferencedRTPlanSequence = [item]
    structures = Dataset()
    structures.ReferencedSOPClassUID = reference.SOPClassUID
    structures.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    ds.ReferencedStructureSetSequence = [structures]
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds
