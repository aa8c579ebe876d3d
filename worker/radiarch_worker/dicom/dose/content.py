"""Parts of an RT Dose: the dose as integers, its place on the CT, DVH items; the object itself lives in `sop`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat
from radiarch_contract.job import DvhCurve, StructureMetrics

from radiarch_worker.dicom.base import invalid_result
from radiarch_worker.dicom.enum import (
    DoseTypeValues,
    DoseUnitsValues,
    DVHROIContributionTypeValues,
    DVHTypeValues,
    DVHVolumeUnitsValues,
)
from radiarch_worker.dicom.valuerep import decimal_string, decimal_string_at_least, decimal_strings
from radiarch_worker.evaluation import Evaluation
from radiarch_worker.model import Dose, Grid, Patient

MAX_STORED_VALUE = 2**31 - 1
"""Of the 32 unsigned bits one stays free, so that readers that take them as signed see the same dose."""

ALIGNMENT_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class EncodedDose:
    """A dose as integers.

    Attributes
    ----------
    stored : (Z, Y, X) uint32; ``stored * float(scaling)`` is the dose in Gy within half a step
    scaling : Gy per stored unit, exactly as its decimal string reads
    """

    stored: npt.NDArray[np.uint32]
    scaling: DSfloat


def encode_dose(dose: Dose) -> EncodedDose:
    """Scale to integers with the finest scaling that its decimal string can express.

    Raises
    ------
    EngineError
        (engine_output_invalid) for non-finite, negative or all-zero dose, or a shape that is not the grid's.
    """
    values = dose.dose_gy
    if values.shape != dose.grid.shape:
        raise invalid_result(f"the dose has shape {values.shape}, expected that of its grid {dose.grid.shape}")
    if not np.isfinite(values).all():
        bad = int(values.size - np.isfinite(values).sum())
        raise invalid_result(f"{bad} of {values.size} dose values are not finite", count=bad)
    least, most = float(values.min()), float(values.max())
    if least < 0:
        raise invalid_result(f"the minimum dose is {least:g} Gy, expected none below 0")
    if most <= 0:
        raise invalid_result("the dose is zero everywhere")
    scaling = decimal_string_at_least(most / MAX_STORED_VALUE)
    stored = np.rint(values.astype(np.float64) / float(scaling)).astype(np.uint32)
    return EncodedDose(stored, scaling)


def check_alignment(grid: Grid, ct: Grid) -> None:
    """Refuse a dose grid whose points are not CT voxel centres, or that reaches beyond the CT.

    A dose off the CT's grid is drawn half a voxel away by viewers; one beyond the CT was not computed from it.
    Only where the CT's extent is no whole number of dose voxels does the last of them reach over its end, by less than
    its own size.
    """
    for axis, name in enumerate("xyz"):
        n, n_ct = grid.shape[2 - axis], ct.shape[2 - axis]
        offset = (grid.origin_mm[axis] - ct.origin_mm[axis]) / ct.spacing_mm[axis]
        step = grid.spacing_mm[axis] / ct.spacing_mm[axis]
        first, stride = round(offset), round(step)
        off_mm = max(abs(offset - first), abs(step - stride) * max(n - 1, 1)) * ct.spacing_mm[axis]
        if not off_mm <= ALIGNMENT_TOLERANCE_MM or stride < 1:
            raise invalid_result(
                f"the dose grid's {name} axis (origin {grid.origin_mm[axis]:g}, spacing {grid.spacing_mm[axis]:g} mm) "
                f"is not on CT voxel centres (origin {ct.origin_mm[axis]:g}, spacing {ct.spacing_mm[axis]:g} mm)",
                axis=name,
            )
        if first < 0 or first + stride * (n - 1) >= n_ct - 1 + stride:
            raise invalid_result(f"the dose grid reaches beyond the CT along {name}", axis=name)


def frame_offsets(grid: Grid) -> list[DSfloat]:
    """Grid Frame Offset Vector, relative to the first frame, rising from 0."""
    return decimal_strings(grid.spacing_mm[2] * k for k in range(grid.shape[0]))


def add_dvh(dose: Dataset, patient: Patient, evaluation: Evaluation) -> None:
    """Add the DVH Sequence to an RT Dose: of the structure set's ROIs that the dose grid covers."""
    metrics = {m.roi_number: m for m in evaluation.metrics}
    items = [
        dvh_item(curve, metrics[curve.roi_number], DoseTypeValues(dose.DoseType))
        for curve in evaluation.dvh
        if curve.roi_number in metrics and _is_roi(patient, curve.roi_number)
    ]
    if items:  # an empty sequence is not allowed (type 1)
        dose.DVHSequence = items


def _is_roi(patient: Patient, number: int) -> bool:
    """Whether the RTSTRUCT has it: a DVH in DICOM is of a ROI, which a derived structure is not."""
    structure = patient.structures.get(number)
    return structure is not None and structure.definition is None


def dvh_item(curve: DvhCurve, metrics: StructureMetrics, dose_type: DoseTypeValues) -> Dataset:
    """Item of the DVH Sequence (PS3.3 C.8.8.4): cumulative, cm³ that get at least the lower edge of each bin."""
    item = Dataset()
    item.DVHType = DVHTypeValues.CUMULATIVE.value
    item.DoseUnits = DoseUnitsValues.GY.value
    item.DoseType = dose_type.value
    item.DVHDoseScaling = decimal_string(1)
    item.DVHVolumeUnits = DVHVolumeUnitsValues.CM3.value
    item.DVHNumberOfBins = len(curve.dose_gy)
    roi = Dataset()
    roi.DVHROIContributionType = DVHROIContributionTypeValues.INCLUDED.value
    roi.ReferencedROINumber = curve.roi_number
    item.DVHReferencedROISequence = [roi]
    item.DVHMinimumDose = decimal_string(metrics.d_min_gy)
    item.DVHMaximumDose = decimal_string(metrics.d_max_gy)
    item.DVHMeanDose = decimal_string(metrics.d_mean_gy)
    edges = np.asarray(curve.dose_gy)
    widths = np.diff(edges, append=2 * edges[-1] - edges[-2])
    volumes_cc = np.asarray(curve.volume_percent) / 100 * curve.volume_cc
    pairs = np.stack([np.round(widths, 9), np.round(volumes_cc, 5)], axis=1)
    item.DVHData = decimal_strings(pairs.ravel())
    return item
