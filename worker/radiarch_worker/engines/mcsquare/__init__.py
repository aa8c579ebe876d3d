"""MCsquare, the Monte Carlo proton engine that ships in opentps-core: beamlets, dose, and a probe."""

from .ct import EngineCt, prepare_ct
from .machine import Calibration, ProtonMachine, load_calibration, load_machine
from .probe import probe
from .simulation import (
    BeamletResult,
    DoseResult,
    RunSettings,
    compute_beamlets,
    compute_dose,
)
from .spots import PlannedBeam, PlannedLayer, SpotPlan

__all__ = [
    "BeamletResult",
    "Calibration",
    "DoseResult",
    "EngineCt",
    "PlannedBeam",
    "PlannedLayer",
    "ProtonMachine",
    "RunSettings",
    "SpotPlan",
    "compute_beamlets",
    "compute_dose",
    "load_calibration",
    "load_machine",
    "prepare_ct",
    "probe",
]
