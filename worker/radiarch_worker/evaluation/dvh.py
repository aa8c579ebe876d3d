"""From dose samples to DVH curves and metrics; sampling lives in `sampling`, judging in `goals`."""

from __future__ import annotations

import math

import numpy as np
from radiarch_contract.job import DvhCurve, StructureMetrics

from radiarch_worker.model import Structure

from .sampling import StructureDose

MIN_BINS = 1000
"""Bins from zero to the prescription, at least: a bin is at most 0.1 % of it."""


MAX_POINTS = 300_000
"""Of the curves of all structures together, about; see `coarser`."""


def coarser(structures: int) -> int:
    """How many times wider the bins are of structures that the request does not name, where there are hundreds of them.

    Their curves travel, are stored in a database and drawn in a browser. Metrics do not depend on bins.

    Examples
    --------
    >>> coarser(150), coarser(2000)
    (1, 10)
    """
    wanted = structures * 1.2 * MIN_BINS / MAX_POINTS
    return next((k for k in (1, 2, 5, 10, 20) if k >= wanted), 50)


def bin_width_gy(prescription_gy: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that gives `MIN_BINS` bins up to the prescription.

    Examples
    --------
    >>> bin_width_gy(76.0)
    0.05
    """
    width = prescription_gy / MIN_BINS
    decade = 10.0 ** math.floor(math.log10(width))
    step = next(m for m in (5, 2, 1) if m * decade <= width * (1 + 1e-9))
    return round(step * decade, 12)


def curve(structure: Structure, samples: StructureDose, width_gy: float) -> DvhCurve:
    """Cumulative DVH up to the first edge above the maximum.

    Volumes are of the whole structure: the curve starts below 100 % where part of the dose is unknown.
    """
    most_gy = float(samples.dose_gy[-1]) if samples.dose_gy.size else 0.0
    edges = np.round(np.arange(math.floor(most_gy / width_gy) + 2) * width_gy, 9)
    below = np.searchsorted(samples.dose_gy, edges.astype(np.float32), side="left")
    percent = 100.0 * samples.known_fraction * (1 - below / max(samples.dose_gy.size, 1))
    return DvhCurve(
        structure=structure.name,
        roi_number=structure.roi_number,
        volume_cc=samples.volume_cc,
        dose_gy=tuple(edges.tolist()),
        volume_percent=tuple(np.round(percent, 5).tolist()),
    )


def metrics(structure: Structure, samples: StructureDose) -> StructureMetrics:
    """Metrics of a structure whose dose is known everywhere."""
    d98, d95, d50, d2 = (dose_at_volume_gy(samples, v / 100) for v in (98, 95, 50, 2))
    return StructureMetrics(
        structure=structure.name,
        roi_number=structure.roi_number,
        volume_cc=samples.volume_cc,
        d_mean_gy=mean_gy(samples),
        d_min_gy=float(samples.dose_gy[0]),
        d_max_gy=float(samples.dose_gy[-1]),
        d98_gy=d98,
        d95_gy=d95,
        d50_gy=d50,
        d2_gy=d2,
    )


def mean_gy(samples: StructureDose) -> float:
    return float(samples.dose_gy.mean(dtype=np.float64))


def dose_at_volume_gy(samples: StructureDose, fraction: float) -> float:
    """Least dose in the hottest ``fraction`` of the volume, interpolated between samples (D95% for 0.95)."""
    # Each sample stands for the middle of its own part of the volume.
    place = min(max((1 - fraction) * samples.dose_gy.size - 0.5, 0.0), samples.dose_gy.size - 1.0)
    below = int(place)
    low, high = (float(samples.dose_gy[min(k, samples.dose_gy.size - 1)]) for k in (below, below + 1))
    return low + (place - below) * (high - low)


def volume_at_dose(samples: StructureDose, dose_gy: float) -> float:
    """Fraction of the volume that gets at least ``dose_gy``."""
    below = int(np.searchsorted(samples.dose_gy, np.float32(dose_gy), side="left"))
    return 1 - below / samples.dose_gy.size
