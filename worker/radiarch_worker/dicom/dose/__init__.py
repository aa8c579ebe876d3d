"""The RT Dose IOD (DICOM PS3.3 A.18)."""

from .difference import RTDoseDifference
from .sop import RTDose

__all__ = ["RTDose", "RTDoseDifference"]
