"""Dose pictures of a plan: their planes, and where Orthanc keeps them beside the RT Dose; drawing is the worker's."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Plane(StrEnum):
    """A plane through the isocenter."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


ATTACHMENTS: Mapping[Plane, int] = {Plane.AXIAL: 1101, Plane.CORONAL: 1102, Plane.SAGITTAL: 1103}
"""Orthanc's numbers of the attachments of an RT Dose that are its pictures, PNG; registered as UserContentType in
Orthanc's configuration, and stored, so never change one."""
