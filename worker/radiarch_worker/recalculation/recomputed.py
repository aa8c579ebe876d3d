"""What computing a plan anew gives, whichever the modality."""

from __future__ import annotations

from dataclasses import dataclass

from radiarch_contract.job import MachineScale

from radiarch_worker.model import FloatVolume, PlanResult

from .meterset import Source


@dataclass(frozen=True)
class Recomputed:
    """A plan computed anew.

    Attributes
    ----------
    plan : beams as read, and the computed dose, scaled
    beams_gy : (Z, Y, X) of each beam, on the dose's grid; they sum to the dose
    scale : factor on the meterset: protons per MU of the plan's machine over those of the beam data
    source : where the factor comes from
    machine_scale : the factor as a property of the plan's machine, where it was derived
    uncertainty_in : where the statistical uncertainty was measured; empty where the dose has none
    unconfirmed : data that the site has not confirmed
    """

    plan: PlanResult
    beams_gy: tuple[FloatVolume, ...]
    scale: float
    source: Source
    machine_scale: MachineScale | None
    uncertainty_in: str
    unconfirmed: tuple[str, ...]
