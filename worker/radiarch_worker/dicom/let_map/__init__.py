"""LET as a Parametric Map (DICOM PS3.3 A.75)."""

from .sop import LetMap

__all__ = ["LetMap"]
