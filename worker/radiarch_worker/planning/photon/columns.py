"""Apertures one after the other, each the one by which the objective falls fastest; then the MU of all.

Column generation: Romeijn et al., SIAM J. Optim. 15, 838 (2005), doi:10.1137/040606612; along an arc: Peng et al., Med.
Phys. 39, 5471 (2012), doi:10.1118/1.4736423.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .conformal import jaws_x
from .intervals import best_openings
from .leaves import Aperture
from .problem import ApertureProblem, Float32Array, Shape, with_mu

FloatArray = npt.NDArray[np.float64]
Report = Callable[[float, float], None]
"""Share of the work, objective."""

_MU_ITERATIONS = 12


@dataclass(frozen=True)
class Window:
    """Where leaves may be.

    Attributes
    ----------
    outline : what may be irradiated
    low_mm, high_mm : (2, pairs) of each tip
    """

    outline: Aperture
    low_mm: FloatArray
    high_mm: FloatArray

    @classmethod
    def of(cls, outline: Aperture, gap_mm: float) -> Window:
        """Anywhere within the outline; pairs beside it anywhere between the jaws."""
        opened = open_pairs(outline, gap_mm)
        low = np.where(opened, outline.leaves_mm[0], outline.x_mm[0])
        high = np.where(opened, outline.leaves_mm[1], outline.x_mm[1])
        return cls(outline, np.stack([low, low]), np.stack([high, high]))


@dataclass
class Columns:
    """Shapes that were found, with the dose of one MU of each."""

    problem: ApertureProblem
    shapes: list[Shape] = field(default_factory=list)
    doses_gy: list[Float32Array] = field(default_factory=list)
    objective: float = 0.0

    def by_fluence(self, views: Sequence[int] | None = None) -> Float32Array:
        """Derivative by fluence at the present MU, of some views or of all."""
        dose = np.zeros(len(self.problem.beams.points_mm), dtype=np.float32)
        for shape, one in zip(self.shapes, self.doses_gy, strict=True):
            dose += np.float32(shape.mu) * one
        self.objective, slope, _ = self.problem.penalties(dose)
        return self.problem.by_fluence(slope, views)

    def add(self, shapes: Sequence[Shape]) -> None:
        """Take shapes, and solve for the MU of all."""
        self.doses_gy += list(self.problem.each_gy(shapes))
        self.shapes += shapes
        mu = np.array([s.mu for s in self.shapes])
        start = np.where(mu > 0, mu, mu[mu > 0].mean() / 2 if (mu > 0).any() else 10.0)
        found, self.objective = self.problem.solve_mu(np.stack(self.doses_gy), start, 0.0, _MU_ITERATIONS)
        self.shapes = with_mu(self.shapes, found)


def static_apertures(
    problem: ApertureProblem, outlines: Sequence[Aperture], rounds: int, most: int, report: Report
) -> list[Shape]:
    """Apertures of beams that stand still.

    Parameters
    ----------
    outlines : for each view what leaves may open
    rounds : in each of them every view may get one more
    most : apertures
    """
    columns = Columns(problem)
    windows = [Window.of(o, problem.head.machine.mlc.gap_min_mm) for o in outlines]
    for number in range(rounds):
        maps = columns.by_fluence()
        found = [best_aperture(problem, windows[v], v, maps[v]) for v in range(len(outlines))]
        better = sorted(((f[0], v, f[1]) for v, f in enumerate(found) if f[0] < 0), key=lambda b: b[:2])
        taken = [shape for _, _, shape in better[: most - len(columns.shapes)]]
        if not taken:
            break
        columns.add(sorted(taken, key=lambda s: s.view))
        report((number + 1) / rounds, columns.objective)
    return columns.shapes


def best_aperture(problem: ApertureProblem, window: Window, view: int, by_fluence: Float32Array) -> tuple[float, Shape]:
    """What the objective changes by for each MU of the best aperture within a window, and that aperture.

    Pairs by which nothing is gained are closed, at the middle of the nearest that is open.
    """
    head, outline = problem.head, window.outline
    gap = head.machine.mlc.gap_min_mm
    gained = head.by_pair(outline, by_fluence)
    leaves, values = best_openings(gained, head.grid.edges_mm, window.low_mm, window.high_mm, gap)
    used = open_pairs(outline, gap) & (values < 0)
    if not used.any():
        return 0.0, Shape(view, replace(outline, leaves_mm=leaves))
    pairs = np.flatnonzero(used)
    least = np.maximum(window.low_mm[0] + gap / 2, window.low_mm[1] - gap / 2)
    most = np.minimum(window.high_mm[0] + gap / 2, window.high_mm[1] - gap / 2)
    for pair in np.flatnonzero(~used & (least <= most)):
        nearest = pairs[np.argmin(np.abs(pairs - pair))]
        middle = np.clip(leaves[:, nearest].mean(), least[pair], most[pair])
        leaves[:, pair] = middle - gap / 2, middle + gap / 2
    sides = head.boundaries_mm
    y_mm = (max(outline.y_mm[0], float(sides[pairs[0]])), min(outline.y_mm[1], float(sides[pairs[-1] + 1])))
    aperture = Aperture(leaves, jaws_x(leaves[:, pairs], head.machine), y_mm)
    return float((head.fluence(aperture) * by_fluence).sum()), Shape(view, aperture)


def open_pairs(outline: Aperture, gap_mm: float) -> npt.NDArray[np.bool_]:
    """(pairs,) those between which an outline has something to irradiate."""
    found: npt.NDArray[np.bool_] = outline.leaves_mm[1] - outline.leaves_mm[0] > 2 * gap_mm
    return found
