"""Dose-volume curves as a table of text, the same from service, SDK and command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Protocol

COLUMNS = ("structure", "roi_number", "volume_cc", "dose_gy", "volume_percent")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run a name that begins so."""


class Curve(Protocol):
    """A cumulative DVH: ``volume_percent[i]`` of the structure gets at least ``dose_gy[i]``."""

    @property
    def structure(self) -> str: ...
    @property
    def roi_number(self) -> int | None: ...
    @property
    def volume_cc(self) -> float | None: ...
    @property
    def dose_gy(self) -> Sequence[float]: ...
    @property
    def volume_percent(self) -> Sequence[float]: ...


def curves_csv(curves: Iterable[Curve]) -> str:
    """One line for each point of each curve, below a header; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in curves:
        name = f"'{curve.structure}" if curve.structure.startswith(_FORMULA) else curve.structure
        for dose_gy, percent in zip(curve.dose_gy, curve.volume_percent, strict=True):
            writer.writerow((name, curve.roi_number, curve.volume_cc, dose_gy, percent))
    return out.getvalue()
