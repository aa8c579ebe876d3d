"""``python -m benchmarks.sensitivity``: errors made on purpose, at the second check; the table in ``docs/checks.md``.

Takes about half an hour on two cores: the engine runs for each error of geometry, range or CT.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from radiarch_contract.verdict import Outcome

from tests.worker.recalculation.checks import Ran
from tests.worker.recalculation.errors import FACTS, MORE, Error, Known
from tests.worker.recalculation.sensitivity import make_bench, said

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "checks.md"
BEGIN, END = "<!-- sensitivity -->", "<!-- /sensitivity -->"
MACHINES: Mapping[Known, str] = {"known": "known", "remembered": "seen", "unknown": "new"}
HEADER = ("error in what arrives", *MACHINES.values(), "γ in BODY, %", "said by")


def main(argv: Sequence[str]) -> int:
    """Try every error, print what is said of each, and write the table; 1 where something wrong is said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="Errors whose name has this text; the table is then not written.")
    only: str | None = parser.parse_args(argv).only
    errors = [e for e in (*FACTS, *MORE) if only is None or only in e.name]
    rows: list[list[str]] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="radiarch-sensitivity-") as name:
        folder = Path(name)
        bench = make_bench(folder, reference_percent=0.8, uncertainty_percent=1.9)
        bench.reports = False
        for error in errors:
            ran: dict[Known, Ran] = {}
            for machine in error.machines:
                here = folder / f"{len(rows)}-{machine}"
                here.mkdir()
                ran[machine] = bench.check(error, machine, here)
                if said(ran[machine]) not in error.machines[machine]:
                    wrong.append(f"{error.name} ({machine}): {said(ran[machine])}")
            rows.append(_row(error, ran))
            print(" | ".join(rows[-1]), flush=True)
    if only is None:
        _write(rows)
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


def _row(error: Error, ran: Mapping[Known, Ran]) -> list[str]:
    first = next(iter(ran.values()))
    gammas = [c.gamma for r in ran.values() if (c := r.result.comparison) is not None]
    passed = list(dict.fromkeys(f"{g.passed_percent:.1f}" for g in gammas if g is not None))
    said_of = [said(ran[machine]) if machine in ran else "" for machine in MACHINES]
    return [error.name, *said_of, " / ".join(passed), _reasons(first)]


def _reasons(ran: Ran) -> str:
    """Which criteria are worst, or the error's code."""
    if ran.result.error is not None:
        return f"`{ran.result.error.code}`"
    verdict = ran.result.verdict
    assert verdict is not None
    if verdict.result is Outcome.PASS:
        return ""
    worst = [c.id for c in verdict.criteria if c.result is verdict.result]
    return ", ".join(f"`{i}`" for i in dict.fromkeys(worst))


def _write(rows: Sequence[Sequence[str]]) -> None:
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
