"""The energy fluence of one aperture at the isocenter plane, as the machine's file describes source, leaves and jaws.

The beam's coordinates are those of the collimator (IEC 61217 BEAM LIMITING DEVICE), scaled to the isocenter plane. All
edges are blurred by Gaussians, so that a map is a sum of products of error functions, and exact at every point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from radiarch_worker.machines.photon_machine import PhotonEnergy, PhotonMachineFile

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]

_WIDE = 1e4


@dataclass(frozen=True)
class Aperture:
    """What leaves and jaws leave open, at the isocenter plane.

    Attributes
    ----------
    leaves_mm : (2, pairs) positions along X of the bank at smaller X and of the one at larger X; None where there is
        no multileaf collimator in the beam
    jaws_x_mm, jaws_y_mm : positions of the two jaws; None where nothing limits the field
    """

    leaves_mm: FloatArray | None = None
    jaws_x_mm: Interval | None = None
    jaws_y_mm: Interval | None = None

    def box(self, machine: PhotonMachineFile) -> tuple[Interval, Interval]:
        """The smallest rectangle, X and Y, that holds what is open."""
        x, y = self.jaws_x_mm or (-_WIDE, _WIDE), self.jaws_y_mm or (-_WIDE, _WIDE)
        if self.leaves_mm is not None:
            edges = np.asarray(machine.mlc.boundaries_mm)
            low, high = np.maximum(self.leaves_mm[0], x[0]), np.minimum(self.leaves_mm[1], x[1])
            is_open = (high > low) & (edges[:-1] < y[1]) & (edges[1:] > y[0])
            if not is_open.any():
                return (0.0, 0.0), (0.0, 0.0)
            x = float(low[is_open].min()), float(high[is_open].max())
            y = max(y[0], float(edges[:-1][is_open].min())), min(y[1], float(edges[1:][is_open].max()))
        return x, y


@dataclass(frozen=True)
class Blur:
    """Standard deviations of edges at the isocenter plane, along X and Y, of leaves and of jaws."""

    leaves_mm: tuple[float, float]
    jaws_mm: tuple[float, float]


def fluence_map(
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    aperture: Aperture,
    x_mm: FloatArray,
    y_mm: FloatArray,
    voxel_mm: float = 0.0,
) -> FloatArray:
    """Energy fluence relative to that on the axis with everything open.

    Parameters
    ----------
    x_mm, y_mm : of the map's columns and rows at the isocenter plane
    voxel_mm : edge of the voxels that the map is averaged over

    Returns
    -------
    (len(y_mm), len(x_mm))
    """
    spot, extra = energy.source_spot_mm, energy.extra_focal
    axis_mm = machine.source_axis_distance_mm
    voxel = voxel_mm / math.sqrt(12.0)

    def projected(distance_mm: float) -> tuple[float, float]:
        scale = (axis_mm - distance_mm) / distance_mm
        return (math.hypot(spot[0] * scale, voxel), math.hypot(spot[1] * scale, voxel))

    jaw_mm = [jaws.distance_mm for jaws in (machine.jaws_x, machine.jaws_y) if jaws is not None]
    nearest = min(jaw_mm, default=machine.mlc.distance_mm)
    blur = Blur(projected(machine.mlc.distance_mm), projected(nearest))
    radius = np.hypot(x_mm[None, :], y_mm[:, None])
    table = np.asarray(energy.off_axis)
    direct = transmitted(machine, aperture, x_mm, y_mm, blur) * np.interp(radius, table[:, 0], table[:, 1])
    jaws = Aperture(None, aperture.jaws_x_mm, aperture.jaws_y_mm)
    scattered = _from_behind(machine, energy, jaws, x_mm, y_mm, nearest)
    if aperture.leaves_mm is not None:
        # what leaves and jaws leave of the wide source to a point mostly lies one in the other: the smaller counts
        leaves = Aperture(aperture.leaves_mm)
        scattered = np.minimum(scattered, _from_behind(machine, energy, leaves, x_mm, y_mm, machine.mlc.distance_mm))
    total: FloatArray = (1 - extra.share) * direct + extra.share * scattered
    return total


def _from_behind(
    machine: PhotonMachineFile,
    energy: PhotonEnergy,
    aperture: Aperture,
    x_mm: FloatArray,
    y_mm: FloatArray,
    plane_mm: float,
) -> FloatArray:
    """Share of the source behind the opening that points see through an aperture, which is projected from its plane."""
    extra, axis_mm = energy.extra_focal, machine.source_axis_distance_mm
    reach = axis_mm - extra.distance_mm
    seen = (plane_mm - extra.distance_mm) / reach * axis_mm / plane_mm
    wide = extra.sigma_mm * (axis_mm - plane_mm) / reach * axis_mm / plane_mm
    return transmitted(machine, aperture, seen * x_mm, seen * y_mm, Blur((wide, wide), (wide, wide)))


def transmitted(
    machine: PhotonMachineFile, aperture: Aperture, x_mm: FloatArray, y_mm: FloatArray, blur: Blur
) -> FloatArray:
    """Share of the fluence that leaves and jaws let through, with blurred edges."""
    x, y = aperture.jaws_x_mm or (-_WIDE, _WIDE), aperture.jaws_y_mm or (-_WIDE, _WIDE)
    jaws = np.outer(_between(y_mm, y, blur.jaws_mm[1], blur.jaws_mm[1]), _between(x_mm, x, *2 * (blur.jaws_mm[0],)))
    known = [j.transmission for j in (machine.jaws_x, machine.jaws_y) if j is not None]
    through_jaws = max(known, default=0.0)
    if aperture.leaves_mm is None:
        open_field: FloatArray = jaws + through_jaws * (1 - jaws)
        return open_field
    closed = machine.mlc.transmission
    rows = _openings(machine, aperture.leaves_mm)
    leaves = _sum_of(rows, x_mm, y_mm, (-_WIDE, _WIDE), (-_WIDE, _WIDE), blur)
    both = _sum_of(rows, x_mm, y_mm, x, y, blur)
    inside = both + closed * (jaws - both)
    outside = leaves - both + closed * (1 - jaws - leaves + both)
    total: FloatArray = inside + through_jaws * outside
    return total


def _openings(machine: PhotonMachineFile, leaves_mm: FloatArray) -> FloatArray:
    """(n, 5): weight, y from, y to, x from, x to of the rectangles whose sum is open.

    A leaf's tongue reaches half its width over the border to the neighbor, where it lets through the root of a whole
    leaf's transmission.
    """
    mlc = machine.mlc
    low, high = leaves_mm[0] - mlc.leaf_offset_mm, leaves_mm[1] + mlc.leaf_offset_mm
    shut = leaves_mm[1] - leaves_mm[0] <= 1e-6  # tips that touch: what passes between rounded ends is transmission
    high = np.where(shut, low, np.maximum(high, low))
    edges = np.asarray(mlc.boundaries_mm)
    half = mlc.tongue_mm / 2
    inner = edges[1:-1]
    first, last = edges[:-1].copy(), edges[1:].copy()
    first[1:] += half
    last[:-1] -= half
    rows = [np.stack([np.ones(len(low)), first, last, low, high], axis=1)]
    if half > 0:
        thin = math.sqrt(mlc.transmission)
        strip = (inner - half, inner + half)
        common = np.maximum(low[:-1], low[1:]), np.minimum(high[:-1], high[1:])
        for weight, begin, end in (
            (thin, low[:-1], high[:-1]),
            (thin, low[1:], high[1:]),
            (1 - 2 * thin, common[0], np.maximum(common[0], common[1])),
        ):
            rows.append(np.stack([np.full(len(inner), weight), *strip, begin, end], axis=1))
    found = np.concatenate(rows)
    kept: FloatArray = found[found[:, 4] > found[:, 3]]
    return kept


def _sum_of(
    rows: FloatArray, x_mm: FloatArray, y_mm: FloatArray, jaws_x: Interval, jaws_y: Interval, blur: Blur
) -> FloatArray:
    """Sum of rectangles, cut by the jaws; each edge has the blur of what makes it."""
    weight, y0, y1, x0, x1 = rows.T
    sigma = [
        np.where(jaw, blur.jaws_mm[axis], blur.leaves_mm[axis])
        for axis, jaw in ((1, y0 < jaws_y[0]), (1, y1 > jaws_y[1]), (0, x0 < jaws_x[0]), (0, x1 > jaws_x[1]))
    ]
    y0, y1 = np.maximum(y0, jaws_y[0]), np.minimum(y1, jaws_y[1])
    x0, x1 = np.maximum(x0, jaws_x[0]), np.minimum(x1, jaws_x[1])
    used = (y1 > y0) & (x1 > x0)
    weight, y0, y1, x0, x1 = (v[used] for v in (weight, y0, y1, x0, x1))
    sigma = [s[used] for s in sigma]
    along_y = ndtr((y_mm[:, None] - y0) / sigma[0]) - ndtr((y_mm[:, None] - y1) / sigma[1])
    along_x = ndtr((x_mm[:, None] - x0) / sigma[2]) - ndtr((x_mm[:, None] - x1) / sigma[3])
    total: FloatArray = (along_y * weight) @ along_x.T
    return total


def _between(at_mm: FloatArray, interval: Interval, sigma_low: float, sigma_high: float) -> FloatArray:
    inside: FloatArray = ndtr((at_mm - interval[0]) / sigma_low) - ndtr((at_mm - interval[1]) / sigma_high)
    return inside
