"""Point kernels as cones: directions about a beam, and how much of the released energy each takes how far."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from radiarch_worker.engines.photonkernels import BeamQuality

FloatArray = npt.NDArray[np.float64]

_RINGS = (0, 4, 8, 13, 20, 30, 48)
"""Edges of the polar rings among the kernels' 48 cones; narrow ones forward, where most of the energy goes."""
_AZIMUTHS = 8
_HARDENED_AT_G_CM2 = 7.0
"""Depth of the spectrum whose kernel is used; how much primary and scatter are at other depths follows the TERMA."""
TERMS = 3
"""Exponentials of a cone: one of the primary electrons, two of the scatter."""


@dataclass(frozen=True)
class Cones:
    """The kernel of a spectrum in rings about a beam.

    Attributes
    ----------
    polar_cos : (rings,) cosine of the mean angle to the beam
    share : (rings, TERMS) of the energy released (by primary; by scatter) that one direction of the ring takes
    slope_cm2_g : (rings, TERMS) ``a`` of the share ``a exp(-a r)`` that stays at r (g/cm²)
    azimuths : directions in each ring
    """

    polar_cos: FloatArray
    share: FloatArray
    slope_cm2_g: FloatArray
    azimuths: int = _AZIMUTHS

    def directions(self, beam: FloatArray) -> FloatArray:
        """(rings, azimuths, 3) unit vectors about the direction ``beam``; neighboring rings are turned half a step."""
        x, y = _across(beam)
        rings = np.arange(len(self.polar_cos))
        turn = 2 * np.pi * (np.arange(self.azimuths)[None] + 0.5 * (rings % 2)[:, None] + 0.25) / self.azimuths
        cos = self.polar_cos[:, None, None]
        across = np.cos(turn)[..., None] * x + np.sin(turn)[..., None] * y
        result: FloatArray = cos * beam + np.sqrt(1 - cos**2) * across
        return result


def _across(beam: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two vectors across a beam; they depend on its direction alone."""
    other = np.eye(3)[int(np.argmin(np.abs(beam)))]
    x = np.cross(beam, other)
    x /= np.linalg.norm(x)
    return x, np.cross(beam, x)


def cones(quality: BeamQuality) -> Cones:
    """Fit the cones of a spectrum.

    Primary and scatter have sources of their own, so that a beam that hardens moves energy from scatter to primary.
    """
    kernels = quality.kernels
    primary = quality.primary_kernel(_HARDENED_AT_G_CM2)
    scatter = quality.kernel(_HARDENED_AT_G_CM2) - primary
    edges = np.cos(np.radians(np.concatenate(([0.0], kernels.angles_deg))))
    middle = (edges[1:] + edges[:-1]) / 2
    radii = kernels.radii_mm / 10.0
    polar, share, slope = [], [], []
    for first, stop in pairwise(_RINGS):
        energy = (primary + scatter)[first:stop].sum(axis=1)
        polar.append(float(energy @ middle[first:stop] / energy.sum()))
        parts = (
            _one_exponential(radii, primary[first:stop].sum(axis=0)),
            *_two_exponentials(radii, scatter[first:stop].sum(axis=0)),
        )
        share.append([w / _AZIMUTHS for w, _ in parts])
        slope.append([a for _, a in parts])
    shares = np.array(share)
    shares[:, 0] /= primary.sum()
    shares[:, 1:] /= scatter.sum()
    return Cones(np.array(polar), shares, np.array(slope))


def _one_exponential(radii_cm: FloatArray, stays: FloatArray) -> tuple[float, float]:
    """Energy and slope with which all of the energy stays, and at the same mean distance."""
    middle = radii_cm - np.diff(np.concatenate(([0.0], radii_cm))) / 2
    return float(stays.sum()), float(stays.sum() / (stays @ middle))


def _two_exponentials(radii_cm: FloatArray, stays: FloatArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Energies and slopes that best give what stays within each radius.

    Scatter stays rather evenly near the point and falls off far from it: the nearer exponential takes away (its energy
    is negative), but nowhere more than the other one brings.
    """
    cumulative = np.cumsum(stays)
    weight = 1 / (cumulative + 0.05 * cumulative[-1])
    target = weight * cumulative
    slopes = np.geomspace(0.02, 4.0, 90)
    terms = weight[:, None] * (1 - np.exp(-radii_cm[:, None] * slopes))
    products, onto = terms.T @ terms, terms.T @ target
    far, near = np.triu_indices(len(slopes), 2)
    determinant = products[far, far] * products[near, near] - products[far, near] ** 2
    first = (onto[far] * products[near, near] - onto[near] * products[far, near]) / determinant
    second = (onto[near] * products[far, far] - onto[far] * products[far, near]) / determinant
    allowed = (first > 0) & (first * slopes[far] + second * slopes[near] >= 0)
    if not allowed.any() or not cumulative[-1] > 0:  # nothing is scattered there
        return (0.0, 1.0), (0.0, 1.0)
    gain = np.where(allowed, first * onto[far] + second * onto[near], -np.inf)
    best = int(np.argmax(gain))
    return (float(first[best]), float(slopes[far[best]])), (float(second[best]), float(slopes[near[best]]))
