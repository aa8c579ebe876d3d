"""Synthetic patients drawn from analytic shapes, as valid DICOM: CT series and RTSTRUCT; `faults` makes them bad."""

from .box import box
from .pelvis import pelvis
from .shapes import Box, Cylinder, Ellipsoid, Shape
from .sites import SITES, site
from .study import PhantomRoi, PhantomStudy, file_bytes

__all__ = [
    "SITES",
    "Box",
    "Cylinder",
    "Ellipsoid",
    "PhantomRoi",
    "PhantomStudy",
    "Shape",
    "box",
    "file_bytes",
    "pelvis",
    "site",
]
