"""One section of ``docs/validation.md``: its text, its tables and whether what it demands holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Section:
    """What one comparison found.

    Attributes
    ----------
    how : what was compared with what, one paragraph
    demands : each as (what is demanded, what was found, whether it holds)
    workflows : ids of the workflows that it says something about
    """

    title: str
    how: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    demands: Sequence[tuple[str, str, bool]]
    note: str = ""
    workflows: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return all(ok for _, _, ok in self.demands)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", self.how, ""]
        lines += [_row(self.header), _row(["---"] * len(self.header)), *map(_row, self.rows), ""]
        lines += [f"- {what}: {found}; {'holds' if ok else '**does not hold**'}." for what, found, ok in self.demands]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])


def store(section: Section, file: Path) -> None:
    """Keep a result, so that the document is made without running it again."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(dataclasses.asdict(section), indent=1, ensure_ascii=False) + "\n")


def stored(file: Path) -> Section:
    """A result that was kept."""
    values: dict[str, Any] = json.loads(file.read_text())
    values["demands"] = [(str(what), str(found), bool(ok)) for what, found, ok in values["demands"]]
    return Section(**values)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
