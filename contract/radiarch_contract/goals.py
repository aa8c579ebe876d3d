"""Goals: the written grammar by which a plan is judged; computing their values is the worker's business.

``STRUCTURE: METRIC OP VALUE`` with METRIC one of ``D95%`` ``D2cc`` ``V20Gy`` ``V95%`` ``Dmean`` ``Dmin``
``Dmax`` ``Dmax(0.03cc)`` ``CI`` ``HI``, OP ``≥ >= ≤ <=``, VALUE in ``Gy``, ``%`` or ``cc`` (CI, HI: bare numbers).
Behind it, each after a comma, ``priority N`` (1 comes first) and ``tolerance VALUE`` in the unit of the goal's value.

>>> g = Goal.parse("PTV: D95% >= 95%")
>>> g.metric.kind, g.metric.argument, g.metric.argument_unit, g.limit, g.limit_unit
('D', 95.0, '%', 95.0, '%')
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .errors import InvalidRequestError
from .states import GoalStatus

MetricKind = Literal["D", "V", "Dmean", "Dmin", "Dmax", "CI", "HI"]
Unit = Literal["%", "Gy", "cc", ""]

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_METRIC = re.compile(
    rf"(?P<kind>Dmean|Dmin|Dmax|CI|HI|D|V)"
    rf"(?:(?P<arg>{_NUMBER})(?P<unit>%|Gy|cc)|\((?P<cc>{_NUMBER})cc\))?"
)
_OP = re.compile(r"≥|≤|>=|<=")
_VALUE = re.compile(rf"(?P<num>{_NUMBER})\s*(?P<unit>%|Gy|cc)?")
_PRIORITY = re.compile(r"[1-9][0-9]?")
_EXTRA = re.compile(r"priority|tolerance")

DEFAULT_PRIORITY = 10
"""Of a goal that gives none: after those that give one."""


@dataclass(frozen=True)
class Metric:
    """A dose-volume metric.

    ``D`` takes a volume (``%`` or ``cc``), ``V`` a dose (``Gy``, or ``%`` of the prescription),
    ``Dmax`` optionally a volume in ``cc`` (the near-maximum).
    """

    kind: MetricKind
    argument: float | None = None
    argument_unit: Unit = ""

    def __str__(self) -> str:
        if self.argument is None:
            return self.kind
        if self.kind == "Dmax":
            return f"Dmax({self.argument:.12g}cc)"
        return f"{self.kind}{self.argument:.12g}{self.argument_unit}"


@dataclass(frozen=True)
class Goal:
    """A parsed goal; ``limit`` in ``limit_unit``: ``%`` of the prescription for doses, of the structure for volumes.

    Attributes
    ----------
    priority : 1 is met first; None where none is given
    tolerance : in ``limit_unit``, by how much it may be missed and still be near; None for the usual
    """

    structure: str
    metric: Metric
    at_least: bool
    limit: float
    limit_unit: Unit
    priority: int | None = None
    tolerance: float | None = None

    @property
    def text(self) -> str:
        op = "≥" if self.at_least else "≤"
        unit = f" {self.limit_unit}" if self.limit_unit in ("Gy", "cc") else self.limit_unit
        priority = "" if self.priority is None else f", priority {self.priority}"
        tolerance = "" if self.tolerance is None else f", tolerance {self.tolerance:.12g}{unit}"
        return f"{self.structure}: {self.metric} {op} {self.limit:.12g}{unit}{priority}{tolerance}"

    @property
    def rank(self) -> int:
        """Its priority, or that of goals which give none."""
        return DEFAULT_PRIORITY if self.priority is None else self.priority

    @property
    def needs_prescription(self) -> bool:
        """Whether its value is relative to a prescribed dose."""
        metric = self.metric
        if metric.kind == "V":
            return metric.argument_unit == "%"
        return metric.kind == "CI" or (metric.kind != "HI" and self.limit_unit == "%")

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Parse a goal.

        Raises
        ------
        InvalidRequestError
            Naming the character at which the text stops making sense.
        """
        name, colon, _ = text.partition(":")
        if not colon or not name.strip():
            raise _at(text, len(name), "a structure's name and ':' in front")
        pos = _skip(text, len(name) + 1)
        m = _METRIC.match(text, pos)
        if m is None:
            raise _at(text, pos, "a metric such as D95%, D2cc, V20Gy, Dmean, Dmax(0.03cc), CI or HI")
        metric = _metric(text, pos, m)
        pos = _skip(text, m.end())
        op = _OP.match(text, pos)
        if op is None:
            raise _at(text, pos, "≥ or ≤ (also >= or <=)")
        pos = _skip(text, op.end())
        v = _VALUE.match(text, pos)
        if v is None:
            raise _at(text, pos, "a number")
        unit: Unit = v["unit"] or ""  # type: ignore[assignment]
        allowed: tuple[Unit, ...]
        if metric.kind in ("CI", "HI"):
            allowed = ("",)
        elif metric.kind == "V":
            allowed = ("%", "cc")
        else:
            allowed = ("%", "Gy")
        if unit not in allowed:
            raise _at(text, v.end(), f"the unit {' or '.join(u or 'none' for u in allowed)} for {metric}")
        priority, tolerance = _extras(text, v.end(), unit)
        return cls(name.strip(), metric, op[0] in ("≥", ">="), float(v["num"]), unit, priority, tolerance)


def _metric(text: str, pos: int, m: re.Match[str]) -> Metric:
    kind: MetricKind = m["kind"]  # type: ignore[assignment]
    if m["cc"] is not None:
        if kind != "Dmax":
            raise _at(text, pos, "no parentheses: only Dmax(0.03cc) has them")
        return Metric(kind, float(m["cc"]), "cc")
    if kind in ("D", "V"):
        if m["arg"] is None:
            raise _at(text, m.end(), f"a number and unit after {kind}, as in D95% or V20Gy")
        unit: Unit = m["unit"]  # type: ignore[assignment]
        if (kind == "D" and unit == "Gy") or (kind == "V" and unit == "cc"):
            raise _at(text, m.end() - len(unit), "D of a volume (% or cc), V of a dose (Gy or %)")
        if kind == "D" and unit == "%" and not 0 < float(m["arg"]) <= 100:
            raise _at(text, pos + 1, "a percentage above 0 and up to 100")
        return Metric(kind, float(m["arg"]), unit)
    if m["arg"] is not None:
        raise _at(text, pos + len(kind), f"nothing directly after {kind}")
    return Metric(kind)


def _extras(text: str, pos: int, unit: Unit) -> tuple[int | None, float | None]:
    """Priority and tolerance behind a goal's value."""
    priority: int | None = None
    tolerance: float | None = None
    pos = _skip(text, pos)
    while pos < len(text):
        if text[pos] != ",":
            raise _at(text, pos, "the end of the goal, or ', priority 1', or ', tolerance 1%'")
        pos = _skip(text, pos + 1)
        word = _EXTRA.match(text, pos)
        if word is None or (priority if word[0] == "priority" else tolerance) is not None:
            raise _at(text, pos, "'priority' or 'tolerance', each once")
        pos = _skip(text, word.end())
        if word[0] == "priority":
            number = _PRIORITY.match(text, pos)
            if number is None:
                raise _at(text, pos, "a priority from 1, which comes first, to 99")
            priority, pos = int(number[0]), number.end()
        else:
            value = _VALUE.match(text, pos)
            if value is None:
                raise _at(text, pos, "a number")
            if (value["unit"] or "") != unit:
                raise _at(text, value.end("num"), f"the unit of the goal's value, {unit or 'none'}")
            tolerance, pos = float(value["num"]), value.end()
        pos = _skip(text, pos)
    return priority, tolerance


def _skip(text: str, pos: int) -> int:
    while pos < len(text) and text[pos].isspace():
        pos += 1
    return pos


def _at(text: str, pos: int, expected: str) -> InvalidRequestError:
    found = repr(text[pos]) if pos < len(text) else "the end"
    return InvalidRequestError(
        f"goal {text!r}: character {pos + 1} is {found}, expected {expected}",
        remedy="Write goals like 'PTV: D95% ≥ 95%' or 'Rectum: V50Gy ≤ 30%'.",
        position=pos,
    )


class GoalResult(BaseModel):
    """A goal with its value on the final dose, in the unit of its limit.

    ``status`` is None (and ``value`` None) where the structure does not exist in this patient;
    ``note`` then says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    structure: str
    value: float | None
    unit: str
    status: GoalStatus | None
    note: str | None = None
    priority: int | None = Field(default=None, description="1 comes first; null where the goal gives none.")
