"""MCsquare, the Monte Carlo proton engine that ships in opentps-core: beamlets, dose, and a probe."""

from .beamlets import BeamletResult, compute_beamlets
from .calibration import Calibration, calibration_for, load_calibration
from .ct import EngineCt, prepare_ct
from .dose import DoseResult, compute_dose
from .let import LetResult, compute_let
from .machine import ProtonMachine, load_machine
from .probe import probe
from .runs import RunSettings
from .spots import PlannedBeam, PlannedLayer, SpotPlan

__all__ = [
    "BeamletResult",
    "Calibration",
    "DoseResult",
    "EngineCt",
    "LetResult",
    "PlannedBeam",
    "PlannedLayer",
    "ProtonMachine",
    "RunSettings",
    "SpotPlan",
    "calibration_for",
    "compute_beamlets",
    "compute_dose",
    "compute_let",
    "load_calibration",
    "load_machine",
    "prepare_ct",
    "probe",
]
