"""Dose-averaged LET as a Parametric Map: not an RT Dose, so that no system takes it for dose."""

from __future__ import annotations

import numpy as np
from highdicom import PlaneOrientationSequence, PlanePositionSequence, VOILUTTransformation
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.content import PixelMeasuresSequence
from highdicom.enum import CoordinateSystemNames
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import derive_uid, series_instance_uid, sop_instance_uid

from radiarch_worker.dicom.base import (
    MANUFACTURER,
    SERIES_NUMBERS,
    Provenance,
    ResultContent,
    check_identity,
    created_at,
    invalid_result,
    software_versions,
)
from radiarch_worker.dicom.valuerep import decimal_strings, text
from radiarch_worker.ion import Let
from radiarch_worker.model import Patient

CODING_SCHEME = "99RADIARCH"
LET_D = Code("LETD", CODING_SCHEME, "Dose-averaged linear energy transfer")
"""The public coding schemes of DICOM have no code for it (CID 7180); private schemes begin with 99 (PS3.16 8.2)."""
KEV_PER_UM = Code("keV/um", "UCUM", "kiloelectronvolt per micrometer")
WINDOW_KEV_UM = (6.0, 12.0)
"""Center and width of the default window: 0 to 12, the range in a proton plan."""


class LetMap(ResultContent, ParametricMap):  # type: ignore[misc]  # highdicom's types are not followed
    """LET of a plan's protons in water, keV/um, 32-bit floats on the dose grid; 0 where it is not reported."""

    def __init__(self, spec: JobSpec, patient: Patient, provenance: Provenance, let: Let) -> None:
        """
        Parameters
        ----------
        provenance
            Of the dose of the same run.

        Raises
        ------
        EngineError
            (engine_output_invalid) where a value is negative or not finite.
        """
        grid, values = let.grid, let.kev_um
        if values.shape != grid.shape or not np.isfinite(values).all() or float(values.min()) < 0:
            raise invalid_result("the LET has values that are negative or not finite")
        check_identity(spec, patient)
        orientation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        x, y, _ = grid.origin_mm
        super().__init__(
            source_images=_sources(patient),
            pixel_array=np.ascontiguousarray(values, dtype=np.float32),
            series_instance_uid=series_instance_uid(spec.plan_id, OutputKind.LET),
            series_number=SERIES_NUMBERS[OutputKind.LET],
            sop_instance_uid=sop_instance_uid(spec.plan_id, OutputKind.LET),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="Radiarch",
            software_versions=tuple(software_versions(provenance.values)),
            device_serial_number=text(str(provenance.values.get("engine_sha256", "unknown")), 64),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label="LETd",
                    lut_explanation="Dose-averaged LET of protons in water; 0: not reported",
                    unit=KEV_PER_UM,
                    value_range=(0.0, max(float(values.max()), 1.0)),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=LET_D,
                )
            ],
            voi_lut_transformations=[VOILUTTransformation(*WINDOW_KEV_UM)],
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_label="LETD",
            content_description=text(
                f"Dose-averaged LET, protons, in water; 0 below {100 * let.dose_floor:g} % dose", 64
            ),
            pixel_measures=PixelMeasuresSequence(
                pixel_spacing=decimal_strings((grid.spacing_mm[1], grid.spacing_mm[0])),
                slice_thickness=grid.spacing_mm[2],
                spacing_between_slices=grid.spacing_mm[2],
            ),
            plane_orientation=PlaneOrientationSequence(CoordinateSystemNames.PATIENT, orientation),
            plane_positions=[
                PlanePositionSequence(CoordinateSystemNames.PATIENT, decimal_strings((x, y, float(z))))
                for z in grid.axis_mm(2)
            ],
            specific_character_set="ISO_IR 192",
            series_description=text(f"RADIARCH LETd keV/um UNAPPROVED {spec.workflow_id}", 64),
            coding_schemes=[
                CodingSchemeIdentificationItem(CODING_SCHEME, name="Radiarch", responsible_organization="Radiarch")
            ],
        )
        created = created_at(spec)
        self.ContentDate, self.ContentTime = f"{created:%Y%m%d}", f"{created:%H%M%S.%f}"
        self.Laterality = None  # type 2C for paired body parts; which one this is, is not known
        self._name_dimensions(spec)
        self.add_identity(spec, patient, provenance)

    def _name_dimensions(self, spec: JobSpec) -> None:
        """Replace the random UID of highdicom by one that every attempt gives again."""
        uid = derive_uid(spec.plan_id, "let/dimensions")
        for item in (*self.DimensionOrganizationSequence, *self.DimensionIndexSequence):
            item.DimensionOrganizationUID = uid


def _sources(patient: Patient) -> list[Dataset]:
    """The CT's planes with what highdicom reads of them: identity and geometry."""
    ct, grid = patient.ct, patient.ct.grid
    x, y, _ = grid.origin_mm
    planes = []
    for uid, z in zip(ct.sop_instance_uids, grid.axis_mm(2), strict=True):
        plane = Dataset()
        plane.SOPClassUID, plane.SOPInstanceUID = ct.sop_class_uid, uid
        plane.StudyInstanceUID, plane.SeriesInstanceUID = ct.study.study_instance_uid, ct.series_instance_uid
        plane.FrameOfReferenceUID, plane.PositionReferenceIndicator = ct.frame_of_reference_uid, ""
        # the patient is written by `ResultContent.add_identity`
        for keyword in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "ReferringPhysicianName",
        ):
            setattr(plane, keyword, None)
        plane.Rows, plane.Columns = grid.shape[1:]
        plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        plane.ImagePositionPatient = decimal_strings((x, y, float(z)))
        plane.PixelSpacing = decimal_strings((grid.spacing_mm[1], grid.spacing_mm[0]))
        plane.SliceThickness = grid.spacing_mm[2]
        planes.append(plane)
    return planes
