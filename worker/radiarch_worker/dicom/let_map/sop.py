"""Dose-averaged LET as a Parametric Map: no RT Dose, so that no viewer and no system takes it for dose."""

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
    Made,
    ResultContent,
    check_identity,
    created_at,
    lie,
    software_versions,
)
from radiarch_worker.dicom.valuerep import decimal_strings, text
from radiarch_worker.model import Let, Patient

CODING_SCHEME = "99RADIARCH"
LET_D = Code("LETD", CODING_SCHEME, "Dose-averaged linear energy transfer")
"""No public scheme that DICOM names has a code for it (CID 7180); PS3.16 8.2 has private ones begin with 99."""
KEV_PER_UM = Code("keV/um", "UCUM", "kiloelectronvolt per micrometer")
WINDOW_KEV_UM = (6.0, 12.0)
"""Centre and width that viewers begin with: 0 to 12, what a proton plan spans."""


class LetMap(ResultContent, ParametricMap):  # type: ignore[misc]  # highdicom's types are not followed
    """LET of a plan's protons in water, keV/um, 32-bit floats on the dose's grid; 0 where it is not told."""

    def __init__(self, spec: JobSpec, patient: Patient, made: Made, let: Let) -> None:
        """
        Parameters
        ----------
        made
            Of the dose that it stands beside.

        Raises
        ------
        EngineError
            (engine_output_invalid) where a value is negative or not finite.
        """
        grid, values = let.grid, let.kev_um
        if values.shape != grid.shape or not np.isfinite(values).all() or float(values.min()) < 0:
            raise lie("the LET holds values that are negative or not finite numbers")
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
            software_versions=tuple(software_versions(made.provenance)),
            device_serial_number=text(str(made.provenance.get("engine_sha256", "unknown")), 64),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label="LETd",
                    lut_explanation="Dose-averaged LET of protons in water; 0: not told",
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
        self.Laterality = None  # which body part it is of is not known (type 2C: asked for where it may be paired)
        self._name_dimensions(spec)
        self.tell(spec, patient, made)

    def _name_dimensions(self, spec: JobSpec) -> None:
        """A UID that a repeated attempt gives again, for the library's random one."""
        uid = derive_uid(spec.plan_id, "let/dimensions")
        for item in (*self.DimensionOrganizationSequence, *self.DimensionIndexSequence):
            item.DimensionOrganizationUID = uid


def _sources(patient: Patient) -> list[Dataset]:
    """The CT's planes as far as the library looks at them: identity and geometry."""
    ct, grid = patient.ct, patient.ct.grid
    x, y, _ = grid.origin_mm
    planes = []
    for uid, z in zip(ct.sop_instance_uids, grid.axis_mm(2), strict=True):
        plane = Dataset()
        plane.SOPClassUID, plane.SOPInstanceUID = ct.sop_class_uid, uid
        plane.StudyInstanceUID, plane.SeriesInstanceUID = ct.study.study_instance_uid, ct.series_instance_uid
        plane.FrameOfReferenceUID, plane.PositionReferenceIndicator = ct.frame_of_reference_uid, ""
        # who it is of is written with every result: `ResultContent.tell`
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
