"""Reports for people: a plan as PDF, its dose on three planes as pictures. DICOM objects are written by `dicom`."""

from __future__ import annotations

from .document import Checked, Report, draw

__all__ = ["Checked", "Report", "draw"]
