"""Times whole plans, ours and stock OpenTPS's at the same settings one after the other, and writes a table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[1]
PROTOCOLS = CHECKOUT / "orthanc-config" / "protocols"
STOCKS = {"ct_calibration": "UCL_Toshiba"}
"""What stock OpenTPS cannot be given otherwise: both plans have it, or they would be of different patients."""
EQUAL = Path(__file__).with_name("equal.yaml")
CASES = {"prostate": "prostate-two-lateral", "tg119": "tg119-c-shape"}
_SAMPLE_S = 0.2


@dataclass(frozen=True)
class Measured:
    """What a program printed, and the most memory that it and its children held."""

    lines: list[dict[str, Any]]
    peak_mb: float

    @property
    def answer(self) -> dict[str, Any]:
        return self.lines[-1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--cases", type=Path, default=os.environ.get("RADIARCH_CASES", CHECKOUT.parent / "shared/cases")
    )
    arguments.add_argument("--case", choices=sorted(CASES), default="prostate")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--without-stock", action="store_true", help="only our own plan")
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of both plans")
    arguments.add_argument(
        "--set-ours", action="append", default=[], metavar="NAME=VALUE", help="one of our plan only: see README.md"
    )
    arguments.add_argument(
        "--equal", action="store_true", help="with the settings of equal.yaml: plans as good as each other"
    )
    arguments.add_argument("--uncertainty", type=float, default=1.0, help="percent, of the dose that judges both plans")
    arguments.add_argument("--table", type=Path, default=None, help="also written to this file")
    options = arguments.parse_args()
    case, protocol = Path(options.cases) / options.case, PROTOCOLS / f"{CASES[options.case]}.yaml"
    quality: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as folder:
        plans = [Path(folder) / "ours.npz", Path(folder) / "stock.npz"]
        equal = yaml.safe_load(EQUAL.read_text()) if options.equal else {"both": {}, "ours": {}}
        same = {} if options.without_stock else STOCKS
        settings = [*_settings(same), *_settings(equal["both"]), *(f"--set={s}" for s in options.set)]
        own = [*settings, *_settings(equal["ours"]), *(f"--set={s}" for s in options.set_ours)]
        ours = measure("benchmarks.ours", case, protocol, "--threads", options.threads, "--plan", plans[0], *own)
        stock = None
        if not options.without_stock:
            extra = ["--final-primaries", ours.answer["final_primaries"], "--grid-mm", *ours.answer["grid_mm"]]
            stock = measure("benchmarks.stock", case, protocol, *extra, *settings, "--plan", plans[1])
            # stock OpenTPS knows no RBE: its objectives are of physical dose
            said = measure(
                "benchmarks.quality",
                *(case, protocol, *plans, "--weighting", 1.1, 1.0),
                *("--threads", options.threads, "--uncertainty", options.uncertainty),
                *settings,
            )
            quality = said.lines
    text = table(options.case, options.threads, ours, stock, quality)
    print(text)
    if options.table is not None:
        options.table.write_text(text + "\n")


def _settings(parameters: Mapping[str, Any]) -> list[str]:
    return [f"--set={name}={json.dumps(value)}" for name, value in parameters.items()]


def measure(module: str, *arguments: object) -> Measured:
    """Run a module in a process and home of its own, and watch its memory."""
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-home-") as home:
        # the compiled parts of numba are kept with the sources; only OpenTPS uses the home
        environment = {**os.environ, "HOME": home, "PYTHONPATH": _python_path()}
        output = Path(home) / "output.txt"
        with output.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)], cwd=CHECKOUT, env=environment, stdout=stream
            )
            peak_kb = 0
            while process.poll() is None:
                peak_kb = max(peak_kb, _tree_kb(process.pid))
                time.sleep(_SAMPLE_S)
        if process.returncode != 0:
            sys.exit(f"{module} ended with exit code {process.returncode}")
        answers = [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]
        return Measured(answers, peak_kb / 1024)


def _python_path() -> str:
    return os.pathsep.join(str(CHECKOUT / name) for name in ("", "contract", "worker"))


def _tree_kb(pid: int) -> int:
    """Proportional set size of a process and all below it, shared pages counted once."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    own = next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return own + sum(_tree_kb(int(child)) for child in children)


def table(case: str, threads: int, ours: Measured, stock: Measured | None, quality: Sequence[Mapping[str, Any]]) -> str:
    """The measurements as Markdown."""
    a = ours.answer
    engine_s = a["timings_s"]["engine"]
    rows = [
        ("case, cores", f"{case}, {threads}"),
        ("total, s", f"{a['total_s']:.0f}"),
        ("total, processor seconds", f"{a['cpu_s']:.0f}"),
        ("MCsquare's own time in it, s", f"{engine_s:.0f}"),
        ("total ÷ MCsquare's own time", f"{a['total_s'] / engine_s:.3f} (wanted: at most 1.10)"),
        ("peak memory, engines included, MB", f"{ours.peak_mb:.0f} (wanted: below 4096)"),
        ("statistical uncertainty, %", f"{a['uncertainty_percent']:.2f}"),
        ("protons of the final dose", f"{a['final_primaries']}"),
    ]
    rows += [
        (stage.replace("_", " ") + ", s", f"{seconds:.1f}")
        for stage, seconds in a["timings_s"].items()
        if stage != "engine"
    ]
    if stock is not None:
        s = stock.answer
        rows += [
            ("stock OpenTPS, total, s", f"{s['total_s']:.0f}"),
            ("stock OpenTPS, MCsquare's own time in it, s", f"{s['engine_s']:.0f}"),
            ("stock OpenTPS, peak memory, MB", f"{stock.peak_mb:.0f}"),
            ("stock OpenTPS, processor seconds", f"{s['cpu_s']:.0f}"),
            ("**total ÷ stock total**", f"**{a['total_s'] / s['total_s']:.2f}** (wanted: at most 0.25)"),
            ("the same in processor seconds", f"{a['cpu_s'] / s['cpu_s']:.2f}"),
        ]
    rows += _dose_rows("", a["doses"])
    for found, name in zip(quality, ("ours", "stock OpenTPS"), strict=False):
        rows += _dose_rows(f"{name}, recomputed ({found['uncertainty_percent']:.1f} %): ", found["doses"])
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _dose_rows(before: str, doses: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    return [
        (
            f"{before}{name}: mean, D98, D95, D2, Gy",
            ", ".join(f"{d[k]:.1f}" for k in ("mean_gy", "d98_gy", "d95_gy", "d2_gy")),
        )
        for name, d in doses.items()
    ]


if __name__ == "__main__":
    main()
