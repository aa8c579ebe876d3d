"""Normalization: the written dose to which a plan is scaled after its final dose; scaling is the worker's business.

``[STRUCTURE:] METRIC = VALUE`` with METRIC one of ``D95%`` ``D2cc`` ``Dmean`` ``Dmin`` ``Dmax`` ``Dmax(0.03cc)`` and
VALUE in ``%`` (of the structure's prescribed dose) or ``Gy``. Without a structure it is the target.

>>> n = Normalization.parse("D95% = 100%", target="PTV")
>>> n.structure, str(n.metric), n.value, n.unit, n.text
('PTV', 'D95%', 100.0, '%', 'PTV: D95% = 100%')
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InvalidRequestError
from .goals import Goal, Metric, Unit

_REMEDY = "Write it like 'D95% = 100%', 'CTV: D98% = 95%' or 'PTV: Dmean = 60 Gy'."


@dataclass(frozen=True)
class Normalization:
    """A parsed normalization.

    Attributes
    ----------
    goal : the same metric and value as a goal
    """

    goal: Goal

    @property
    def structure(self) -> str:
        return self.goal.structure

    @property
    def metric(self) -> Metric:
        return self.goal.metric

    @property
    def value(self) -> float:
        return self.goal.limit

    @property
    def unit(self) -> Unit:
        return self.goal.limit_unit

    @property
    def text(self) -> str:
        unit = " Gy" if self.unit == "Gy" else self.unit
        return f"{self.structure}: {self.metric} = {self.value:.12g}{unit}"

    @classmethod
    def parse(cls, text: str, *, target: str) -> Normalization:
        """Parse a normalization; ``target`` is the structure where it names none.

        Raises
        ------
        InvalidRequestError
            Naming the character at which the text stops making sense.
        """
        for i, character in enumerate(text):
            if character in "≥≤<>,":
                raise _at(text, i, "one '=' and nothing behind the value")
        left, equals, right = text.partition("=")
        if not equals:
            raise _at(text, len(text), "'=' and a dose")
        prefix = "" if ":" in left else f"{target}: "
        try:
            goal = Goal.parse(f"{prefix}{left}≥{right}")
        except InvalidRequestError as e:
            position = max(0, int(e.info.details.get("position", 0)) - len(prefix))
            raise _at(text, position, str(e).rpartition("expected ")[2] or "a dose") from None
        if goal.metric.kind not in ("D", "Dmean", "Dmin", "Dmax"):
            raise _at(
                text, len(left) - len(left.rpartition(":")[2].lstrip()), "a dose: D95%, D2cc, Dmean, Dmin or Dmax"
            )
        if goal.limit <= 0:
            raise _at(text, len(left) + 1, "a dose above 0")
        return cls(goal)


def _at(text: str, position: int, expected: str) -> InvalidRequestError:
    found = repr(text[position]) if position < len(text) else "the end"
    return InvalidRequestError(
        f"normalization {text!r}: character {position + 1} is {found}, expected {expected}",
        remedy=_REMEDY,
        position=position,
    )
