"""Planning with photons: apertures, their leaves and MU; what every modality shares is in `planning`."""

from __future__ import annotations

from radiarch_contract.photon import PhotonParameters

from radiarch_worker.photon import PhotonBeam
from radiarch_worker.planning.modality import Modality

from .beam_result import photon_beam_result
from .imrt import plan_imrt
from .setup import PhotonJob
from .vmat import plan_vmat
from .warm_up import warm_up

__all__ = ["PHOTON"]

PHOTON = Modality(
    parameters=PhotonParameters,
    job=PhotonJob,
    workflows={"photon-imrt": plan_imrt, "photon-vmat": plan_vmat},
    beam=PhotonBeam,
    beam_result=photon_beam_result,
    warm_up=warm_up,
)
