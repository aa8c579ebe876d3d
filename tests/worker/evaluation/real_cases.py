"""The real cases as our types, read without the worker's own loader, so that the two can be told apart."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from radiarch_worker.model import CtVolume, Dose, Grid, Patient, PatientStudy, Structure
from radiarch_worker.patient.raster import fill_points
from radiarch_worker.position import PatientPosition

_CHECKOUT = Path(__file__).resolve().parents[3]


def find_case(name: str) -> Path | None:
    """Folder of a real case, or None where it is not on this machine."""
    roots = [Path(os.environ["RADIARCH_CASES"])] if "RADIARCH_CASES" in os.environ else []
    roots += [parent / "shared" / "cases" for parent in (_CHECKOUT, _CHECKOUT.parent)]
    return next((root / name for root in roots if (root / name / "RTSTRUCT.dcm").is_file()), None)


def read_patient(folder: Path) -> Patient:
    slices = sorted(
        (pydicom.dcmread(p, stop_before_pixels=True) for p in (folder / "CT").iterdir()),
        key=lambda ds: float(ds.ImagePositionPatient[2]),
    )
    first = slices[0]
    z = [float(ds.ImagePositionPatient[2]) for ds in slices]
    dy, dx = (float(v) for v in first.PixelSpacing)
    x0, y0, z0 = (float(v) for v in first.ImagePositionPatient)
    grid = Grid((x0, y0, z0), (dx, dy, (z[-1] - z0) / (len(z) - 1)), (len(z), int(first.Rows), int(first.Columns)))
    rtstruct = pydicom.dcmread(folder / "RTSTRUCT.dcm")
    names = {int(r.ROINumber): str(r.ROIName) for r in rtstruct.StructureSetROISequence}
    structures = {}
    for roi in rtstruct.ROIContourSequence:
        number = int(roi.ReferencedROINumber)
        contours = []
        for contour in roi.get("ContourSequence", []):
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            contours.append((float(points[0, 2]), points[:, :2]))
        if contours:
            structures[number] = _structure(number, names[number], contours, grid)
    study = PatientStudy(str(first.PatientID), "", "", "", str(first.StudyInstanceUID), "", "", "", "", "", "")
    ct = CtVolume(
        np.zeros((1, 1, 1), np.float32),
        grid,
        str(first.FrameOfReferenceUID),
        str(first.SeriesInstanceUID),
        str(first.SOPClassUID),
        tuple(str(ds.SOPInstanceUID) for ds in slices),
        PatientPosition.HFS,
        study,
    )
    body = max(structures.values(), key=lambda s: int(s.mask.sum()))
    return Patient(ct, structures, body, str(rtstruct.SOPInstanceUID), str(rtstruct.SOPClassUID))


def _structure(number: int, name: str, contours: list[tuple[float, npt.NDArray[np.float64]]], grid: Grid) -> Structure:
    mask = np.zeros(grid.shape, np.bool_)
    by_slice: dict[int, list[npt.NDArray[np.float64]]] = {}
    for z_mm, xy in contours:
        by_slice.setdefault(round((z_mm - grid.origin_mm[2]) / grid.spacing_mm[2]), []).append(xy)
    for k, drawn in by_slice.items():
        mask[k] = fill_points(drawn, grid.axis_mm(1), grid.axis_mm(0))
    return Structure(number, name, "", mask, tuple(contours))


def read_dose(path: Path, *, rbe: float = 1.0) -> Dose:
    ds = pydicom.dcmread(path)
    x0, y0, z0 = (float(v) for v in ds.ImagePositionPatient)
    dy, dx = (float(v) for v in ds.PixelSpacing)
    offsets = [float(v) for v in ds.GridFrameOffsetVector]
    dose_gy = (ds.pixel_array * float(ds.DoseGridScaling)).astype(np.float32)
    grid = Grid((x0, y0, z0), (dx, dy, offsets[1] - offsets[0]), (len(offsets), int(ds.Rows), int(ds.Columns)))
    return Dose(dose_gy, grid, rbe)
