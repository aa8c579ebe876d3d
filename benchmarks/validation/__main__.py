"""Makes ``docs/validation.md``: runs every comparison, or those that are named, and says which demands do not hold."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import dvh, solver, water
from .section import Section

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOCOLS = CHECKOUT / "orthanc-config" / "protocols"
DOCUMENT = CHECKOUT / "docs" / "validation.md"
HEAD = """# Validation

What was compared with what, and what was found. Made by `python -m benchmarks.validation`, which runs all of it anew;
each section says what it demands. The cases are named in `benchmarks/README.md`.
"""


def sections(cases: Path) -> dict[str, Callable[[], Section]]:
    """All comparisons by name, in the order of the document."""
    return {
        "water": water.water_ranges,
        "analytic-dvh": dvh.analytic_dvhs,
        "clinical-dvh": lambda: dvh.clinical_dvhs(cases / "prostate"),
        "solver": lambda: solver.same_optimum(cases / "tg119", PROTOCOLS / "tg119-c-shape.yaml"),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", help="only these sections, printed; without names all, written to docs")
    arguments.add_argument(
        "--cases", type=Path, default=os.environ.get("RADIARCH_CASES", CHECKOUT.parent / "shared/cases")
    )
    options = arguments.parse_args()
    known = sections(Path(options.cases))
    unknown = set(options.names) - set(known)
    if unknown:
        sys.exit(f"no section {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    done = []
    for name in options.names or known:
        began = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        done.append(known[name]())
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    text = "\n".join(s.markdown() for s in done)
    if options.names:
        print(text)
    else:
        DOCUMENT.write_text(f"{HEAD}\n{text}")
    if not all(s.holds for s in done):
        sys.exit("not every demand holds: " + ", ".join(s.title for s in done if not s.holds))


if __name__ == "__main__":
    main()
