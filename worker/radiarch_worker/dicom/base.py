"""What all result objects share: identity, equipment and provenance; what an IOD has of its own is in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import radiarch_contract
from highdicom.base import SOPClass
from highdicom.base_content import ContributingEquipment
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ImplicitVRLittleEndian
from radiarch_contract.errors import EngineError, ErrorCode, InputRefusedError
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import derive_uid, series_instance_uid, sop_instance_uid

from radiarch_worker.model import Patient, PlanResult
from radiarch_worker.patient import ct_used

from .valuerep import text

MANUFACTURER = "Radiarch"
PRIVATE_CREATOR = "RADIARCH"
PRIVATE_GROUP = 0x0099
PROVENANCE_ELEMENT = 0x01
"""(0099,xx01) in the block of `PRIVATE_CREATOR`: UT, the whole provenance as JSON (UTF-8, keys sorted)."""

SERIES_NUMBERS = {
    OutputKind.RTPLAN: 9101,
    OutputKind.RTDOSE: 9102,
    OutputKind.REPORT: 9103,
    OutputKind.DOSE_DIFFERENCE: 9104,
    OutputKind.LET: 9105,
}
"""High, so that the patient's own series come first in every list."""

_CHARSET = "ISO_IR 192"
_COPIED_FROM_CT = (
    # attribute of PatientStudy, keyword, VR, tag
    ("patient_id", 0x00100020, "LO"),
    ("patient_name", 0x00100010, "PN"),
    ("patient_birth_date", 0x00100030, "DA"),
    ("patient_sex", 0x00100040, "CS"),
    ("study_instance_uid", 0x0020000D, "UI"),
    ("study_id", 0x00200010, "SH"),
    ("study_date", 0x00080020, "DA"),
    ("study_time", 0x00080030, "TM"),
    ("accession_number", 0x00080050, "SH"),
    ("referring_physician_name", 0x00080090, "PN"),
)


@dataclass(frozen=True)
class Provenance:
    """From what and how a result was computed.

    Attributes
    ----------
    values : engine and version, machine data and calibration with their hashes, seed, primaries
    physics : RBE and uncertainty in words, for readers of the object
    rbe : the constant RBE in the values; None where they are not a dose that was computed here
    """

    values: Mapping[str, Any]
    notes: tuple[str, ...]
    physics: tuple[str, ...]
    rbe: float | None = None
    uncertainty_percent: float | None = None

    @classmethod
    def of(cls, plan: PlanResult) -> Provenance:
        return cls(plan.provenance, plan.notes, tuple(physics_lines(plan)), plan.dose.rbe, plan.uncertainty_percent)


class ResultContent:
    """Mixin for data sets: the attributes of every result, whichever class of highdicom it is built on."""

    def add_identity(self, spec: JobSpec, patient: Patient, provenance: Provenance) -> None:
        """Write patient, study, dates, equipment and provenance."""
        created = created_at(spec)
        date, time = f"{created:%Y%m%d}", f"{created:%H%M%S.%f}"
        ds = cast(Dataset, self)
        ds.InstanceCreationDate, ds.InstanceCreationTime = date, time
        ds.SeriesDate, ds.SeriesTime = date, time
        ds.OperatorsName = ""
        _copy_identity(ds, patient)
        ds.FrameOfReferenceUID = patient.ct.frame_of_reference_uid
        ds.PositionReferenceIndicator = ""
        ds.ContributingEquipmentSequence = [contributing_equipment(provenance, created)]
        _add_provenance(ds, spec, patient, provenance)


class ResultSOPClass(ResultContent, SOPClass):  # type: ignore[misc]  # highdicom's types are not followed
    """A result in the study of the CT, with the CT's identity and our provenance.

    Written in Implicit VR Little Endian: the default of DICOM, and without the 64 kB that explicit
    encodings allow for a spot map (8191 spots a layer) or a DVH. Text is UTF-8 whatever the CT's
    character set. Every value derives from the arguments: the same arguments give the same bytes.
    """

    def __init__(
        self,
        spec: JobSpec,
        patient: Patient,
        plan: PlanResult | Provenance,
        *,
        kind: OutputKind,
        sop_class_uid: str,
        modality: str,
        series_description: str,
    ) -> None:
        """
        Parameters
        ----------
        spec
            The request; gives UIDs (by plan id and kind) and every date (``created_at``, in UTC).
        patient
            Whose result this is.
        plan
            Gives the provenance.

        Raises
        ------
        InputRefusedError
            (patient_mismatch, input_changed) where an identity is missing or differs.
        """
        provenance = plan if isinstance(plan, Provenance) else Provenance.of(plan)
        check_identity(spec, patient)
        created = created_at(spec)
        date, time = f"{created:%Y%m%d}", f"{created:%H%M%S.%f}"
        has_content = kind in (OutputKind.RTDOSE, OutputKind.DOSE_DIFFERENCE, OutputKind.REPORT)
        super().__init__(
            study_instance_uid=patient.ct.study.study_instance_uid,
            series_instance_uid=series_instance_uid(spec.plan_id, kind),
            series_number=SERIES_NUMBERS[kind],
            sop_instance_uid=sop_instance_uid(spec.plan_id, kind),
            sop_class_uid=sop_class_uid,
            instance_number=1,
            modality=modality,
            manufacturer=MANUFACTURER,
            transfer_syntax_uid=ImplicitVRLittleEndian,
            series_description=text(series_description, 64),
            manufacturer_model_name="Radiarch",
            software_versions=software_versions(provenance.values),
            content_date=date if has_content else None,
            content_time=time if has_content else None,
            specific_character_set=_CHARSET,
        )
        self.add_identity(spec, patient, provenance)


def _copy_identity(ds: Dataset, patient: Patient) -> None:
    # Verbatim, even where a scanner's value breaks its VR (long accession numbers are common):
    # the same study must not have two spellings of one value.
    for attribute, tag, vr in _COPIED_FROM_CT:
        value = getattr(patient.ct.study, attribute)
        ds.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
    if patient.ct.study.study_description:
        description = patient.ct.study.study_description
        ds.add(DataElement(0x00081030, "LO", description, validation_mode=config.IGNORE))


def _add_provenance(ds: Dataset, spec: JobSpec, patient: Patient, provenance: Provenance) -> None:
    block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    record = {
        "plan_id": spec.plan_id,
        "workflow_id": spec.workflow_id,
        "protocol_id": spec.protocol_id,
        "protocol_sha256": spec.protocol_sha256,
        "rtstruct_sha256": spec.rtstruct_sha256,
        "prescription": None if spec.prescription is None else spec.prescription.model_dump(mode="json"),
        "parameters": spec.parameters,
        "inputs": [i.model_dump(mode="json") for i in spec.inputs],
        "rbe": provenance.rbe,
        "uncertainty_percent": provenance.uncertainty_percent,
        "provenance": dict(provenance.values),
        "ct": None if (ct := ct_used(patient)) is None else ct.model_dump(mode="json"),
        "notes": [*patient.notes, *provenance.notes],
    }
    try:
        value = json.dumps(record, ensure_ascii=False, sort_keys=True, allow_nan=False, default=str)
    except ValueError as e:
        raise invalid_result("the plan's provenance holds a number that is not finite") from e
    block.add_new(PROVENANCE_ELEMENT, "UT", value)


def check_identity(spec: JobSpec, patient: Patient) -> None:
    """Refuse a result without identifiers, or with those of another patient."""
    study = patient.ct.study
    remedy = "Send the CT and the RTSTRUCT again with complete identifiers."
    required = {
        "PatientID (0010,0020)": study.patient_id,
        "StudyInstanceUID (0020,000D)": study.study_instance_uid,
        "FrameOfReferenceUID (0020,0052)": patient.ct.frame_of_reference_uid,
        "SOPInstanceUID (0008,0018) of the RTSTRUCT": patient.rtstruct_sop_instance_uid,
        "SOPClassUID (0008,0016) of the RTSTRUCT": patient.rtstruct_sop_class_uid,
    }
    for name, value in required.items():
        if not value.strip():
            raise InputRefusedError(
                f"{name} is empty: a result cannot be assigned to its patient",
                remedy=remedy,
                code=ErrorCode.PATIENT_MISMATCH,
                attribute=name,
            )
    if spec.patient_id.strip() != study.patient_id.strip():
        raise InputRefusedError(
            "the PatientID of the job is not that of the CT; expected the same patient",
            remedy="Ask for the plan again with the RTSTRUCT of this patient.",
            code=ErrorCode.PATIENT_MISMATCH,
        )
    if spec.rtstruct_sop_instance_uid != patient.rtstruct_sop_instance_uid:
        raise InputRefusedError(
            f"the plan was computed on RTSTRUCT {patient.rtstruct_sop_instance_uid}, "
            f"expected {spec.rtstruct_sop_instance_uid}",
            remedy="Ask for the plan again.",
            code=ErrorCode.INPUT_CHANGED,
        )


def invalid_result(message: str, **details: Any) -> EngineError:
    """The error for a computed value that must not be written."""
    return EngineError(
        message,
        remedy="Nothing was stored. Plan again; if it happens again, report it with the job's log.",
        code=ErrorCode.ENGINE_OUTPUT_INVALID,
        **details,
    )


def software_versions(provenance: Mapping[str, Any]) -> list[str]:
    """Our version first, then every ``<name>_version`` that the provenance has; an engine goes by its own name."""
    versions = [f"Radiarch {radiarch_contract.__version__}"]
    for key, value in flatten(provenance):
        if key.endswith("_version") and value:
            name = key.removesuffix("_version")
            versions.append(text(f"{provenance.get(name, name)} {value}", 64))
    return list(dict.fromkeys(versions))


def contributing_equipment(provenance: Provenance, created: datetime) -> Dataset:
    """The dose engine and its data, as an item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""
    lines = [f"{key}={value}" for key, value in flatten(provenance.values)]
    described = "; ".join([*provenance.physics, *lines])
    item: Dataset = ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=text(str(provenance.values.get("engine", "dose engine")), 64),
        software_versions=software_versions(provenance.values),
        contribution_datetime=f"{created:%Y%m%d%H%M%S.%f}+0000",
        contribution_description=text(described, 1024),
    )
    return item


def physics_lines(plan: PlanResult) -> list[str]:
    """RBE, and uncertainty where there is one, in words."""
    rbe = plan.dose.rbe
    return [
        f"RBE {rbe:g} included" if rbe != 1 else "no RBE included",
        *([f"uncertainty {plan.uncertainty_percent:.2g} % (1 sigma)"] if plan.uncertainty_percent else []),
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a nested mapping as (dotted key, value), in the order of their keys."""
    for key in sorted(values):
        value = values[key]
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def target_roi_number(spec: JobSpec, patient: Patient, name: str) -> int | None:
    """ROI number of a target of the prescription; None where it is derived, so that no ROI is it.

    Raises
    ------
    InputRefusedError
        ``no_target`` where this RTSTRUCT does not have it.
    """
    if name in spec.parameters.get("derived", {}):
        return None
    for ref in spec.structures:
        if ref.name == name and ref.roi_number in patient.structures:
            return ref.roi_number
    raise InputRefusedError(
        f"the prescription's target {name!r} is not among the structures of RTSTRUCT "
        f"{patient.rtstruct_sop_instance_uid}",
        remedy="Name a target that has contours in this RTSTRUCT.",
        code=ErrorCode.NO_TARGET,
        structure=name,
    )


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item with Referenced SOP Class and Instance UID."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def result_uid(spec: JobSpec, kind: OutputKind) -> str:
    """SOP Instance UID that the result of this kind has."""
    return sop_instance_uid(spec.plan_id, kind)


def dose_reference_uid(spec: JobSpec, index: int = 0) -> str:
    """Dose Reference UID (300A,0013) of the prescription to its ``index``-th target."""
    return derive_uid(spec.plan_id, f"dose-reference-{index}" if index else "dose-reference")


def created_at(spec: JobSpec) -> datetime:
    """The date that all results of a run carry: when the run was requested, UTC."""
    moment = spec.created_at
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
