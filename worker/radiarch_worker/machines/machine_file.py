"""Checking a site's beam data and reading what it says of the machine beside them; engines read the data themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, ValidationError
from radiarch_contract.yaml_file import Problem, UnreadableYamlError, read_yaml

from .site_file import SiteFile, UnusableFileError, finding

_TITLE = "--UPenn beam model (double gaussian)--"
_DISTANCES = ("Nozzle exit to Isocenter distance", "SMX to Isocenter distance", "SMY to Isocenter distance")
_COLUMNS = (
    *("NominalEnergy", "MeanEnergy", "EnergySpread", "ProtonsMU"),
    *("Weight1", "SpotSize1x", "Divergence1x", "Correlation1x", "SpotSize1y", "Divergence1y", "Correlation1y"),
    *("Weight2", "SpotSize2x", "Divergence2x", "Correlation2x", "SpotSize2y", "Divergence2y", "Correlation2y"),
)
_POSITIVE = frozenset(("NominalEnergy", "MeanEnergy", "ProtonsMU", "Weight1", "SpotSize1x", "SpotSize1y"))
_BOUNDS_MM, _BOUNDS_MEV = (50.0, 20_000.0), (1.0, 500.0)
_SHIFTER_FIELDS = ("RS_ID", "RS_type", "RS_material", "RS_density", "RS_WET")
_MEAN_SHARE = 0.05
"""By how much a mean energy may differ from the nominal one."""

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class MachineDescription(SiteFile):
    """``NAME.yaml`` beside the beam data ``NAME.txt``, or for a machine of that name that ships."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    spot_mu_min: Annotated[Positive, Field(le=10)] | None = None
    field_x_mm: Annotated[Positive, Field(le=500)] | None = None
    field_y_mm: Annotated[Positive, Field(le=500)] | None = None


def read_description(name: str, data: bytes) -> MachineDescription:
    """Read a description. Raises `UnusableFileError`."""
    try:
        file = read_yaml(name, data)
        return MachineDescription.model_validate(file.values)
    except UnreadableYamlError as e:
        raise UnusableFileError((e.problem,)) from None
    except ValidationError as e:
        raise UnusableFileError(tuple(file.problem(*finding(x)) for x in e.errors(include_url=False))) from None


def check_beam_data(name: str, data: bytes) -> None:
    """Whether a beam data library is one that the engine reads as it is meant. Raises `UnusableFileError`."""
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise UnusableFileError((Problem(name, line, "", "not UTF-8 text"),)) from None
    found = tuple(Problem(name, line, field, message) for line, field, message in _mistakes(lines))
    if found:
        raise UnusableFileError(found)


_Mistake = tuple[int, str, str]


def _mistakes(lines: list[str]) -> Iterator[_Mistake]:
    if not lines or _TITLE not in lines[0]:
        yield 1, "", f"expected {_TITLE!r}: beam data in MCsquare's form"
        return
    plain = [line.split("#")[0].strip() for line in lines]
    for title in _DISTANCES:
        yield from _distance(plain, title)
    yield from _shifters(plain)
    tables = [i for i, line in enumerate(plain) if line.startswith("NominalEnergy")]
    if len(tables) != 1:
        yield 1, "NominalEnergy", f"{len(tables)} tables of energies, expected one"
        return
    if tuple(plain[tables[0]].split()) != _COLUMNS:
        yield tables[0] + 1, "NominalEnergy", f"columns are not {', '.join(_COLUMNS)}"
        return
    yield from _table(plain, tables[0] + 1)


def _distance(lines: list[str], title: str) -> Iterator[_Mistake]:
    at = [i for i, line in enumerate(lines) if line == title]
    if len(at) != 1:
        yield 1, title, f"occurs {len(at)} times, expected once"
        return
    low, high = _BOUNDS_MM
    words = lines[at[0] + 1].split() if at[0] + 1 < len(lines) else []
    value = _number(words[0]) if len(words) == 1 else math.nan
    if not low <= value <= high:
        yield at[0] + 2, title, f"expected one number from {low:g} to {high:g} (mm)"


def _shifters(lines: list[str]) -> Iterator[_Mistake]:
    begins = [i for i, line in enumerate(lines) if "Range Shifter parameters" in line]
    for at, stray in enumerate(lines[: begins[0] if begins else len(lines)], start=1):
        if stray.startswith("RS_"):
            yield at, stray.partition("=")[0].strip(), "stands before 'Range Shifter parameters'"
    for i, begin in enumerate(begins):
        end = begins[i + 1] if i + 1 < len(begins) else len(lines)
        fields = {}
        for n in range(begin + 1, end):
            key, sign, value = (x.strip() for x in lines[n].partition("="))
            if sign and key.startswith("RS_"):
                fields[key] = (n + 1, value)
        for key in _SHIFTER_FIELDS:
            if key not in fields:
                yield begin + 1, key, "is missing"
        for key, (line, value) in fields.items():
            number = _number(value)
            if key in ("RS_density", "RS_WET") and not number > 0:
                yield line, key, f"is {value[:20]!r}, expected a number above 0"
            if key == "RS_material" and not (number > 0 and number == int(number)):
                yield line, key, f"is {value[:20]!r}, expected the label of one of MCsquare's materials"
            if key == "RS_type" and value.lower() not in ("binary", "analog"):
                yield line, key, f"is {value[:20]!r}, expected binary or analog"


def _table(lines: list[str], begin: int) -> Iterator[_Mistake]:
    last_mev, rows = 0.0, 0
    for n in range(begin, len(lines)):
        words = lines[n].split()
        if not words:
            continue
        rows += 1
        if len(words) != len(_COLUMNS):
            yield n + 1, "NominalEnergy", f"has {len(words)} columns, expected {len(_COLUMNS)}"
            continue
        values = dict(zip(_COLUMNS, map(_number, words), strict=True))
        for column, value in values.items():
            if not math.isfinite(value) or (value < 0 and not column.startswith("Correlation")):
                yield n + 1, column, f"is {words[_COLUMNS.index(column)][:20]!r}, expected a number of at least 0"
            elif column in _POSITIVE and value == 0:
                yield n + 1, column, "is 0"
            elif (column.startswith("Correlation") and abs(value) > 1) or (column.startswith("Weight") and value > 1):
                yield n + 1, column, f"is {value:g}, expected at most 1"
        nominal, mean = values["NominalEnergy"], values["MeanEnergy"]
        if not _BOUNDS_MEV[0] <= nominal <= _BOUNDS_MEV[1] or nominal <= last_mev:
            yield n + 1, "NominalEnergy", f"is {nominal:g} MeV behind {last_mev:g} MeV; energies have to rise"
        elif abs(mean - nominal) > _MEAN_SHARE * nominal:
            yield n + 1, "MeanEnergy", f"is {mean:g} MeV for a nominal {nominal:g} MeV"
        last_mev = max(last_mev, nominal) if math.isfinite(nominal) else last_mev
    if rows < 2:
        yield begin, "NominalEnergy", f"{rows} energies, expected two or more"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
