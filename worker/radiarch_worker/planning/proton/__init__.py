"""Planning with scanned protons: spots, layers, beamlets, LET; what every modality shares is in `planning`."""

from __future__ import annotations

from radiarch_contract.job import BeamResult
from radiarch_contract.workflows import ProtonParameters

from radiarch_worker.ion import IonBeam
from radiarch_worker.planning.modality import Modality

from .impt import plan_basic, plan_optimized
from .robust import plan_robust
from .steps import ProtonJob
from .warm_up import warm_up

__all__ = ["PROTON"]


def _beam_result(beam: IonBeam) -> BeamResult:
    energies = [layer.energy_mev for layer in beam.layers]
    return BeamResult(
        number=beam.number,
        name=beam.name,
        gantry_deg=beam.gantry_deg,
        couch_deg=beam.couch_deg,
        isocenter_mm=beam.isocenter_mm,
        layers=len(beam.layers),
        spots=sum(len(layer.meterset_mu) for layer in beam.layers),
        energy_min_mev=min(energies),
        energy_max_mev=max(energies),
        meterset_mu=float(sum(layer.meterset_mu.sum() for layer in beam.layers)),
    )


PROTON = Modality(
    parameters=ProtonParameters,
    job=ProtonJob,
    workflows={
        "proton-impt-basic": plan_basic,
        "proton-impt-optimized": plan_optimized,
        "proton-robust": plan_robust,
    },
    beam=IonBeam,
    beam_result=_beam_result,
    warm_up=warm_up,
)
