"""An RT Dose that holds the difference of two doses (Dose Type ERROR, PS3.3 C.8.8.3); a dose's own object: `sop`."""

from __future__ import annotations

import numpy as np
from pydicom.uid import RTDoseStorage
from radiarch_contract.job import DoseDescription, JobSpec
from radiarch_contract.states import OutputKind

from radiarch_worker.dicom.base import Provenance, ResultSOPClass, invalid_result, reference
from radiarch_worker.dicom.enum import DoseSummationTypeValues, DoseTypeValues, DoseUnitsValues
from radiarch_worker.dicom.valuerep import decimal_string, decimal_string_at_least, decimal_strings, text
from radiarch_worker.model import FloatVolume, Grid, Patient

from .content import frame_offsets

_GRID_FRAME_OFFSET_VECTOR = 0x3004000C
_MAX_STORED = 2**31 - 1
LEAST_STEP_GY = 1e-9
"""The scaling has to be above 0 also where the two doses are equal everywhere."""


class RTDoseDifference(ResultSOPClass):
    """A dose minus a reference, Gy: signed pixels, Dose Type ERROR, so that it is not taken for a dose."""

    def __init__(
        self,
        spec: JobSpec,
        patient: Patient,
        provenance: Provenance,
        difference_gy: FloatVolume,
        grid: Grid,
        *,
        dose: DoseDescription,
        reference_dose: DoseDescription,
        weighted: bool,
        summation: DoseSummationTypeValues,
        rtplan: tuple[str, str] | None,
    ) -> None:
        """
        Parameters
        ----------
        provenance
            Of the dose that was computed, or of the comparison.
        difference_gy
            (Z, Y, X) on ``grid``, patient LPS mm.
        dose, reference_dose
            What was subtracted from what; their UIDs are in the private provenance.
        weighted
            Whether both were RBE-weighted, as stored or by a constant RBE.
        rtplan
            SOP Class and Instance UID of the plan that both are doses of, where there is one.

        Raises
        ------
        EngineError
            (engine_output_invalid) where a value is not finite.
        """
        super().__init__(
            spec,
            patient,
            provenance,
            kind=OutputKind.DOSE_DIFFERENCE,
            sop_class_uid=RTDoseStorage,
            modality="RTDOSE",
            series_description=f"RADIARCH dose difference UNAPPROVED {spec.workflow_id}",
        )
        if difference_gy.shape != grid.shape or not np.isfinite(difference_gy).all():
            raise invalid_result("the difference of the doses holds values that are not finite numbers")
        self._add_grid(grid)
        self._add_values(difference_gy, summation)
        quantity = "RBE-weighted" if weighted else "physical"
        self.DoseComment = text(f"UNAPPROVED; {quantity}; minus {reference_dose.label or 'reference'}", 64)
        if rtplan is not None:
            self.ReferencedRTPlanSequence = [reference(*rtplan)]

    def _add_grid(self, grid: Grid) -> None:
        self.ImagePositionPatient = decimal_strings(grid.origin_mm)
        self.ImageOrientationPatient = decimal_strings((1, 0, 0, 0, 1, 0))
        self.PixelSpacing = decimal_strings((grid.spacing_mm[1], grid.spacing_mm[0]))
        self.SliceThickness = decimal_string(grid.spacing_mm[2])
        self.NumberOfFrames, self.Rows, self.Columns = grid.shape
        self.FrameIncrementPointer = _GRID_FRAME_OFFSET_VECTOR
        self.GridFrameOffsetVector = frame_offsets(grid)

    def _add_values(self, difference_gy: FloatVolume, summation: DoseSummationTypeValues) -> None:
        scaling = decimal_string_at_least(max(float(np.abs(difference_gy).max()), LEAST_STEP_GY) / _MAX_STORED)
        stored = np.rint(difference_gy.astype(np.float64) / float(scaling)).astype("<i4")
        self.SamplesPerPixel = 1
        self.PhotometricInterpretation = "MONOCHROME2"
        self.BitsAllocated, self.BitsStored, self.HighBit = 32, 32, 31
        self.PixelRepresentation = 1
        self.PatientOrientation = None
        self.DoseUnits = DoseUnitsValues.GY.value
        self.DoseType = DoseTypeValues.ERROR.value
        self.DoseSummationType = summation.value
        self.DoseGridScaling = scaling
        self.PixelData = stored.tobytes()
        self["PixelData"].VR = "OW"
