"""The RT Plan object of photons; its items live in `content`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydicom.uid import RTPlanStorage
from pydicom.valuerep import DSfloat

from radiarch_worker.dicom.treatment_plan import TreatmentPlan
from radiarch_worker.model import PlanResult
from radiarch_worker.photon import Linac, photon_beams

from .content import beam_item, checked_beam, meterset


class RTPhotonPlan(TreatmentPlan):
    """A photon plan as it was planned: static fields, step and shoot or arcs, UNAPPROVED.

    Positions and angles are rounded (`PhotonBeam.as_written`). The final cumulative meterset weight is the beam's MU
    for one fraction, so that ``weight * BeamMeterset / FinalCumulativeMetersetWeight`` is the weight itself.
    """

    SOP_CLASS: ClassVar[str] = RTPlanStorage
    TREATMENT_PROTOCOLS: ClassVar[str] = "Photons"

    def _add_beams(self, plan: PlanResult, description: str) -> Mapping[int, DSfloat]:
        assert isinstance(plan.machine, Linac)
        beams = [checked_beam(beam.as_written()) for beam in photon_beams(plan)]
        self.BeamSequence = [beam_item(beam, plan.machine, description) for beam in beams]
        return {beam.number: meterset(beam) for beam in beams}
