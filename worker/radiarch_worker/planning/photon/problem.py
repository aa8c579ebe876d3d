"""What is minimised over apertures and their MU: penalties on pencil-beam dose, with exact derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.optimize
from radiarch_contract.errors import EngineError, ErrorCode

from radiarch_worker.engines.photonpencil import BeamView, PencilBeams
from radiarch_worker.machines.photon_machine import PhotonEnergy
from radiarch_worker.optimization import DoseTerm, penalties

from .leaves import Aperture, Head

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
OnIteration = Callable[[float, Mapping[str, float]], None]

_MEMORY = 20


@dataclass(frozen=True)
class Shape:
    """An aperture in one of the views, with its MU for one fraction."""

    view: int
    aperture: Aperture
    mu: float = 0.0


@dataclass(frozen=True)
class Values:
    """The objective and its derivatives.

    Attributes
    ----------
    by_mu : (shapes,)
    by_leaf : (shapes, 2, pairs) for each mm
    """

    value: float
    by_name: Mapping[str, float]
    by_mu: FloatArray
    by_leaf: FloatArray


@dataclass(frozen=True)
class ApertureProblem:
    """Penalties of the dose of shapes at the points of `beams`.

    Attributes
    ----------
    gy_per_unit : from the pencil beams' dose of one MU and fraction to the reported dose
    terms : their rows are points of ``beams``
    added_gy : (points,) what is added to the pencil beams' dose
    """

    beams: PencilBeams
    head: Head
    gy_per_unit: float
    terms: tuple[DoseTerm, ...]
    added_gy: Float32Array

    def dose_gy(self, shapes: Sequence[Shape]) -> Float32Array:
        """(points,) of the shapes with their MU, without what is added."""
        return self.beams.dose(self._fluence(shapes, [self.head.fluence(s.aperture) for s in shapes]))

    def each_gy(self, shapes: Sequence[Shape]) -> Float32Array:
        """(shapes, points) of one MU of each."""
        doses = np.empty((len(shapes), len(self.beams.points_mm)), dtype=np.float32)
        for i, shape in enumerate(shapes):
            fluence = self.head.fluence(shape.aperture)[None] * self.gy_per_unit
            doses[i] = self.beams.dose_of([shape.view], fluence)
        return doses

    def penalties(self, dose_gy: Float32Array) -> tuple[float, FloatArray, dict[str, float]]:
        """Value, derivative by dose, and each name's value."""
        value, slope, by_name = penalties(dose_gy + self.added_gy, self.terms)
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            raise EngineError(
                "the optimiser's objective is not finite",
                remedy="Check the objectives' doses and weights; report it with the job's log.",
                code=ErrorCode.OPTIMIZATION_FAILED,
            )
        return value, slope, by_name

    def by_fluence(self, slope: FloatArray, views: Sequence[int] | None = None) -> Float32Array:
        """(views, rows, columns) derivative by fluence of one MU, from that by dose; of some views, or of all."""
        return self.beams.gradient(slope * self.gy_per_unit, views)

    def evaluate(self, shapes: Sequence[Shape]) -> Values:
        """All derivatives at once."""
        fluences = [self.head.fluence(s.aperture) for s in shapes]
        value, slope, by_name = self.penalties(self.beams.dose(self._fluence(shapes, fluences)))
        maps = self.by_fluence(slope)
        by_mu = np.array([float((maps[s.view] * f).sum()) for s, f in zip(shapes, fluences, strict=True)])
        by_leaf = np.stack([s.mu * self.head.leaf_gradient(s.aperture, maps[s.view]) for s in shapes])
        return Values(value, by_name, by_mu, by_leaf)

    def _fluence(self, shapes: Sequence[Shape], fluences: Sequence[FloatArray]) -> FloatArray:
        cells = self.beams.grid.cells
        total = np.zeros((len(self.beams.views), cells, cells))
        for shape, fluence in zip(shapes, fluences, strict=True):
            total[shape.view] += shape.mu * self.gy_per_unit * fluence
        return total

    def solve_mu(
        self, doses_gy: Float32Array, start_mu: FloatArray, least_mu: float, iterations: int
    ) -> tuple[FloatArray, float]:
        """MU of shapes whose doses of one MU are known, and the objective."""
        scale = float(start_mu.mean()) or 1.0

        def function(x: FloatArray) -> tuple[float, FloatArray]:
            value, slope, _ = self.penalties((x * scale).astype(np.float32) @ doses_gy)
            return value, (doses_gy @ slope.astype(np.float32)).astype(np.float64) * scale

        found = minimize(function, start_mu / scale, least_mu / scale, np.inf, iterations)
        return found * scale, function(found)[0]


def minimize(
    function: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    low: FloatArray | float,
    high: FloatArray | float,
    iterations: int,
    on_iteration: Callable[[], None] | None = None,
) -> FloatArray:
    """L-BFGS-B within bounds."""
    result = scipy.optimize.minimize(
        function,
        np.clip(start, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(low, high),
        callback=None if on_iteration is None else lambda _: on_iteration(),
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": _MEMORY, "ftol": 1e-6, "gtol": 0.0},
    )
    found: FloatArray = np.clip(result.x, low, high)
    return found


def with_mu(shapes: Sequence[Shape], mu: FloatArray) -> list[Shape]:
    """The shapes with other MU."""
    return [replace(s, mu=float(m)) for s, m in zip(shapes, mu, strict=True)]


def dose_of_one_mu(head: Head, energy: PhotonEnergy, beams: PencilBeams) -> float:
    """What pencil beams give for one unit of fluence in the machine's calibration condition, g⁻¹.

    Parameters
    ----------
    beams : any of the machine, for its model and cells
    """
    condition = energy.calibration
    axis = np.array([0.0, 0.0, 1.0])
    source = -head.machine.source_axis_distance_mm * axis
    point = source + (condition.ssd_mm + condition.depth_mm) * axis
    view = BeamView(
        *(source, axis, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])),
        *(np.array([condition.depth_mm], dtype=np.float32), condition.ssd_mm),
    )
    half = condition.field_mm / 2
    # leaves stay behind the jaws: these are the edges of the calibration field
    leaves = np.stack([np.full(head.pairs, -half), np.full(head.pairs, half)])
    field = Aperture(leaves, (-half, half), (-half, half))
    grid = replace(beams.grid, cells=max(beams.grid.cells, int(2 * condition.field_mm / beams.grid.cell_mm)))
    wide = replace(head, grid=grid)
    return float(PencilBeams(beams.model, grid, point[None], (view,)).dose(wide.fluence(field)[None])[0])
