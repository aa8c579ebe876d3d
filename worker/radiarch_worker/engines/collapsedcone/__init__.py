"""A collapsed cone for photons: what a beam releases, and where cones about it carry the energy."""

from .dose import Field, compute_dose, gy_per_mu, water_depth_dose, water_dose
from .fluence import Aperture, fluence_map
from .plan import beam_fields, plan_dose

__all__ = [
    "Aperture",
    "Field",
    "beam_fields",
    "compute_dose",
    "fluence_map",
    "gy_per_mu",
    "plan_dose",
    "water_depth_dose",
    "water_dose",
]
