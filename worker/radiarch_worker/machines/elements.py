"""The chemical elements of tissues and phantoms; numbers only, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Element:
    """An element.

    Attributes
    ----------
    atomic_weight : u (IUPAC)
    excitation_ev : mean excitation energy of the element in compounds that are liquid or solid (ICRU 37 table 5.1, used
        by ICRU 49): H 19.2, C 81, N 82, O 106, F 112, Cl 180; of all others 1.13 times that of the element itself
    radiation_length_g_cm2 : Particle Data Group, atomic and nuclear properties of materials
    """

    symbol: str
    z: int
    atomic_weight: float
    excitation_ev: float
    radiation_length_g_cm2: float


ELEMENTS: Mapping[str, Element] = {
    e.symbol: e
    for e in (
        Element("H", 1, 1.008, 19.2, 63.04),
        Element("C", 6, 12.011, 81.0, 42.70),
        Element("N", 7, 14.007, 82.0, 37.99),
        Element("O", 8, 15.999, 106.0, 34.24),
        Element("F", 9, 18.998, 112.0, 32.93),
        Element("Na", 11, 22.990, 168.4, 27.74),
        Element("Mg", 12, 24.305, 176.3, 25.03),
        Element("Al", 13, 26.982, 187.6, 24.01),
        Element("Si", 14, 28.085, 195.5, 21.82),
        Element("P", 15, 30.974, 195.5, 21.21),
        Element("S", 16, 32.06, 203.4, 19.50),
        Element("Cl", 17, 35.45, 180.0, 19.28),
        Element("Ar", 18, 39.948, 212.4, 19.55),
        Element("K", 19, 39.098, 214.7, 17.32),
        Element("Ca", 20, 40.078, 215.8, 16.14),
        Element("Ti", 22, 47.867, 263.3, 16.16),
        Element("Fe", 26, 55.845, 323.2, 13.84),
        Element("Cu", 29, 63.546, 363.9, 12.86),
        Element("Zn", 30, 65.38, 372.9, 12.43),
        Element("Sr", 38, 87.62, 413.6, 10.76),
        Element("Sn", 50, 118.71, 551.4, 8.82),
        Element("I", 53, 126.904, 554.8, 8.48),
        Element("Ba", 56, 137.327, 554.8, 8.31),
    )
}
"""By symbol."""
