"""Independent recalculation: reading plans of other systems, and their dose computed anew."""

from .compute import Recomputed, recompute
from .ion_plan import ReadIonPlan, read_ion_plan
from .photon_plan import ReadPhotonPlan, read_photon_plan
from .read_plan import ReadPlan

__all__ = [
    "ReadIonPlan",
    "ReadPhotonPlan",
    "ReadPlan",
    "Recomputed",
    "read_ion_plan",
    "read_photon_plan",
    "recompute",
]
