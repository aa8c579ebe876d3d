"""The RT Ion Plan object; its items live in `content`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydicom.uid import RTIonPlanStorage
from pydicom.valuerep import DSfloat

from radiarch_worker.dicom.treatment_plan import TreatmentPlan
from radiarch_worker.ion import IonMachine, ion_beams
from radiarch_worker.model import PlanResult

from .content import beam_item, encode_beam


class RTIonPlan(TreatmentPlan):
    """A pencil-beam scanning proton plan as it was planned: deliverable, and UNAPPROVED.

    Spot positions and metersets are float32 (VR FL); cumulative metersets are sums of those rounded
    values, and the final cumulative meterset weight is the beam's MU for one fraction, so that
    ``weight * BeamMeterset / FinalCumulativeMetersetWeight`` is the weight itself.
    """

    SOP_CLASS: ClassVar[str] = RTIonPlanStorage
    TREATMENT_PROTOCOLS: ClassVar[str] = "PencilBeamScanning"

    def _add_beams(self, plan: PlanResult, description: str) -> Mapping[int, DSfloat]:
        assert isinstance(plan.machine, IonMachine)
        beams = tuple(encode_beam(beam) for beam in ion_beams(plan))
        self.IonBeamSequence = [beam_item(beam, plan.machine, description) for beam in beams]
        return {beam.beam.number: beam.meterset_mu for beam in beams}
