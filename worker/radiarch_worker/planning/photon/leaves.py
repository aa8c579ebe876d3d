"""Fluence of apertures on the cells of the isocenter plane, and its derivative by the leaves' positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from radiarch_worker.engines.photonpencil import FluenceGrid
from radiarch_worker.machines.photon_machine import PhotonMachineFile

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aperture:
    """Leaves and jaws, mm in the isocenter plane on the axes of the collimator.

    Attributes
    ----------
    leaves_mm : (2, pairs) bank X1, then bank X2
    x_mm, y_mm : of the jaws, the one on the negative side first
    """

    leaves_mm: FloatArray
    x_mm: tuple[float, float]
    y_mm: tuple[float, float]


@dataclass(frozen=True)
class Head:
    """What of a machine's leaves and jaws shapes the fluence, on a grid of cells."""

    machine: PhotonMachineFile
    grid: FluenceGrid

    @property
    def pairs(self) -> int:
        return len(self.machine.mlc.boundaries_mm) - 1

    @cached_property
    def boundaries_mm(self) -> FloatArray:
        return np.asarray(self.machine.mlc.boundaries_mm, dtype=np.float64)

    @cached_property
    def shares(self) -> FloatArray:
        """(rows, pairs) share of each row of cells that lies under each pair."""
        edges, sides = self.grid.edges_mm, self.boundaries_mm
        low = np.maximum(edges[:-1, None], sides[:-1])
        high = np.minimum(edges[1:, None], sides[1:])
        shares: FloatArray = np.maximum(high - low, 0.0) / self.grid.cell_mm
        return shares

    def fluence(self, aperture: Aperture) -> FloatArray:
        """(rows, columns) relative fluence behind leaves and jaws, in the mean over each cell."""
        t = self.machine.mlc.transmission
        open_share = self.shares @ self._cover(aperture.leaves_mm)
        fluence: FloatArray = self._jaws(aperture) * (t + (1 - t) * open_share)
        return fluence

    def leaf_gradient(self, aperture: Aperture, slope: npt.NDArray[Any]) -> FloatArray:
        """(2, pairs) derivative by leaf positions of what has the derivative ``slope`` by fluence."""
        by_pair = self.by_pair(aperture, slope)
        offset = self.machine.mlc.leaf_offset_mm
        tips = aperture.leaves_mm + np.array([[-offset], [offset]])
        at = np.floor((tips - self.grid.edges_mm[0]) / self.grid.cell_mm).astype(np.int64)
        inside = (at >= 0) & (at < self.grid.cells)
        values = np.where(inside, np.take_along_axis(by_pair, np.clip(at.T, 0, self.grid.cells - 1), axis=1).T, 0.0)
        found: FloatArray = values * np.array([[-1.0], [1.0]]) / self.grid.cell_mm
        return found

    def by_pair(self, aperture: Aperture, slope: npt.NDArray[Any]) -> FloatArray:
        """(pairs, columns) what is gained by opening the whole cell, for each pair."""
        gained: FloatArray = self.shares.T @ (slope * self._jaws(aperture)) * (1 - self.machine.mlc.transmission)
        return gained

    def _cover(self, leaves_mm: FloatArray) -> FloatArray:
        """(pairs, columns) open share of each cell."""
        offset = self.machine.mlc.leaf_offset_mm
        edges = self.grid.edges_mm
        low = np.maximum(edges[:-1], leaves_mm[0][:, None] - offset)
        high = np.minimum(edges[1:], leaves_mm[1][:, None] + offset)
        cover: FloatArray = np.maximum(high - low, 0.0) / self.grid.cell_mm
        return cover

    def _jaws(self, aperture: Aperture) -> FloatArray:
        """(rows, columns) what the jaws let through."""
        parts = []
        for jaws, opening in ((self.machine.jaws_y, aperture.y_mm), (self.machine.jaws_x, aperture.x_mm)):
            if jaws is None:
                parts.append(np.ones(self.grid.cells))
                continue
            edges = self.grid.edges_mm
            inside = np.minimum(edges[1:], opening[1]) - np.maximum(edges[:-1], opening[0])
            parts.append(jaws.transmission + (1 - jaws.transmission) * np.maximum(inside, 0.0) / self.grid.cell_mm)
        return parts[0][:, None] * parts[1]
