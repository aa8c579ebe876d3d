"""MCsquare, the Monte Carlo proton engine that ships in opentps-core: beamlets, dose, and a probe."""

from radiarch_contract.yaml_file import Problem

from .beamlets import BeamletResult, compute_beamlets
from .calibration import Calibration, calibration_for, load_calibration
from .calibration import library as calibration_library
from .ct import EngineCt, prepare_ct
from .dose import DoseResult, compute_dose, expected_protons
from .let import LetResult, compute_let
from .machine import ProtonMachine, load_machine, machine_problems
from .probe import probe
from .runs import RunSettings
from .spots import PlannedBeam, PlannedLayer, SpotPlan


def site_problems() -> tuple[Problem, ...]:
    """Mistakes in the site's files of calibrations and machines."""
    return (*calibration_library().problems, *machine_problems())


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
    "expected_protons",
    "load_calibration",
    "load_machine",
    "prepare_ct",
    "probe",
    "site_problems",
]
