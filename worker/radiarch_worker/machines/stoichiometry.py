"""From a phantom's inserts to what tissues look like on a scanner, and from that to a curve for patients.

Schneider, Pedroni and Lomax, Phys Med Biol 41:111 (1996); Schneider, Bortfeld, Schlegel, Phys Med Biol 45:459 (2000).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from .composition import WATER, Composition
from .tissues import TISSUES, Tissue

TERMS = ("coherent", "photoelectric")
_NODES: tuple[tuple[str, ...], ...] = (
    ("air",),
    ("lung",),
    ("adipose tissue 3",),
    ("adipose tissue 1",),
    ("water",),
    ("muscle 2",),
    ("cartilage", "connective tissue"),
    ("spongiosa",),
    ("vertebra D6 or L3",),
    ("cranium",),
    ("cortical bone",),
    ("teeth",),
)
"""Tissues between which a CT number is taken for a mixture of two neighbours; several together in equal volumes."""
_RSP_STEP = 0.004
"""Most by which relative stopping power may change from one material to the next at the same density."""
_SCATTER_STEP = 0.04
"""The same of the radiation length, relative."""


@dataclass(frozen=True)
class Attenuation:
    """How a scanner weights the parts of X-ray attenuation, against the Compton part (k1, k2 of Schneider 2000)."""

    coherent: float
    photoelectric: float

    def hu(self, composition: Composition, density_g_cm3: float) -> float:
        """CT number of a material."""
        return 1000.0 * (density_g_cm3 * self._mass(composition) / self._mass(WATER) - 1.0)

    def _mass(self, composition: Composition) -> float:
        compton, coherent, photo = composition.attenuation_terms()
        return compton + self.coherent * coherent + self.photoelectric * photo


@dataclass(frozen=True)
class Insert:
    """A rod of a phantom as it was scanned."""

    name: str
    hu: float
    density_g_cm3: float
    composition: Composition


def fit(inserts: Sequence[Insert]) -> Attenuation:
    """The weights with which the inserts' CT numbers come out best, by least squares; none is negative."""
    rows, wanted = [], []
    water = WATER.attenuation_terms()
    for insert in inserts:
        relative = insert.hu / 1000.0 + 1.0
        compton, coherent, photo = (
            relative * w - insert.density_g_cm3 * t
            for w, t in zip(water, insert.composition.attenuation_terms(), strict=True)
        )
        rows.append([coherent, photo])
        wanted.append(-compton)
    scale = np.abs(np.array(rows)).max(axis=0)
    found, _ = nnls(np.array(rows) / scale, np.array(wanted))
    coherent, photo = found / scale
    return Attenuation(float(coherent), float(photo))


@dataclass(frozen=True)
class TissueCurve:
    """A calibration's tables.

    Attributes
    ----------
    density : (HU, g/cm³), linear between them
    materials : (HU from which on, composition)
    """

    density: tuple[tuple[float, float], ...]
    materials: tuple[tuple[float, Composition], ...]


@dataclass(frozen=True)
class _Node:
    hu: float
    density_g_cm3: float
    composition: Composition

    @classmethod
    def of(cls, tissues: Sequence[Tissue], attenuation: Attenuation) -> _Node:
        density = math.fsum(t.density_g_cm3 for t in tissues) / len(tissues)
        parts = {t.composition: t.density_g_cm3 for t in tissues}
        mixed = tissues[0].composition if len(tissues) == 1 else Composition.mixed(parts)
        return cls(attenuation.hu(mixed, density), density, mixed)

    def towards(self, other: _Node, share: float) -> _Node:
        """A mixture with so much of the other by volume: CT number and density are then linear in the share."""
        density = (1 - share) * self.density_g_cm3 + share * other.density_g_cm3
        if share == 0.0:
            return self
        parts = {self.composition: (1 - share) * self.density_g_cm3, other.composition: share * other.density_g_cm3}
        return _Node((1 - share) * self.hu + share * other.hu, density, Composition.mixed(parts))


def tissue_curve(attenuation: Attenuation) -> TissueCurve:
    """Density and material of each CT number, for human tissue on a scanner.

    Between neighbouring tissues a CT number is that of a mixture of both: density is linear in it, and the composition
    follows. Materials change in steps, each so small that it does not show in stopping power. The tissues' CT numbers
    rise for all weights, since each next one has more of every part of the attenuation.
    """
    nodes = [_Node.of([TISSUES[name] for name in names], attenuation) for names in _NODES]
    steps = [step for a, b in itertools.pairwise(nodes) for step in _between(a, b)] + [nodes[-1]]
    starts = [steps[0].hu, *((a.hu + b.hu) / 2 for a, b in itertools.pairwise(steps))]
    return TissueCurve(
        tuple((_tidy(n.hu), round(n.density_g_cm3, 6)) for n in nodes),
        tuple((_tidy(start), step.composition) for start, step in zip(starts, steps, strict=True)),
    )


def _tidy(hu: float) -> float:
    return round(hu, 1) + 0.0


def _between(a: _Node, b: _Node) -> list[_Node]:
    """Mixtures from ``a`` on, without ``b``."""
    density = max(a.density_g_cm3, b.density_g_cm3)
    ratio = abs(float(b.composition.mass_stopping_ratio()) - float(a.composition.mass_stopping_ratio()))
    scatter = abs(math.log(b.composition.radiation_length_g_cm2 / a.composition.radiation_length_g_cm2))
    count = max(1, math.ceil(density * ratio / _RSP_STEP), math.ceil(density * scatter / _SCATTER_STEP))
    return [a.towards(b, i / count) for i in range(count)]
