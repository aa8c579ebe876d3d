"""One section of ``docs/validation.md``: its text, its tables and whether what it demands holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """What one comparison found.

    Attributes
    ----------
    how : what was compared with what, one paragraph
    demands : each as (what is demanded, what was found, whether it holds)
    """

    title: str
    how: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    demands: Sequence[tuple[str, str, bool]]
    note: str = ""

    @property
    def holds(self) -> bool:
        return all(ok for _, _, ok in self.demands)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", self.how, ""]
        lines += [_row(self.header), _row(["---"] * len(self.header)), *map(_row, self.rows), ""]
        lines += [f"- {what}: {found}; {'holds' if ok else '**does not hold**'}." for what, found, ok in self.demands]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
