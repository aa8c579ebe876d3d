"""Independent recalculation: reading RT Ion Plans of other systems, and their dose computed anew."""

from .compute import Recomputed, beam_results, recompute
from .ion_plan import ReadPlan, read_ion_plan

__all__ = ["ReadPlan", "Recomputed", "beam_results", "read_ion_plan", "recompute"]
