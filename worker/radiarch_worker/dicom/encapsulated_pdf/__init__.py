"""The Encapsulated PDF IOD (DICOM PS3.3 A.45.1)."""

from .sop import EncapsulatedPDF

__all__ = ["EncapsulatedPDF"]
