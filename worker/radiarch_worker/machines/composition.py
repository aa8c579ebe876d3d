"""What follows from a material's elements: electrons, X-ray attenuation, stopping of protons; tables are elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from .elements import ELEMENTS, Element

AVOGADRO = 6.02214076e23
ELECTRON_MEV, PROTON_MEV = 0.51099895, 938.27208816
WATER_EXCITATION_EV = 75.0
"""ICRU 49's, which the elements' values go with; ICRU 90 has 78 for water, and no new values for tissues' elements."""
RSP_MEV = 100.0
"""Energy at which relative stopping powers are stated; from 50 to 220 MeV they differ by at most 0.3 %."""
_BETHE_LEAST_MEV = 1.0
_Z_PHOTO, _Z_COHERENT = 4.62, 2.86

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Composition:
    """Shares of the elements by mass, that sum to 1, in the order of their atomic numbers."""

    shares: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, amounts: Mapping[str, float]) -> Self:
        """From amounts by mass of each element, such as percentages; they are brought to a sum of 1."""
        total = math.fsum(amounts.values())
        ordered = sorted(amounts.items(), key=lambda item: ELEMENTS[item[0]].z)
        return cls(tuple((symbol, amount / total) for symbol, amount in ordered if amount > 0))

    @classmethod
    def mixed(cls, parts: Mapping[Composition, float]) -> Self:
        """Of several compositions with their shares by mass."""
        amounts: dict[str, float] = {}
        for part, share in parts.items():
            for symbol, amount in part.shares:
                amounts[symbol] = amounts.get(symbol, 0.0) + share * amount
        return cls.of(amounts)

    @property
    def elements(self) -> tuple[tuple[Element, float], ...]:
        return tuple((ELEMENTS[symbol], share) for symbol, share in self.shares)

    @property
    def electrons_per_u(self) -> float:
        """Electrons for each atomic mass unit, Z/A."""
        return math.fsum(w * e.z / e.atomic_weight for e, w in self.elements)

    @property
    def electrons_per_g(self) -> float:
        return AVOGADRO * self.electrons_per_u

    @property
    def excitation_ev(self) -> float:
        """Mean excitation energy by Bragg's rule; water's is ICRU 49's own."""
        if self == WATER:
            return WATER_EXCITATION_EV
        total = math.fsum(w * e.z / e.atomic_weight * math.log(e.excitation_ev) for e, w in self.elements)
        return math.exp(total / self.electrons_per_u)

    @property
    def radiation_length_g_cm2(self) -> float:
        return 1.0 / math.fsum(w / e.radiation_length_g_cm2 for e, w in self.elements)

    def mass_stopping_ratio(self, energy_mev: FloatArray | float = RSP_MEV) -> FloatArray:
        """Stopping power of protons for each g/cm², relative to water's: Bethe's formula without corrections."""
        ours, water = (_bethe(np.asarray(energy_mev, dtype=np.float64), c.excitation_ev) for c in (self, WATER))
        ratio: FloatArray = self.electrons_per_u / WATER.electrons_per_u * ours / water
        return ratio

    def attenuation_terms(self) -> tuple[float, float, float]:
        """Attenuation of X-rays for each g/cm² as Compton, coherent and photoelectric part, which a scanner weights.

        Sums of w/A Z, w/A Z^2.86 and w/A Z^4.62: Rutherford's parametrisation, as Schneider et al. (2000), equation 8.
        """
        return (
            self.electrons_per_u,
            math.fsum(w / e.atomic_weight * e.z**_Z_COHERENT for e, w in self.elements),
            math.fsum(w / e.atomic_weight * e.z**_Z_PHOTO for e, w in self.elements),
        )


def _bethe(energy_mev: FloatArray, excitation_ev: float) -> FloatArray:
    """Bethe's stopping number for protons, without corrections of shells and density."""
    gamma = 1.0 + np.maximum(energy_mev, _BETHE_LEAST_MEV) / PROTON_MEV
    beta2 = 1.0 - 1.0 / gamma**2
    ratio = ELECTRON_MEV / PROTON_MEV
    most_mev = 2 * ELECTRON_MEV * beta2 * gamma**2 / (1 + 2 * gamma * ratio + ratio**2)
    number: FloatArray = (
        0.5 * np.log(2 * ELECTRON_MEV * beta2 * gamma**2 * most_mev / (excitation_ev * 1e-6) ** 2) - beta2
    )
    return number


WATER = Composition.of({"H": 11.19, "O": 88.81})
