"""The RT Dose object; its parts live in `content`."""

from __future__ import annotations

from pydicom.uid import RTDoseStorage
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import sop_class_uid
from radiarch_contract.workflows import get_workflow

from radiarch_worker.dicom.base import ResultSOPClass, physics_lines, reference, result_uid
from radiarch_worker.dicom.enum import DoseSummationTypeValues, DoseTypeValues, DoseUnitsValues
from radiarch_worker.dicom.valuerep import decimal_string, decimal_strings, text
from radiarch_worker.model import Patient, PlanResult

from .content import check_alignment, encode_dose, frame_offsets

_GRID_FRAME_OFFSET_VECTOR = 0x3004000C


class RTDose(ResultSOPClass):
    """The plan's dose, total over all fractions, on CT voxel centres; `add_dvh` adds its DVHs.

    ``DoseType`` is EFFECTIVE where an RBE other than 1 is in the values, else PHYSICAL.
    """

    def __init__(
        self,
        spec: JobSpec,
        patient: Patient,
        plan: PlanResult,
        *,
        rtplan: tuple[str, str] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        spec
            The request.
        patient
            The CT and structures it was planned on.
        plan
            Its ``dose``: Gy, (Z, Y, X), patient LPS mm, total over all fractions.
        rtplan
            SOP Class and Instance UID of the plan whose dose this is; None: the result of the same run.

        Raises
        ------
        EngineError
            (engine_output_invalid) where the dose holds values, or lies on a grid, that must not be written.
        InputRefusedError
            Where patient, study or frame of reference cannot be named.
        """
        super().__init__(
            spec,
            patient,
            plan,
            kind=OutputKind.RTDOSE,
            sop_class_uid=RTDoseStorage,
            modality="RTDOSE",
            series_description=f"RADIARCH dose UNAPPROVED {spec.workflow_id}",
        )
        dose_type = DoseTypeValues.PHYSICAL if plan.dose.rbe == 1 else DoseTypeValues.EFFECTIVE
        self._add_grid(patient, plan)
        self._add_dose(plan, dose_type)
        if rtplan is None:
            rtplan_class = sop_class_uid(OutputKind.RTPLAN, get_workflow(spec.workflow_id).modality)
            rtplan = rtplan_class, result_uid(spec, OutputKind.RTPLAN)
        self._add_references(rtplan, patient)

    def _add_grid(self, patient: Patient, plan: PlanResult) -> None:
        grid = plan.dose.grid
        check_alignment(grid, patient.ct.grid)
        self.ImagePositionPatient = decimal_strings(grid.origin_mm)
        self.ImageOrientationPatient = decimal_strings((1, 0, 0, 0, 1, 0))
        self.PixelSpacing = decimal_strings((grid.spacing_mm[1], grid.spacing_mm[0]))
        self.SliceThickness = decimal_string(grid.spacing_mm[2])
        self.NumberOfFrames, self.Rows, self.Columns = grid.shape
        self.FrameIncrementPointer = _GRID_FRAME_OFFSET_VECTOR
        self.GridFrameOffsetVector = frame_offsets(grid)

    def _add_dose(self, plan: PlanResult, dose_type: DoseTypeValues) -> None:
        encoded = encode_dose(plan.dose)
        self.SamplesPerPixel = 1
        self.PhotometricInterpretation = "MONOCHROME2"
        self.BitsAllocated = 32
        self.BitsStored = 32
        self.HighBit = 31
        self.PixelRepresentation = 0
        self.PatientOrientation = None
        self.DoseUnits = DoseUnitsValues.GY.value
        self.DoseType = dose_type.value
        self.DoseSummationType = DoseSummationTypeValues.PLAN.value
        self.DoseComment = text("; ".join(["UNAPPROVED", *physics_lines(plan)]), 64)
        self.DoseGridScaling = encoded.scaling
        self.PixelData = encoded.stored.astype("<u4").tobytes()
        self["PixelData"].VR = "OW"

    def _add_references(self, rtplan: tuple[str, str], patient: Patient) -> None:
        self.ReferencedRTPlanSequence = [reference(*rtplan)]
        self.ReferencedStructureSetSequence = [
            reference(patient.rtstruct_sop_class_uid, patient.rtstruct_sop_instance_uid)
        ]
