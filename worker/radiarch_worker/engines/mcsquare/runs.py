"""Runs MCsquare in seeded one-thread parts; what the parts compute and how they are put together is the caller's.

MCsquare repeats itself bit for bit only on one thread. So the work is cut into parts by rules that do not know
how many cores there are, each with a seed derived from the job's seed and the part's number; parts run as
many at a time as cores are given, and are put together in their order.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.engines.processes import Command, run_all
from radiarch_worker.model import FloatVolume, Grid, Reporter

from . import files
from .calibration import Calibration
from .ct import EngineCt
from .installation import find_installation, runnable_binary
from .machine import ProtonMachine
from .materials import write_folder
from .spots import SpotPlan
from .turn import Turn

LOG_NAME = "MCsquare"
_LOG_LINES_PER_PART = 20
_NOT_LOGGED = (
    *("Simulation started", "MC computation time", "Output computation time"),
    "Warning: Unknown tag",
)
_SHARED = (
    *(files.BDL_FILE, files.DENSITY_FILE, files.MATERIAL_FILE, files.MATERIALS_FOLDER),
    *(files.CT_FILE, "ct.raw"),
)
"""Of all parts of a run."""


@dataclass(frozen=True)
class RunSettings:
    """What all runs of a job share.

    Attributes
    ----------
    job_dir : the job's own folder; each run makes a new folder below it
    threads : engine processes at a time
    timeout_s : for each engine process
    cache : where beamlets are kept from job to job, if anywhere
    """

    machine: ProtonMachine
    calibration: Calibration
    seed: int
    threads: int
    job_dir: Path
    reporter: Reporter
    timeout_s: float = 4 * 3600.0
    cache: ArrayCache | None = None


@dataclass(frozen=True)
class Part:
    """One engine process.

    Attributes
    ----------
    primaries : protons, in beamlet mode for each spot
    work : its share, for progress
    """

    name: str
    plan: SpotPlan
    weights_mu: npt.NDArray[np.float64]
    primaries: int
    seed: int
    work: float


def part_seed(seed: int, purpose: str, index: int) -> int:
    # Hashed, so that neighbouring seeds and parts do not share streams; 0 would mean the clock to the engine.
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2_000_000_000 + 1


def run_parts(
    ct: EngineCt,
    scoring: Grid,
    parts: Sequence[Part],
    extra: Mapping[str, object],
    settings: RunSettings,
    take: Callable[[int, Path], None],
    name: str,
    progress: Callable[[float], None],
) -> float:
    """Run each part in a folder of its own.

    Parameters
    ----------
    extra
        Settings of the engine beyond those that all runs share.
    take
        Reads a part that ended, by its number and folder of outputs; the folder is removed after that.

    Returns
    -------
    float
        Seconds in which the engine ran.
    """
    root = settings.job_dir / f"mcsquare-{name}"
    root.mkdir(parents=True)  # fails where it exists: never another run's output
    installation = find_installation()
    binary = runnable_binary(installation, settings.job_dir)
    turn = Turn.of(ct.patient_position)
    ct_grid, scoring = turn.grid(ct.grid), turn.grid(scoring)
    _share(turn.volume(ct.hu), ct_grid, settings, root)
    commands = []
    for i, part in enumerate(parts):
        folder = root / str(i)
        (folder / files.OUTPUT_FOLDER).mkdir(parents=True)
        for shared in _SHARED:
            (folder / shared).symlink_to(Path("..") / shared)
        (folder / files.PLAN_FILE).write_text(files.plan_text(turn.plan(part.plan), part.weights_mu, ct_grid))
        config = files.config_text(scoring, primaries=part.primaries, seed=part.seed, extra=extra)
        (folder / files.CONFIG_FILE).write_text(config)
        environment = {"MCsquare_Materials_Dir": files.MATERIALS_FOLDER, "PATH": os.environ.get("PATH", "")}
        commands.append(Command(part.name, (str(binary), files.CONFIG_FILE), folder, environment, part.work))
    log = _PartLog(settings.reporter, commands, progress)

    def done(command: Command) -> None:
        log.finished(command)
        take(commands.index(command), command.folder / files.OUTPUT_FOLDER)
        shutil.rmtree(command.folder)

    try:
        return run_all(commands, threads=settings.threads, on_line=log.line, on_done=done, timeout_s=settings.timeout_s)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _share(hu: FloatVolume, grid: Grid, settings: RunSettings, root: Path) -> None:
    files.write_ct(hu, grid, root)
    (root / files.BDL_FILE).write_text(settings.machine.bdl_text)
    (root / files.DENSITY_FILE).write_text(settings.calibration.density_text)
    (root / files.MATERIAL_FILE).write_text(settings.calibration.material_text)
    write_folder(settings.calibration.custom_materials, root / files.MATERIALS_FOLDER)


class _PartLog:
    """The engine's lines as log and progress: percentages and beamlet counts become progress."""

    def __init__(self, reporter: Reporter, commands: Sequence[Command], progress: Callable[[float], None]) -> None:
        self._reporter = reporter
        self._progress = progress
        self._total = sum(c.weight for c in commands)
        self._fraction = {c.name: 0.0 for c in commands}
        self._weight = {c.name: c.weight for c in commands}
        self._logged = dict.fromkeys(self._fraction, 0)

    def line(self, command: Command, line: str) -> None:
        fraction = _fraction_of(line)
        if fraction is not None:
            if fraction > self._fraction[command.name]:
                self._fraction[command.name] = fraction
                self._tell()
        elif self._worth(line) and self._logged[command.name] < _LOG_LINES_PER_PART:
            self._logged[command.name] += 1
            self._reporter.log(f"{LOG_NAME} {command.name}: {line}")

    def finished(self, command: Command) -> None:
        self._fraction[command.name] = 1.0
        self._tell()

    def _tell(self) -> None:
        done = sum(self._fraction[name] * weight for name, weight in self._weight.items())
        self._progress(min(1.0, done / self._total))

    @staticmethod
    def _worth(line: str) -> bool:
        # The one configuration serves all of the engine's builds; each warns of the keys that only others know.
        return not line.startswith(_NOT_LOGGED)


def _fraction_of(line: str) -> float | None:
    """Progress in a line of the engine's output, such as ``Beamlet 3 / 81`` or ``40.0 %``."""
    words = line.split()
    try:
        if len(words) == 4 and words[0] == "Beamlet" and words[2] == "/":
            return (int(words[1]) - 1) / int(words[3])
        if len(words) >= 2 and words[1] == "%":
            return float(words[0]) / 100
    except (ValueError, ZeroDivisionError):
        return None
    return None
