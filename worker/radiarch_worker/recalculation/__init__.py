"""Independent recalculation: reading RT Ion Plans of other systems, and their dose computed anew."""

from .compute import Recomputed, recompute
from .ion_plan import ReadPlan, read_ion_plan

__all__ = ["ReadPlan", "Recomputed", "read_ion_plan", "recompute"]
