"""Reading RT Plans of any system: photon beams with their apertures; nothing here is shared with what writes them."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import RTPlanStorage

from radiarch_worker.patient.attributes import Reader
from radiarch_worker.photon import PhotonBeam

from .beam_item import unsupported
from .photon_beam import PhotonBeamReader
from .read_plan import PlanKind, ReadBeams, ReadPlan, read_plan

ReadPhotonPlan = ReadPlan[PhotonBeam]
SOURCE_TOLERANCE_MM = 1.0


def read_photon_plan(dataset: Dataset) -> ReadPhotonPlan:
    """Read an RT Plan of photons; see `read_plan`."""
    return read_plan(dataset, PHOTON_PLAN)


def _read_beams(items: Sequence[tuple[Reader, int, str, float]]) -> ReadBeams[PhotonBeam]:
    readers = [PhotonBeamReader(*item) for item in items]
    beams = tuple(reader.read() for reader in readers)
    distances = {r.number: d for r in readers if (d := r.source_axis_distance_mm()) is not None}
    if distances and max(distances.values()) - min(distances.values()) > SOURCE_TOLERANCE_MM:
        found = ", ".join(f"{mm:g} mm (beam {number})" for number, mm in list(distances.items())[:10])
        raise unsupported(
            f"the plan's beams have other (300A,00B4) Source-Axis Distances: {found}; one machine computes them all",
            "Recalculate plans whose beams are of one machine.",
        )
    distance = next(iter(distances.values()), None)
    return ReadBeams(beams, None if distance is None else (distance, distance))


PHOTON_PLAN = PlanKind("The RT Plan", RTPlanStorage, "BeamSequence", _read_beams)
