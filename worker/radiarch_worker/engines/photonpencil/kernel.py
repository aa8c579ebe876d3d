"""The pencil kernel of a spectrum in water, and the few products of depth and place that stand for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from radiarch_worker.engines.photonkernels import BeamQuality

FloatArray = npt.NDArray[np.float64]

DEPTH_STEP_MM = 2.0
DEPTHS = 251
"""0 to 500 mm of water; deeper counts as that."""
_REACH_MM = 600.0
"""Radius of the point kernels."""
_RADII_MM = np.concatenate(([0.0], np.geomspace(0.05, 400.0, 48)))
_ALONG = 480
"""Points at which the release along the pencil is sampled for each radius."""
_NEAR_CELLS = 3
_NEAR_PARTS = 8


@dataclass(frozen=True)
class PencilKernel:
    """Dose in water around an infinitely thin beam, for one unit of energy fluence times area (cm²) in air.

    Attributes
    ----------
    radii_mm : (R,) from the beam's axis, from 0
    density : (D, R) g⁻¹ cm⁻² … at depths of `DEPTH_STEP_MM`; that of radius 0 stands for the first radius
    within : (D, R) its integral over the disk of each radius, g⁻¹
    """

    radii_mm: FloatArray
    density: FloatArray
    within: FloatArray


@dataclass(frozen=True)
class DepthTerms:
    """Σ of depth weight times cell kernel, for one distance from source to surface.

    Attributes
    ----------
    weights : (D, T) float32 at depths of `DEPTH_STEP_MM`
    cells : (T, n + 1, n + 1) share of a cell's fluence at offsets 0 … n in rows and columns; symmetric
    """

    weights: npt.NDArray[np.float32]
    cells: FloatArray


def pencil_kernel(quality: BeamQuality) -> PencilKernel:
    """Integrate the point kernels of each energy along the beam's axis from the surface of a half-space of water."""
    depths_cm = DEPTH_STEP_MM / 10 * np.arange(DEPTHS)
    density = np.zeros((DEPTHS, len(_RADII_MM)))
    spread = _radial_density(quality)
    for i, radius_mm in enumerate(_RADII_MM[1:], start=1):
        density[:, i] = _at_radius(quality, spread, radius_mm / 10, depths_cm)
    density[:, 0] = density[:, 1]
    return PencilKernel(_RADII_MM, density, _within(density))


def _radial_density(quality: BeamQuality) -> PchipInterpolator:
    """(E, A) energy for each cm of radius in each cone, from the shares of the shells."""
    kernels = quality.kernels
    edges_cm = np.concatenate(([0.0], kernels.radii_mm / 10))
    inside = np.concatenate((np.zeros((*kernels.total.shape[:2], 1)), np.cumsum(kernels.total, axis=2)), axis=2)
    return PchipInterpolator(edges_cm, inside, axis=2).derivative()


def _at_radius(quality: BeamQuality, spread: PchipInterpolator, radius_cm: float, depths_cm: FloatArray) -> FloatArray:
    """(D,) density at one radius: ∫ released(z') kernel(r, θ) dz', with z - z' = radius sinh(u) and dz' = r du."""
    kernels = quality.kernels
    end = np.arcsinh(_REACH_MM / 10 / radius_cm)
    edges = np.linspace(-end, end, _ALONG + 1)
    u = (edges[1:] + edges[:-1]) / 2
    ahead_cm, r_cm = radius_cm * np.sinh(u), radius_cm * np.cosh(u)
    cone_edges = np.cos(np.radians(np.concatenate(([0.0], kernels.angles_deg))))
    cone = np.clip(np.searchsorted(-cone_edges, -ahead_cm / r_cm) - 1, 0, len(kernels.angles_deg) - 1)
    solid = 2 * np.pi * (cone_edges[:-1] - cone_edges[1:])[cone]
    inside = r_cm < kernels.radii_mm[-1] / 10
    values = spread(np.minimum(r_cm, kernels.radii_mm[-1] / 10))  # (E, A, u)
    kernel = values[:, cone, np.arange(len(u))] * inside / (solid * r_cm) * (edges[1] - edges[0])  # times r du / r²
    total = np.zeros(len(depths_cm))
    released_at = depths_cm[:, None] - ahead_cm
    there = released_at >= 0
    for fluence, attenuation, along in zip(quality.energy_fluence, kernels.attenuation_cm2_g, kernel, strict=True):
        if fluence > 0:
            released = np.where(there, np.exp(-attenuation * np.maximum(released_at, 0.0)), 0.0)
            total += fluence * attenuation * (released @ along)
    return total


def _within(density: FloatArray) -> FloatArray:
    """Integral over disks: the density falls as a power of the radius from one to the next, as 1/ρ in the first."""
    radii = _RADII_MM / 10
    inside = np.zeros_like(density)
    inside[:, 1] = 2 * np.pi * radii[1] ** 2 * density[:, 1]
    for i in range(1, len(radii) - 1):
        low, high = np.maximum(density[:, i], 1e-30), np.maximum(density[:, i + 1], 1e-30)
        power = np.log(high / low) / np.log(radii[i + 1] / radii[i]) + 2
        power = np.where(np.abs(power) < 1e-6, 1e-6, power)
        ring = 2 * np.pi * low * radii[i] ** 2 * ((radii[i + 1] / radii[i]) ** power - 1) / power
        inside[:, i + 1] = inside[:, i] + ring
    return inside


def depth_terms(
    kernel: PencilKernel, cell_mm: float, cells: int, surface_mm: float, axis_mm: float, terms: int
) -> DepthTerms:
    """The kernel integrated over cells of the isocenter plane, by singular values.

    Kernels grow in that plane with the beam's divergence: a cell is larger behind it and smaller before it.

    Parameters
    ----------
    cells : largest offset
    surface_mm, axis_mm : from the source to the surface and to the isocenter
    terms : products that are kept
    """
    found = _cells_by_depth(kernel, cell_mm, cells, surface_mm / axis_mm, axis_mm)
    total = found[:, 0, 0] + 2 * (found[:, 1:, 0].sum(axis=1) + found[:, 0, 1:].sum(axis=1))
    total += 4 * found[:, 1:, 1:].sum(axis=(1, 2))
    flat = (found / total[:, None, None]).reshape(DEPTHS, -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    left = vectors[:, np.argsort(values)[::-1][:terms]]
    left = left * np.where(left.sum(axis=0) < 0, -1.0, 1.0)
    right = (left.T @ flat).reshape(terms, cells + 1, cells + 1)
    return DepthTerms((left * total[:, None]).astype(np.float32), right)


def _cells_by_depth(kernel: PencilKernel, cell_mm: float, cells: int, surface: float, axis_mm: float) -> FloatArray:
    """(D, n + 1, n + 1) what a cell's fluence gives at each offset, cells as large as they are at each depth."""
    found = np.empty((DEPTHS, cells + 1, cells + 1))
    offsets = np.arange(cells + 1.0)
    far = np.hypot(offsets[:, None], offsets)
    parts = (np.arange(_NEAR_PARTS) + 0.5) / _NEAR_PARTS - 0.5
    near = np.arange(_NEAR_CELLS + 1)[:, None] + parts
    near_radii = np.hypot(near[:, None, :, None], near[None, :, None, :])
    angles = (np.arange(32) + 0.5) / 32 * np.pi / 4
    logs = np.log(np.maximum(kernel.radii_mm[1:], 1e-9))
    for d in range(DEPTHS):
        size_mm = cell_mm * (surface + d * DEPTH_STEP_MM / axis_mm)
        area_cm2 = (size_mm / 10) ** 2
        values = np.log(np.maximum(kernel.density[d, 1:], 1e-30))
        found[d] = np.exp(np.interp(np.log(np.maximum(far, 0.5) * size_mm), logs, values)) * area_cm2
        sampled = np.exp(np.interp(np.log(np.maximum(near_radii, 1e-3) * size_mm), logs, values)).mean(axis=(2, 3))
        found[d, : _NEAR_CELLS + 1, : _NEAR_CELLS + 1] = sampled * area_cm2
        to_edge_mm = size_mm / 2 / np.cos(angles)
        found[d, 0, 0] = np.interp(to_edge_mm, kernel.radii_mm, kernel.within[d]).mean()
    return found


_made: dict[tuple[str, bytes], PencilKernel] = {}


def kernel_of(quality: BeamQuality) -> PencilKernel:
    """The pencil kernel of a spectrum, made once in a process."""
    key = (quality.kernels.digest, quality.energy_fluence.tobytes())
    if key not in _made:
        _made[key] = pencil_kernel(quality)
    return _made[key]
