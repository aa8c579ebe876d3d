"""Makes ``docs/validation.md``: runs every comparison, or those that are named, and says which demands do not hold.

Each result is kept in ``benchmarks/validation/results``; the document is made of what is kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from radiarch_contract.workflows import WORKFLOWS

from . import calibrations, clinical, dvh, goal_tuning, let, photons, readback, robust, solver, tg119, water
from .section import Section, store, stored

CHECKOUT = Path(__file__).resolve().parents[2]
PROTOCOLS = CHECKOUT / "orthanc-config" / "protocols"
DOCUMENT = CHECKOUT / "docs" / "validation.md"
RESULTS = Path(__file__).parent / "results"
HEAD = """# Validation

What was compared with what, and what was found. `python -m benchmarks.validation` runs all of it and makes this page;
`python -m benchmarks.validation NAME …` runs some sections anew, `--page` none. Each section says what it demands. The
cases are named in `benchmarks/README.md`.
"""


def sections(cases: Path) -> dict[str, Callable[[], Section]]:
    """All comparisons by name, in the order of the document."""
    return {
        "water": water.water_ranges,
        "calibration-ranges": calibrations.ranges,
        "tissues": calibrations.tissues,
        "let": let.let_in_water,
        "photon-depth-dose": photons.depth_doses,
        "photon-output": photons.output_factors,
        "photon-profiles": photons.profiles,
        "photon-angles": photons.angles,
        "photon-oblique": photons.oblique,
        "analytic-dvh": dvh.analytic_dvhs,
        "clinical-dvh": lambda: dvh.clinical_dvhs(cases / "prostate"),
        "clinical-plan": lambda: clinical.recomputed(cases / "prostate"),
        "tg119": lambda: tg119.beside_goals(cases / "tg119", PROTOCOLS / "tg119-c-shape.yaml"),
        "tuned-clinical": lambda: goal_tuning.beside_clinical(cases / "prostate", PROTOCOLS / "prostate-tuned.yaml"),
        "tuned-tg119": lambda: goal_tuning.beside_fixed_weights(cases / "tg119", PROTOCOLS / "tg119-c-shape.yaml"),
        "robust": robust.shifted_by_hand,
        "readback": readback.read_back,
        "solver": lambda: solver.same_optimum(cases / "tg119", PROTOCOLS / "tg119-c-shape.yaml"),
    }


def page(results: Mapping[str, Section]) -> str:
    """The document: which workflow is shown where, then each section."""
    return "\n".join([HEAD, _by_workflow(list(results.values())), *(s.markdown() for s in results.values())])


def _by_workflow(results: Sequence[Section]) -> str:
    lines = ["| workflow | compared in |", "| --- | --- |"]
    for workflow in WORKFLOWS:
        titles = [f"[{s.title}](#{_anchor(s.title)})" for s in results if workflow in s.workflows]
        lines.append(f"| `{workflow}` | {'; '.join(titles) or '**nothing yet**'} |")
    return "\n".join([*lines, ""])


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", help="only these sections; without names all")
    arguments.add_argument("--page", action="store_true", help="run nothing, make the page of what is kept")
    arguments.add_argument(
        "--cases", type=Path, default=os.environ.get("RADIARCH_CASES", CHECKOUT.parent / "shared/cases")
    )
    options = arguments.parse_args()
    known = sections(Path(options.cases))
    unknown = set(options.names) - set(known)
    if unknown:
        sys.exit(f"no section {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in [] if options.page else options.names or known:
        began = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        section = known[name]()
        store(section, RESULTS / f"{name}.json")
        print(f"{section.markdown()}\n{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    results = {name: stored(file) for name in known if (file := RESULTS / f"{name}.json").is_file()}
    DOCUMENT.write_text(page(results))
    left_out = [name for name in known if name not in results]
    failing = [s.title for s in results.values() if not s.holds]
    if left_out or failing:
        sys.exit(
            f"not run yet: {', '.join(left_out) or 'none'}; demands that do not hold: {', '.join(failing) or 'none'}"
        )


if __name__ == "__main__":
    main()
