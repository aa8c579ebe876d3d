"""What a CT calibration is, whatever it was made from; reading it and giving it to an engine are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from .composition import Composition

AUTO = "auto"
"""Stands for the calibration of the CT's scanner."""
GENERIC = "generic-icru"
"""The one that is used where no calibration of the site fits the scanner."""
LEAST_HU = -2000.0
"""To where every calibration goes on with the density of its first point, so that CT numbers below air's are air."""

MaterialRef = str | Composition
"""A material by the engine's name for it, or by what it is made of."""


@dataclass(frozen=True)
class Confirmation:
    """Who has confirmed, for a site, that data are those of its machine or scanner."""

    by: str
    on: date


def confirmed(confirmation: Confirmation | None) -> Mapping[str, str]:
    """For a result's record."""
    return {} if confirmation is None else {"by": confirmation.by, "on": str(confirmation.on)}


@dataclass(frozen=True, eq=False)
class CalibrationTables:
    """A CT calibration.

    Attributes
    ----------
    density : (HU, g/cm³) with rising HU, linear between them
    materials : (HU above which, material) with rising HU; the first one also below
    sha256 : of the files that it was read from, by their names
    remark : how it was found, where it was computed
    """

    name: str
    title: str
    density: tuple[tuple[float, float], ...]
    materials: tuple[tuple[float, MaterialRef], ...]
    sha256: Mapping[str, str]
    confirmation: Confirmation | None = None
    remark: str = ""
