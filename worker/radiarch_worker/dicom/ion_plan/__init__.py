"""The RT Ion Plan IOD (DICOM PS3.3 A.49)."""

from .sop import RTIonPlan

__all__ = ["RTIonPlan"]
