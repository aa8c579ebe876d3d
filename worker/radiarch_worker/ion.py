"""The frozen types that plans of scanned protons have of their own; what all plans have is in `model`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .model import Beam, FloatVolume, Grid, Machine, PlanResult, beams_of


@dataclass(frozen=True)
class Layer:
    """One energy layer; positions at the isocenter plane, IEC gantry (beam's eye) coordinates.

    Attributes
    ----------
    x_mm, y_mm : (n,) float64
    meterset_mu : (n,) float64, for one fraction
    spot_fwhm_mm : (x, y) full width at half maximum in air at the isocenter, where the machine data has it
    """

    energy_mev: float
    x_mm: npt.NDArray[np.float64]
    y_mm: npt.NDArray[np.float64]
    meterset_mu: npt.NDArray[np.float64]
    spot_fwhm_mm: tuple[float, float] | None = None


@dataclass(frozen=True)
class RangeShifter:
    """A slab in the beam before the patient that takes range from every layer.

    Attributes
    ----------
    id : the machine's name of it
    water_equivalent_mm : thickness in water
    isocenter_distance_mm : from the isocenter to its side towards the patient
    """

    id: str
    water_equivalent_mm: float
    isocenter_distance_mm: float


@dataclass(frozen=True)
class IonBeam(Beam):
    """A deliverable pencil-beam scanning beam; layers from the highest energy down."""

    layers: tuple[Layer, ...]
    range_shifter: RangeShifter | None = None


@dataclass(frozen=True)
class IonMachine(Machine):
    """What of a proton machine is written into a plan."""

    virtual_source_axis_distance_mm: tuple[float, float]
    snout_position_mm: float


@dataclass(frozen=True)
class Let:
    """Dose-averaged LET of protons (primary and secondary), in water of unit density.

    Attributes
    ----------
    kev_um : (Z, Y, X) float32, keV/um; 0 where it is not reported
    dose_floor : share of the highest dose below which it is not reported
    uncertainty_percent : 1 sigma, mean over the target's voxels
    """

    kev_um: FloatVolume
    grid: Grid
    dose_floor: float
    uncertainty_percent: float


def ion_beams(plan: PlanResult) -> tuple[IonBeam, ...]:
    """The beams of a proton plan; see `beams_of`."""
    return beams_of(plan, IonBeam, "protons")
