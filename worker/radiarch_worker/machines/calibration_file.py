"""Reading CT calibrations from YAML files; an error names file, line and field. Choosing one is elsewhere."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from radiarch_contract.structures import Pattern
from radiarch_contract.yaml_file import FieldPath, UnreadableYamlError, read_yaml

from radiarch_worker.model import Scanner

from .calibration import AUTO, LEAST_HU, CalibrationTables, MaterialRef
from .composition import Composition
from .elements import ELEMENTS
from .site_file import SiteFile, UnusableFileError, finding
from .stoichiometry import Attenuation, Insert, fit, tissue_curve
from .tissues import TISSUES

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Hu = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=LEAST_HU, le=30_000)]
Density = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=25)]
Elements = Annotated[dict[str, Annotated[float, Field(strict=True, ge=0, le=100)]], Field(min_length=1, max_length=30)]

_COMPOSITION_PERCENT = (98.0, 102.0)
"""What a composition has to add up to; tables are rounded."""
_KVP_TOLERANCE = 0.5
_AIR_HU, _AIR_G_CM3 = -950.0, 0.1
"""By where a table has to begin, and the most that its first density may be."""
_WATER_G_CM3 = (0.95, 1.1)
"""What a table may have at 0 HU, which is water."""
_FIT_HU, _FIT_SHARE = 30.0, 0.05
"""By how much an insert's CT number may differ from the fit: so many HU and this share of it."""
_LEAST_INSERTS = 5
_BONE_HU = 300.0


class ScannerConditions(BaseModel):
    """Which scanner's images a calibration is for; all that is given has to hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manufacturer: Pattern | None = None
    model: Pattern | None = None
    station: Pattern | None = None
    kvp: tuple[Annotated[float, Field(strict=True, gt=0, le=500)], ...] = Field(
        default=(), max_length=20, description="Tube voltages, kV; any of them."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.count:
            raise ValueError("give at least one of manufacturer, model, station, kvp")
        return self

    @property
    def count(self) -> int:
        """How many conditions there are: the more, the more specific."""
        return sum(x is not None for x in (self.manufacturer, self.model, self.station)) + bool(self.kvp)

    def fit(self, scanner: Scanner) -> bool:
        """Whether all hold for a scanner. Case does not matter."""
        # As whole words, and a station's name as a whole: CT1 must not stand for CT12.
        for pattern, text in ((self.manufacturer, scanner.manufacturer), (self.model, scanner.model)):
            if pattern is not None and not re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE):
                return False
        if self.station is not None and not re.fullmatch(self.station, scanner.station, re.IGNORECASE):
            return False
        kvp = scanner.kvp
        return not self.kvp or (kvp is not None and any(abs(v - kvp) <= _KVP_TOLERANCE for v in self.kvp))


class MaterialRow(BaseModel):
    """From which CT number on patients are made of what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hu: Hu
    material: str | None = Field(
        default=None, max_length=64, description="Name of a tissue or of an engine's material."
    )
    composition: Elements | None = Field(default=None, description="% by mass of each element.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.material is None) == (self.composition is None):
            raise ValueError("give material or composition, one of them")
        return self


class InsertRow(BaseModel):
    """A phantom's insert as it was scanned: the mean CT number in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    insert: str = Field(min_length=1, max_length=64)
    hu: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1100, le=30_000)]
    density_g_cm3: Density
    composition: Elements = Field(description="% by mass of each element.")


class Coefficients(BaseModel):
    """A fit that was made before: k1, k2 of Schneider et al. (2000)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coherent: Annotated[float, Field(strict=True, ge=0, le=0.1)]
    photoelectric: Annotated[float, Field(strict=True, gt=0, le=0.01)]


class CalibrationFile(SiteFile):
    """One YAML file of a site's calibrations."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    title: str = Field(min_length=1, max_length=200)
    scanners: tuple[ScannerConditions, ...] = Field(default=(), max_length=100)
    density: tuple[tuple[Hu, Density], ...] = Field(default=(), max_length=1000, description="HU, g/cm³.")
    materials: tuple[MaterialRow, ...] = Field(default=(), max_length=300)
    phantom: tuple[InsertRow, ...] = Field(default=(), max_length=200)
    coefficients: Coefficients | None = None
    shipped: str | None = Field(default=None, max_length=64, description="Name of a calibration that ships.")

    @field_validator("id")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value.lower() == AUTO:
            raise ValueError(f"{AUTO!r} stands for the calibration of the CT's scanner")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [
            bool(self.density or self.materials),
            bool(self.phantom),
            self.coefficients is not None,
            self.shipped is not None,
        ]
        if sum(given) != 1:
            raise ValueError("give density with materials, or phantom, or coefficients, or shipped: one of them")
        if bool(self.density) != bool(self.materials):
            raise ValueError("density and materials belong together")
        return self


@dataclass(frozen=True)
class SiteCalibration:
    """A calibration of the site with the scanners that it is for."""

    tables: CalibrationTables
    scanners: tuple[ScannerConditions, ...]
    file: str

    def conditions_for(self, scanner: Scanner) -> int:
        """How many conditions hold for a scanner, at most; 0 where it is for others."""
        return max((c.count for c in self.scanners if c.fit(scanner)), default=0)


def read_calibration(
    name: str, data: bytes, shipped: Mapping[str, CalibrationTables], engine_materials: Collection[str]
) -> SiteCalibration:
    """Read one file.

    Parameters
    ----------
    name : of the file, for errors
    shipped : calibrations that a file may refer to
    engine_materials : names that a material may have besides those of tissues

    Raises
    ------
    UnusableFileError
    """
    try:
        file = read_yaml(name, data)
    except UnreadableYamlError as e:
        raise UnusableFileError((e.problem,)) from None
    try:
        read = CalibrationFile.model_validate(file.values)
    except ValidationError as e:
        raise UnusableFileError(tuple(file.problem(*finding(x)) for x in e.errors(include_url=False))) from None
    found = tuple(file.problem(where, message) for where, message in _mistakes(read, shipped, engine_materials))
    if found:
        raise UnusableFileError(found)
    tables = replace(
        _tables(read, shipped),
        name=read.id,
        title=read.title,
        confirmation=read.confirmation,
    )
    return SiteCalibration(
        replace(tables, sha256={name: hashlib.sha256(data).hexdigest(), **tables.sha256}), read.scanners, name
    )


def _mistakes(
    read: CalibrationFile, shipped: Mapping[str, CalibrationTables], engine_materials: Collection[str]
) -> Iterator[tuple[FieldPath, str]]:
    """What is wrong beyond types and bounds."""
    yield from _density_mistakes(read)
    for i, (one, other) in enumerate(zip(read.materials, read.materials[1:], strict=False), start=1):
        if other.hu <= one.hu:
            yield ("materials", i, "hu"), f"{other.hu:g} HU comes behind {one.hu:g} HU; they have to rise"
    for i, row in enumerate(read.materials):
        if row.material is not None and row.material not in TISSUES and row.material not in engine_materials:
            known = ", ".join([*TISSUES, *sorted(engine_materials)])
            yield ("materials", i, "material"), f"{row.material!r} is not known; known are {known}"
        if row.composition is not None:
            yield from _composition_mistakes(row.composition, ("materials", i, "composition"))
    for i, insert in enumerate(read.phantom):
        yield from _composition_mistakes(insert.composition, ("phantom", i, "composition"))
    if read.phantom:
        yield from _phantom_mistakes(read.phantom)
    if read.shipped is not None and read.shipped not in shipped:
        yield ("shipped",), f"{read.shipped!r} does not ship; {', '.join(sorted(shipped))} do"


def _density_mistakes(read: CalibrationFile) -> Iterator[tuple[FieldPath, str]]:
    table = read.density
    for i, ((hu, density), (next_hu, next_density)) in enumerate(itertools.pairwise(table), start=1):
        if next_hu <= hu:
            yield ("density", i), f"{next_hu:g} HU comes behind {hu:g} HU; they have to rise"
        if next_density < density:
            yield ("density", i), f"{next_density:g} g/cm³ comes behind {density:g} g/cm³; densities must not fall"
    if table and (table[0][0] > _AIR_HU or table[0][1] > _AIR_G_CM3):
        found = f"begins at {table[0][0]:g} HU with {table[0][1]:g} g/cm³"
        yield ("density", 0), f"{found}; expected air, at most {_AIR_HU:g} HU and {_AIR_G_CM3:g} g/cm³"
    if len(table) == 1 or (table and table[-1][0] < 0):
        yield ("density",), f"ends at {table[-1][0]:g} HU, expected at least 0"
    elif table:
        water = float(np.interp(0.0, [hu for hu, _ in table], [density for _, density in table]))
        low, high = _WATER_G_CM3
        if not low <= water <= high:
            yield ("density",), f"has {water:.3g} g/cm³ at 0 HU, expected {low:g} to {high:g}: 0 HU is water"


def _composition_mistakes(composition: Mapping[str, float], where: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    for symbol in composition:
        if symbol not in ELEMENTS:
            yield (*where, symbol), f"{symbol!r} is not known; known are {', '.join(ELEMENTS)}"
    total, (low, high) = sum(composition.values()), _COMPOSITION_PERCENT
    if not low <= total <= high:
        yield where, f"adds up to {total:g} %, expected {low:g} to {high:g} %"


def _phantom_mistakes(rows: tuple[InsertRow, ...]) -> Iterator[tuple[FieldPath, str]]:
    if len(rows) < _LEAST_INSERTS or max(r.hu for r in rows) < _BONE_HU or min(r.hu for r in rows) > 0:
        yield (
            ("phantom",),
            f"has {len(rows)} inserts from {min(r.hu for r in rows):g} to {max(r.hu for r in rows):g} HU; expected "
            f"{_LEAST_INSERTS} or more, some lighter than water and some of bone ({_BONE_HU:g} HU or more)",
        )
        return
    if any(symbol not in ELEMENTS for r in rows for symbol in r.composition):
        return
    inserts = _inserts(rows)
    for i, expected in _misfits(inserts):
        yield (
            ("phantom", i),
            f"{inserts[i].name} has {inserts[i].hu:g} HU, and {expected:.0f} HU by the fit to the others; check its CT "
            "number, density and composition",
        )


def _misfits(inserts: list[Insert]) -> list[tuple[int, float]]:
    """Inserts that the fit does not describe, with the CT numbers that they should have by the others.

    One that is wrong draws the fit to itself and makes others look wrong: where all but one agree, it is that one.
    """
    if max(_misfit(inserts)) <= 1:
        return []
    without = [[other for j, other in enumerate(inserts) if j != i] for i in range(len(inserts))]
    worst = [max(_misfit(others)) for others in without]
    best = int(np.argmin(worst))
    wrong = [best] if worst[best] <= 1 else [i for i, m in enumerate(_misfit(inserts)) if m > 1]
    return [(i, fit(without[i]).hu(inserts[i].composition, inserts[i].density_g_cm3)) for i in wrong]


def _misfit(inserts: list[Insert]) -> list[float]:
    """How far each insert's CT number is from the fit, in units of what is tolerated."""
    attenuation = fit(inserts)
    return [
        abs(i.hu - attenuation.hu(i.composition, i.density_g_cm3)) / (_FIT_HU + _FIT_SHARE * abs(i.hu)) for i in inserts
    ]


def _inserts(rows: tuple[InsertRow, ...]) -> list[Insert]:
    return [Insert(r.insert, r.hu, r.density_g_cm3, Composition.of(r.composition)) for r in rows]


def _tables(read: CalibrationFile, shipped: Mapping[str, CalibrationTables]) -> CalibrationTables:
    if read.shipped is not None:
        return shipped[read.shipped]
    if read.density:
        materials = tuple((row.hu, _material(row)) for row in read.materials)
        return CalibrationTables(read.id, read.title, read.density, materials, {})
    remark = ""
    if read.phantom:
        inserts = _inserts(read.phantom)
        attenuation = fit(inserts)
        misfit = [i.hu - attenuation.hu(i.composition, i.density_g_cm3) for i in inserts]
        remark = (
            f"fitted to {len(inserts)} inserts: coherent {attenuation.coherent:.3g}, photoelectric "
            f"{attenuation.photoelectric:.3g}, root mean square {float(np.sqrt(np.mean(np.square(misfit)))):.1f} HU"
        )
    else:
        assert read.coefficients is not None
        attenuation = Attenuation(read.coefficients.coherent, read.coefficients.photoelectric)
    curve = tissue_curve(attenuation)
    return CalibrationTables(read.id, read.title, curve.density, curve.materials, {}, remark=remark)


def _material(row: MaterialRow) -> MaterialRef:
    if row.composition is not None:
        return Composition.of(row.composition)
    assert row.material is not None
    tissue = TISSUES.get(row.material)
    return row.material if tissue is None else tissue.composition
