"""Reads a folder of depth doses, profiles and output factors of square fields in water, as CSV files.

===================================== ==========================================================================
``depth-dose-100x100-ssd900.csv``     ``depth_mm,dose``: field at the isocenter plane and distance to the surface
``profile-x-100x100-ssd900-depth100`` ``x_mm,dose`` or ``y_mm,dose`` across the axis at a depth
``output-factors-ssd900-depth100``    ``side_mm,factor`` of square fields, relative to that of 100 mm
===================================== ==========================================================================

Lengths in names are millimeters. The first line of a file names its columns and their units (``_mm`` or ``_cm``).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.yaml_file import Problem

FloatArray = npt.NDArray[np.float64]

_LENGTH = r"(\d+(?:\.\d+)?)"
_DEPTH_DOSE = re.compile(rf"depth-dose-{_LENGTH}x{_LENGTH}-ssd{_LENGTH}")
_PROFILE = re.compile(rf"profile-[xy]-{_LENGTH}x{_LENGTH}-ssd{_LENGTH}-depth{_LENGTH}")
_OUTPUT = re.compile(rf"output-factors-ssd{_LENGTH}-depth{_LENGTH}")
_UNITS = {"mm": 1.0, "cm": 10.0}
_POINTS_MIN, _POINTS_MAX = 3, 20_000


class UnusableMeasurementsError(InvalidRequestError):
    """Measurements that cannot be used; ``details["problems"]`` has every mistake found."""

    default_code = ErrorCode.INVALID_MACHINE_DATA

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(map(str, problems)),
            remedy="Correct the files; docs/machines.md describes them.",
            problems=[p.details for p in problems],
        )


@dataclass(frozen=True)
class Curve:
    """Dose along a line; ``at_mm`` rises.

    Attributes
    ----------
    field_mm : X and Y of the field at the isocenter plane
    along : "depth", "x" or "y"
    depth_mm : of a profile; 0 for a depth dose
    """

    file: str
    field_mm: tuple[float, float]
    ssd_mm: float
    along: str
    depth_mm: float
    at_mm: FloatArray
    dose: FloatArray


@dataclass(frozen=True)
class OutputFactors:
    """Dose of square fields at a depth relative to that of 100 mm."""

    file: str
    ssd_mm: float
    depth_mm: float
    side_mm: FloatArray
    factor: FloatArray


@dataclass(frozen=True)
class Measurements:
    """What a folder holds."""

    depth_doses: tuple[Curve, ...]
    profiles: tuple[Curve, ...]
    output_factors: tuple[OutputFactors, ...]


def read_measurements(folder: Path) -> Measurements:
    """Read all CSV files of a folder.

    Raises
    ------
    UnusableMeasurementsError
        With file, line and field of every mistake; also where there is no depth dose of 100 x 100 mm.
    """
    problems: list[Problem] = []
    curves: list[Curve] = []
    factors: list[OutputFactors] = []
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else ():
        try:
            found = _read(path)
        except UnusableMeasurementsError as e:
            problems += e.problems
            continue
        if isinstance(found, Curve):
            curves.append(found)
        else:
            factors.append(found)
    if not problems and not any(c.along == "depth" and c.field_mm == (100.0, 100.0) for c in curves):
        problems.append(
            Problem(folder.name, 1, "", "has no depth dose of 100 x 100 mm (depth-dose-100x100-ssd900.csv)")
        )
    if problems:
        raise UnusableMeasurementsError(problems)
    return Measurements(
        tuple(c for c in curves if c.along == "depth"), tuple(c for c in curves if c.along != "depth"), tuple(factors)
    )


def _read(path: Path) -> Curve | OutputFactors:
    kinds = {"depth": _DEPTH_DOSE, "profile": _PROFILE, "output": _OUTPUT}
    found = [(kind, named) for kind, pattern in kinds.items() if (named := pattern.fullmatch(path.stem))]
    if not found:
        raise _wrong(path, 1, "", "its name is none of those that measurements have (depth-dose-100x100-ssd900 …)")
    ((kind, named),) = found
    sizes = [float(g) for g in named.groups()]
    allowed = {"depth": ("depth",), "profile": ("x", "y"), "output": ("side",)}[kind]
    axis, at, value = _columns(path, allowed, "factor" if kind == "output" else "dose")
    if kind == "output":
        if not np.isclose(at, 100.0).any():
            raise _wrong(path, 1, "side", "has no field of 100 mm")
        return OutputFactors(path.name, sizes[0], sizes[1], at, value / value[np.argmin(abs(at - 100.0))])
    depth = sizes[3] if kind == "profile" else 0.0
    if kind == "depth" and (at[0] < 0 or at[-1] < 150.0):
        raise _wrong(path, 2, "depth", f"goes from {at[0]:g} to {at[-1]:g} mm, expected from 0 to 150 or more")
    return Curve(path.name, (sizes[0], sizes[1]), sizes[2], axis, depth, at, value / value.max())


def _columns(path: Path, allowed: tuple[str, ...], second: str) -> tuple[str, FloatArray, FloatArray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise _wrong(path, 1, "", f"cannot be read: {e}") from None
    head = [cell.lower() for cell in rows[0]] if rows else []
    first = re.fullmatch(rf"({'|'.join(allowed)})_(mm|cm)", head[0]) if head else None
    if first is None or len(head) != 2 or head[1] != second:
        expected = " or ".join(f"{name}_mm,{second}" for name in allowed)
        raise _wrong(path, 1, "", f"has the columns {','.join(head)[:60]!r}, expected {expected} (or _cm)")
    values: list[tuple[float, float]] = []
    for line, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        try:
            at, value = map(float, row)
        except ValueError:
            raise _wrong(path, line, "", f"is {','.join(row)[:40]!r}, expected two numbers") from None
        if not (np.isfinite(at) and np.isfinite(value) and value >= 0):
            raise _wrong(path, line, second, f"is {','.join(row)[:40]!r}, expected numbers, the second at least 0")
        values.append((at, value))
    if not _POINTS_MIN <= len(values) <= _POINTS_MAX or max(v for _, v in values) <= 0:
        raise _wrong(path, 1, "", f"has {len(values)} points, expected {_POINTS_MIN} to {_POINTS_MAX} with a dose")
    table = np.array(sorted(values))  # scans go either way, and some have points added at the end
    if (np.diff(table[:, 0]) == 0).any():
        twice = float(table[1:, 0][np.diff(table[:, 0]) == 0][0])
        raise _wrong(path, 1, head[0], f"{twice:g} stands there twice")
    return first.group(1), table[:, 0] * _UNITS[first.group(2)], table[:, 1]


def _wrong(path: Path, line: int, field: str, message: str) -> UnusableMeasurementsError:
    return UnusableMeasurementsError([Problem(path.name, line, field, message)])
