"""What phantoms are painted with: tissues of one CT number each, laid over one another; anatomy lives elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .shapes import Ellipsoid, FloatArray, Shape

AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU = -1000.0, -750.0, -95.0, 45.0
SPONGIOSA_HU, CORTICAL_HU = 220.0, 750.0


@dataclass(frozen=True)
class Tissue:
    """One thing painted into the CT; later ones cover earlier ones."""

    shape: Shape
    hu: float
    unless: Shape | None = None


def bone(outer: Ellipsoid, cortex_mm: float) -> list[Tissue]:
    """Spongiosa in a cortex of the given thickness."""
    a, b, c = (s - cortex_mm for s in outer.semi_axes_mm)
    return [Tissue(outer, CORTICAL_HU), Tissue(Ellipsoid(outer.centre_mm, (a, b, c)), SPONGIOSA_HU)]


def paint(
    tissues: Sequence[Tissue], x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray, *, noise_hu: float
) -> npt.NDArray[np.float32]:
    """CT numbers at points, (Z, Y, X) HU: slightly blurred, with the same noise in every run."""
    hu = np.full(x_mm.shape, AIR_HU)
    for tissue in tissues:
        inside = tissue.shape.contains(x_mm, y_mm, z_mm)
        if tissue.unless is not None:
            inside &= ~tissue.unless.contains(x_mm, y_mm, z_mm)
        hu[inside] = tissue.hu
    hu = ndimage.gaussian_filter(hu, 0.4, mode="nearest")
    noise = np.random.default_rng(20250101).normal(0.0, noise_hu, hu.shape) if noise_hu else 0.0
    painted: npt.NDArray[np.float32] = np.clip(hu + noise, -1024, 3071).astype(np.float32)
    return painted
