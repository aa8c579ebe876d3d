"""A target drawn by hand in a block of water: any contours, on any planes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from phantoms import Box, Cylinder, PhantomRoi, PhantomStudy, faults
from phantoms.study import make_study

Floats = npt.NDArray[np.float64]
Drawing = Sequence[tuple[float, Floats]]
"""(z_mm, (n, 2) xy mm) of each contour."""

SPACING_MM = (2.0, 2.0, 3.0)
SLICES_MM = tuple(3.0 * k - 36.0 for k in range(25))
"""z of the CT's slices."""


@functools.cache
def _block() -> PhantomStudy:
    hu = np.full((25, 60, 60), -1000, dtype=np.float32)
    hu[:, 4:-4, 4:-4] = 0
    return make_study(
        hu,
        [
            PhantomRoi("BODY", Box((0.0, 0.0, 0.0), (104.0, 104.0, 1000.0)), "EXTERNAL", (0, 255, 0)),
            PhantomRoi("PTV", Cylinder((0.0, 0.0, 0.0), (20.0, 20.0), 45.0), "PTV", (255, 0, 0)),
        ],
        origin_mm=(-59.0, -59.0, -36.0),
        spacing_mm=SPACING_MM,
        patient_id="DRAWN",
        patient_name="Drawn^By^Hand",
        study_description="",
        series_description="",
        seed="drawings",
    )


def drawing(target: Drawing | None = None, *, body: Drawing | None = None) -> PhantomStudy:
    """The block with contours of its target (ROI 2) and outline (ROI 1); images are shared, and must not be changed."""
    block = _block()
    study = PhantomStudy(block.images, copy.deepcopy(block.rtstruct), block.shapes)
    for name, drawn in (("PTV", target), ("BODY", body)):
        if drawn is not None:
            faults.contours_of(study, name).ContourSequence = [_contour(z, xy) for z, xy in drawn]
    return study


def _contour(z_mm: float, xy_mm: Floats) -> Dataset:
    """A closed contour as it comes from a file, not yet decoded: pydicom takes a while to encode numbers."""
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(xy_mm)
    text = "\\".join(f"{v:.3f}" for x, y in xy_mm for v in (x, y, z_mm)).encode()
    contour[0x30060050] = RawDataElement(Tag(0x30060050), "DS", len(text), text, 0, False, True)
    return contour


def circle(radius_mm: float, *, at_mm: tuple[float, float] = (0.0, 0.0), points: int = 72) -> Floats:
    angle = 2 * np.pi * np.arange(points) / points
    return np.asarray(np.asarray(at_mm) + radius_mm * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Floats:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)


def stack(*outlines: Floats, heights_mm: Sequence[float] = SLICES_MM[6:-6]) -> list[tuple[float, Floats]]:
    """The same outlines on each plane."""
    return [(z, xy) for z in heights_mm for xy in outlines]
