"""Reading RT Ion Plans of any system: spots, metersets, geometry; what cannot be computed truthfully is refused."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import RTIonPlanStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError

from radiarch_worker.ion import IonBeam
from radiarch_worker.patient.attributes import Reader, tag_name

from .beam_item import unsupported
from .ion_beam import MAX_SPOTS, IonBeamReader
from .read_plan import PlanKind, ReadBeams, ReadPlan, read_plan

ReadIonPlan = ReadPlan[IonBeam]
SOURCE_TOLERANCE_MM = 1.0
"""By how much virtual source distances may differ between beams: one machine computes them all."""


def read_ion_plan(dataset: Dataset) -> ReadIonPlan:
    """Read an RT Ion Plan; see `read_plan`."""
    return read_plan(dataset, ION_PLAN)


def _read_beams(items: Sequence[tuple[Reader, int, str, float]]) -> ReadBeams[IonBeam]:
    readers = [IonBeamReader(*item) for item in items]
    return ReadBeams(_beams(readers), _source_distances(readers))


def _beams(readers: list[IonBeamReader]) -> tuple[IonBeam, ...]:
    beams: list[IonBeam] = []
    spots = 0
    for reader in readers:
        beams.append(reader.read())
        spots += sum(len(layer.meterset_mu) for layer in beams[-1].layers)
        if spots > MAX_SPOTS:
            raise InputRefusedError(
                f"the plan has more than {MAX_SPOTS} spots",
                remedy="Recalculate it in parts.",
                code=ErrorCode.TOO_LARGE,
            )
    return tuple(beams)


def _source_distances(readers: list[IonBeamReader]) -> tuple[float, float] | None:
    given = [(r.number, d) for r in readers if (d := r.source_distances_mm()) is not None]
    if not given:
        return None
    (first, wanted), *others = given
    for number, found in others:
        if max(abs(a - b) for a, b in zip(found, wanted, strict=True)) > SOURCE_TOLERANCE_MM:
            raise unsupported(
                f"beams {first} and {number} have other {tag_name('VirtualSourceAxisDistances')}: {wanted[0]:g}, "
                f"{wanted[1]:g} and {found[0]:g}, {found[1]:g} mm; one machine computes them all",
                "Recalculate plans whose beams are of one machine.",
            )
    return wanted


ION_PLAN = PlanKind("The RT Ion Plan", RTIonPlanStorage, "IonBeamSequence", _read_beams)
