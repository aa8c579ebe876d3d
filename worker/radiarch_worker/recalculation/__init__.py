"""Independent recalculation: reading plans of other systems, and their dose computed anew."""

from .compute import recompute
from .ion_plan import ReadIonPlan, read_ion_plan
from .modalities import Recalculation, recalculation_of
from .photon_plan import ReadPhotonPlan, read_photon_plan
from .read_plan import ReadPlan
from .recomputed import Recomputed

__all__ = [
    "ReadIonPlan",
    "ReadPhotonPlan",
    "ReadPlan",
    "Recalculation",
    "Recomputed",
    "read_ion_plan",
    "read_photon_plan",
    "recalculation_of",
    "recompute",
]
