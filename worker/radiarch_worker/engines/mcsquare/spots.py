"""Spots as the engine's runs see them, with fast selection; how they are chosen is planning's business."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radiarch_worker.ion import RangeShifter
from radiarch_worker.model import Vector3

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlannedLayer:
    """Spots of one energy.

    Attributes
    ----------
    x_mm, y_mm : (n,) at the isocenter plane, IEC gantry coordinates
    """

    energy_mev: float
    x_mm: FloatArray
    y_mm: FloatArray

    def __len__(self) -> int:
        return len(self.x_mm)


@dataclass(frozen=True)
class PlannedBeam:
    """A beam's geometry and layers; angles IEC 61217, isocenter in patient LPS."""

    gantry_deg: float
    couch_deg: float
    isocenter_mm: Vector3
    layers: tuple[PlannedLayer, ...]
    name: str = ""
    range_shifter: RangeShifter | None = None


@dataclass(frozen=True)
class SpotPlan:
    """Beams with spots in one fixed order: by beam, layer, spot. Weights live beside it, in that order."""

    beams: tuple[PlannedBeam, ...]

    @property
    def spot_count(self) -> int:
        return sum(len(layer) for beam in self.beams for layer in beam.layers)

    @property
    def energies_mev(self) -> FloatArray:
        """Energy of each spot."""
        parts = [np.full(len(layer), layer.energy_mev) for beam in self.beams for layer in beam.layers]
        return np.concatenate(parts) if parts else np.zeros(0)

    def select(self, keep: npt.NDArray[np.bool_]) -> SpotPlan:
        """The plan with only the spots for which ``keep`` is true; layers and beams left empty are dropped."""
        beams = []
        at = 0
        for beam in self.beams:
            layers = []
            for layer in beam.layers:
                mask = keep[at : at + len(layer)]
                at += len(layer)
                if mask.any():
                    layers.append(PlannedLayer(layer.energy_mev, layer.x_mm[mask], layer.y_mm[mask]))
            if layers:
                beams.append(dataclasses.replace(beam, layers=tuple(layers)))
        return SpotPlan(tuple(beams))

    def slice(self, start: int, stop: int) -> SpotPlan:
        """Spots ``start`` to ``stop`` of the fixed order."""
        keep = np.zeros(self.spot_count, dtype=bool)
        keep[start:stop] = True
        return self.select(keep)
