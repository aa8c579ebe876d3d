"""The RT Dose IOD (DICOM PS3.3 A.18)."""

from .content import add_dvh
from .difference import RTDoseDifference
from .sop import RTDose

__all__ = ["RTDose", "RTDoseDifference", "add_dvh"]
