"""Reading plans of any system: what plans of all modalities say; their beams are read in a module for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import UID
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.model import Beam
from radiarch_worker.patient.attributes import Reader, tag_name
from radiarch_worker.position import PatientPosition

from .beam_item import children, unsupported

MAX_BEAMS = 40
MAX_MU = 1e7
MAX_PRESCRIBED_GY = 1_000.0
_FOR_TREATMENT = ("TREATMENT", "CONTINUATION", "")
_NOT_FOR_TREATMENT = ("SETUP", "OPEN_PORTFILM")

B = TypeVar("B", bound=Beam, covariant=True)


@dataclass(frozen=True, order=True)
class TreatmentMachine:
    """The machine of a beam, in the plan's words."""

    name: str
    manufacturer: str
    model: str

    @property
    def text(self) -> str:
        """Its name and model as messages have them."""
        return f"{self.name} {self.model}".strip() or "(unnamed)"


@dataclass(frozen=True)
class ReadPlan(Generic[B]):
    """A plan as it is to be delivered.

    Attributes
    ----------
    beams : treatment beams; meterset for one fraction, in MU of the plan's own machine
    machines : of each beam
    source_distances_mm : (virtual) source-axis distances (x, y) of all beams; None where the plan does not have them
    targets : ROI numbers of the dose references of type TARGET
    prescribed : (ROI number or None, dose in Gy) of those that have a Target Prescription Dose, total over all
        fractions
    patient_position : of the setups of these beams; None where the plan does not say it
    """

    sop_class_uid: str
    sop_instance_uid: str
    label: str
    manufacturer: str
    frame_of_reference_uid: str
    structure_sets: tuple[str, ...]
    fractions: int
    beams: tuple[B, ...]
    machines: tuple[TreatmentMachine, ...]
    source_distances_mm: tuple[float, float] | None
    targets: tuple[int, ...]
    prescribed: tuple[tuple[int | None, float], ...]
    patient_position: PatientPosition | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanKind(Generic[B]):
    """How plans of one SOP Class are read.

    Attributes
    ----------
    what : as messages call the object
    sequence : keyword of its beams
    beams : reads the treatment beams: item, number, name, MU of one fraction
    """

    what: str
    sop_class_uid: str
    sequence: str
    beams: Callable[[Sequence[tuple[Reader, int, str, float]]], ReadBeams[B]]


@dataclass(frozen=True)
class ReadBeams(Generic[B]):
    """The beams of a plan, and the source-axis distances that all have; None where they are not given."""

    beams: tuple[B, ...]
    source_distances_mm: tuple[float, float] | None
    notes: tuple[str, ...] = ()


def read_plan(dataset: Dataset, kind: PlanKind[B]) -> ReadPlan[B]:
    """Read a plan.

    Raises
    ------
    InputRefusedError
        ``unreadable_rtplan`` where an attribute is missing or contradicts others, ``unsupported_plan`` naming what is
        in the beam that cannot be computed.
    """
    reader = Reader(dataset, kind.what, ErrorCode.UNREADABLE_RTPLAN)
    sop_class = reader.text("SOPClassUID")
    if sop_class != kind.sop_class_uid:
        expected = UID(kind.sop_class_uid).name
        raise reader.error("SOPClassUID", f"is {UID(sop_class).name[:64] or 'empty'}, expected {expected}")
    try:
        return _read(reader, kind)
    except InputRefusedError:
        raise
    # A hostile object can raise nearly anything from pydicom; its text may quote values, so only its type is shown.
    except Exception as e:
        raise InputRefusedError(
            f"{kind.what.replace('The', 'the', 1)} cannot be read: reading it failed with {type(e).__name__}",
            remedy="Export the plan again.",
            code=ErrorCode.UNREADABLE_RTPLAN,
        ) from e


def _read(reader: Reader, kind: PlanKind[B]) -> ReadPlan[B]:
    if (geometry := reader.text("RTPlanGeometry")) not in ("PATIENT", ""):
        raise unsupported(
            f"(300A,000C) RT Plan Geometry is {geometry[:16]!r}, expected PATIENT",
            "Name a plan that was made on a patient's images.",
        )
    fractions, metersets = _fraction_group(reader)
    items = children(reader, kind.sequence)
    if not 1 <= len(items) <= MAX_BEAMS:
        raise reader.error(kind.sequence, f"has {len(items)} beams, expected 1 to {MAX_BEAMS}")
    numbered = _numbered(reader, kind.sequence, items)
    absent = sorted(set(metersets) - set(numbered))
    if absent:
        raise reader.error(
            "FractionGroupSequence",
            f"names beam {', '.join(map(str, absent))}, which the plan does not have; it has {_listed(numbered)}",
        )
    notes: list[str] = []
    chosen = {n: item for n, item in numbered.items() if _is_treated(n, item, metersets, notes)}
    treated = [
        (item, n, item.text("BeamName")[:64] or f"Beam {n}", _meterset(n, metersets)) for n, item in chosen.items()
    ]
    if not treated:
        raise reader.error(kind.sequence, "has no beam for treatment that has a meterset")
    read = kind.beams(treated)
    references = [i for i in children(reader, "DoseReferenceSequence") if i.text("DoseReferenceType") == "TARGET"]
    return ReadPlan(
        sop_class_uid=reader.uid("SOPClassUID"),
        sop_instance_uid=reader.uid("SOPInstanceUID"),
        label=reader.text("RTPlanLabel")[:64],
        manufacturer=reader.text("Manufacturer")[:64],
        frame_of_reference_uid=reader.text("FrameOfReferenceUID"),
        structure_sets=tuple(
            i.uid("ReferencedSOPInstanceUID") for i in children(reader, "ReferencedStructureSetSequence")
        ),
        fractions=fractions,
        beams=read.beams,
        machines=tuple(map(_machine, chosen.values())),
        source_distances_mm=read.source_distances_mm,
        targets=tuple(n for i in references if (n := _roi_number(i)) is not None),
        prescribed=tuple(
            (_roi_number(i), _prescribed_gy(i)) for i in references if i.value("TargetPrescriptionDose") is not None
        ),
        patient_position=_patient_position(reader, list(chosen.values())),
        notes=(*notes, *read.notes),
    )


def _numbered(reader: Reader, sequence: str, items: list[Reader]) -> dict[int, Reader]:
    found: dict[int, Reader] = {}
    for item in items:
        number = item.integer("BeamNumber", -(1 << 31), 1 << 31)
        if number in found:
            raise reader.error(sequence, f"has beam number {number} twice")
        found[number] = item
    return found


def _is_treated(number: int, item: Reader, metersets: dict[int, Reader], notes: list[str]) -> bool:
    """Whether a beam gives dose to the patient; what is left out is noted, what may not be is refused."""
    kind = item.text("TreatmentDeliveryType")
    if kind in _NOT_FOR_TREATMENT:
        notes.append(f"Beam {number} is not for treatment ({kind}) and was left out.")
        return False
    if kind not in _FOR_TREATMENT:
        raise unsupported(
            f"beam {number} has {tag_name('TreatmentDeliveryType')} {kind[:16]!r}, expected TREATMENT, CONTINUATION or "
            "SETUP: whether its dose is part of the plan's is not known",
            "Export the plan without that beam.",
        )
    if number not in metersets:
        raise item.error(
            "BeamNumber",
            f"{number} is a beam for treatment that the fraction group does not name: it has no meterset",
        )
    return True


def _meterset(number: int, metersets: dict[int, Reader]) -> float:
    item = metersets[number]
    if item.value("BeamMeterset") is None:
        raise item.error("BeamMeterset", f"of beam {number} is missing: how much it gives is not known")
    (meterset,) = item.floats("BeamMeterset", 1)
    if not 0 < meterset <= MAX_MU:
        raise item.error("BeamMeterset", f"of beam {number} is {meterset:g} MU, expected more than 0")
    return meterset


def _machine(item: Reader) -> TreatmentMachine:
    return TreatmentMachine(
        item.text("TreatmentMachineName")[:64],
        item.text("Manufacturer")[:64],
        item.text("ManufacturerModelName")[:64],
    )


def _roi_number(item: Reader) -> int | None:
    if item.value("ReferencedROINumber") is None:
        return None
    return item.integer("ReferencedROINumber", -(1 << 31), 1 << 31)


def _prescribed_gy(item: Reader) -> float:
    (dose_gy,) = item.floats("TargetPrescriptionDose", 1)
    if not 0 < dose_gy <= MAX_PRESCRIBED_GY:
        raise item.error("TargetPrescriptionDose", f"is {dose_gy:g} Gy, expected more than 0")
    return dose_gy


def _listed(numbers: dict[int, Reader]) -> str:
    return f"beam {', '.join(map(str, list(numbers)[:10]))}"


def _patient_position(reader: Reader, beams: Sequence[Reader]) -> PatientPosition | None:
    """How the patient lies for these beams, by the setups that they reference.

    Raises
    ------
    InputRefusedError
        ``unsupported_plan``: in no position that is computed, or in more than one.
    """
    setups = children(reader, "PatientSetupSequence")
    numbers = {_setup_number(beam, "ReferencedPatientSetupNumber") for beam in beams}
    used = [s for s in setups if _setup_number(s, "PatientSetupNumber") in numbers] if None not in numbers else setups
    # the standard has one or the other (PS3.3 C.8.8.12)
    found = {s.text("PatientPosition") or s.text("PatientAdditionalPosition") for s in used} - {""}
    if not found:
        return None
    known = [p.value for p in PatientPosition]
    if len(found) > 1 or not found <= set(known):
        raise unsupported(
            f"the plan's (0018,5100) Patient Position is {', '.join(sorted(found))[:60]}; one of {', '.join(known)} is "
            "computed, the same for all beams",
            "Recalculate plans of patients who lie in one position.",
        )
    return PatientPosition(found.pop())


def _setup_number(item: Reader, keyword: str) -> int | None:
    return None if item.value(keyword) is None else item.integer(keyword, -(1 << 31), 1 << 31)


def _fraction_group(reader: Reader) -> tuple[int, dict[int, Reader]]:
    """Fractions, and the item of each beam that they name."""
    groups = children(reader, "FractionGroupSequence")
    if len(groups) != 1:
        raise unsupported(
            f"the plan has {len(groups)} fraction groups, expected one",
            "Recalculate plans with one fraction group.",
        )
    group = groups[0]
    fractions = group.integer("NumberOfFractionsPlanned", 1, 1000)
    setups = "NumberOfBrachyApplicationSetups"
    if group.value(setups) is not None and group.integer(setups, 0, 1000) > 0:
        raise unsupported(
            f"the plan's {tag_name(setups)} is {group.text(setups)}: brachytherapy is not computed",
            "Recalculate plans of external beams alone.",
        )
    named: dict[int, Reader] = {}
    items = children(group, "ReferencedBeamSequence")
    for item in items:
        number = item.integer("ReferencedBeamNumber", -(1 << 31), 1 << 31)
        if number in named:
            raise group.error("ReferencedBeamSequence", f"names beam {number} twice")
        named[number] = item
    if group.value("NumberOfBeams") is not None and group.integer("NumberOfBeams", 0, 1_000_000) != len(items):
        raise group.error("NumberOfBeams", f"is {group.text('NumberOfBeams')}, and {len(items)} beams are named")
    return fractions, named
