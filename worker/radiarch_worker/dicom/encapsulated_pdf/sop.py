"""The Encapsulated PDF object that holds a report; what stands in the report lives in `radiarch_worker.report`."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import sop_class_uid
from radiarch_contract.workflows import get_workflow

from radiarch_worker.dicom.base import ResultSOPClass, invalid_result, reference, result_uid
from radiarch_worker.dicom.enum import (
    BurnedInAnnotationValues,
    ConversionTypeValues,
    MIMETypeValues,
    VerificationFlagValues,
)
from radiarch_worker.dicom.valuerep import text
from radiarch_worker.model import Patient, PlanResult


class EncapsulatedPDF(ResultSOPClass):
    """The report of a run as a document in the patient's study.

    Source Instance Sequence names what it reports on: the results given, and the structure set. A document has no
    position in the patient, and so no Frame of Reference.
    """

    def __init__(
        self,
        spec: JobSpec,
        patient: Patient,
        plan: PlanResult,
        pdf: bytes,
        *,
        reports_on: Sequence[OutputKind] = (OutputKind.RTPLAN, OutputKind.RTDOSE),
    ) -> None:
        """
        Parameters
        ----------
        spec
            The request.
        patient
            Whose name the PDF prints.
        plan
            The plan, or the dose that was checked.
        pdf
            The document.
        reports_on
            Kinds of this run's results that it is about.

        Raises
        ------
        EngineError
            (engine_output_invalid) where the document is no PDF.
        InputRefusedError
            Where patient, study or frame of reference cannot be named.
        """
        if not pdf.startswith(b"%PDF-"):
            raise invalid_result("the report is not a PDF document")
        super().__init__(
            spec,
            patient,
            plan,
            kind=OutputKind.REPORT,
            sop_class_uid=EncapsulatedPDFStorage,
            modality="DOC",
            series_description=f"RADIARCH report UNAPPROVED {spec.workflow_id}",
        )
        del self.FrameOfReferenceUID, self.PositionReferenceIndicator, self.OperatorsName
        # Secondary Capture Equipment (C.8.6.1): a program
        self.ConversionType = ConversionTypeValues.WORKSTATION.value
        self._add_document(spec, pdf)
        modality = get_workflow(spec.workflow_id).modality
        self.SourceInstanceSequence = [
            *(reference(sop_class_uid(kind, modality), result_uid(spec, kind)) for kind in reports_on),
            reference(patient.rtstruct_sop_class_uid, patient.rtstruct_sop_instance_uid),
        ]

    def _add_document(self, spec: JobSpec, pdf: bytes) -> None:
        """Encapsulated Document Module (PS3.3 C.24.2)."""
        self.AcquisitionDateTime = ""
        self.BurnedInAnnotation = BurnedInAnnotationValues.YES.value  # the patient's name is on every page
        self.DocumentTitle = text(f"Radiarch treatment plan report, UNAPPROVED: {spec.plan_label}", 1024)
        self.ConceptNameCodeSequence: list[Dataset] = []
        self.VerificationFlag = VerificationFlagValues.UNVERIFIED.value
        self.MIMETypeOfEncapsulatedDocument = MIMETypeValues.PDF.value
        self.EncapsulatedDocumentLength = len(pdf)
        self.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        self["EncapsulatedDocument"].VR = "OB"
