"""Runs MCsquare in seeded one-thread parts and puts their results together; what is computed is the caller's choice.

MCsquare repeats itself bit for bit only on one thread. So the work is cut into parts by rules that do not know
how many cores there are, each with a seed derived from the job's seed and the part's number; parts run as
many at a time as cores are given, and are put together in their order.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse
from radiarch_contract.errors import EngineError, ErrorCode

from radiarch_worker.engines.processes import Command, run_all
from radiarch_worker.model import FloatVolume, Grid, Reporter

from . import files
from .ct import EngineCt
from .installation import find_installation, runnable_binary
from .machine import Calibration, ProtonMachine
from .sparse import RowMap, SparseColumns, read_sparse
from .spots import SpotPlan

BEAMLET_PART_PRIMARIES = 400_000
"""Protons in one beamlet part: about 10 s, so that the engine's start (0.6 s) stays small."""
DOSE_PARTS_FIRST = 8
"""Parts of the final dose that always run: enough to measure the spread between them."""
DOSE_PART_PRIMARIES = (5_000, 250_000)
"""Least and most protons in one part of the final dose."""
MAX_PRIMARIES = 1_000_000_000
_NOISE_FACTOR = 0.15
"""First guess of the final dose's noise: u² = factor * target volume / (primaries * voxel volume), measured on
two lateral beams; only the size of the first parts depends on it."""
_LOG_LINES_PER_PART = 60
_CONTEXT = "MCsquare"


@dataclass(frozen=True)
class RunSettings:
    """What all runs of a job share.

    Attributes
    ----------
    job_dir : the job's own folder; each run makes a new folder below it
    """

    machine: ProtonMachine
    calibration: Calibration
    seed: int
    threads: int
    job_dir: Path
    reporter: Reporter
    timeout_s: float = 4 * 3600.0


@dataclass(frozen=True)
class BeamletResult:
    """Dose of each spot.

    Attributes
    ----------
    matrix : (rows, spots) float32 CSC, physical Gy per MU
    voxels : (rows,) flat index into (Z, Y, X) of ``grid``
    """

    matrix: scipy.sparse.csc_matrix
    voxels: npt.NDArray[np.int64]
    grid: Grid
    primaries: int
    parts: int
    engine_s: float


@dataclass(frozen=True)
class DoseResult:
    """Dose of a plan.

    Attributes
    ----------
    dose_gy : (Z, Y, X) float32 on ``grid``, physical Gy for one fraction
    uncertainty_percent : 1 sigma of the mean over parts, relative, averaged over the target's voxels
    """

    dose_gy: FloatVolume
    grid: Grid
    uncertainty_percent: float
    primaries: int
    parts: int
    engine_s: float


@dataclass(frozen=True)
class _Part:
    name: str
    plan: SpotPlan
    weights_mu: npt.NDArray[np.float64]
    primaries: int
    seed: int


def compute_beamlets(
    ct: EngineCt,
    plan: SpotPlan,
    scoring: Grid,
    wanted: npt.NDArray[np.bool_],
    primaries: int,
    settings: RunSettings,
) -> BeamletResult:
    """Dose per MU of every spot in the wanted voxels.

    Parameters
    ----------
    scoring
        Grid on which the engine scores; inside ``ct.grid``.
    wanted : (Z, Y, X) bool on ``scoring``
    primaries
        Protons for each spot.

    Raises
    ------
    EngineError
    """
    per_part = max(1, BEAMLET_PART_PRIMARIES // primaries)
    count = max(1, math.ceil(plan.spot_count / per_part))
    edges = np.linspace(0, plan.spot_count, count + 1).round().astype(int)
    parts = []
    for i in range(count):
        spots = plan.slice(int(edges[i]), int(edges[i + 1]))
        seed = _part_seed(settings.seed, "beamlets", i)
        parts.append(_Part(f"beamlets {i + 1}/{count}", spots, np.ones(spots.spot_count), primaries, seed))
    row_map = RowMap.of(wanted)
    extra = {
        "Beamlet_Mode": True,
        "Beamlet_Parallelization": True,
        "Dose_MHD_Output": False,
        "Dose_Sparse_Output": True,
        # About 1/1000 of a spot's highest voxel; smaller values only fill the matrix.
        "Dose_Sparse_Threshold": 20000.0,
    }
    read: dict[int, SparseColumns] = {}

    def take(index: int, outputs: Path) -> None:
        read[index] = read_sparse(outputs, scoring, parts[index].plan, row_map)

    engine_s = _run_parts(ct, scoring, parts, extra, settings, take, "beamlets", settings.reporter.progress)
    matrix = _assemble([read.pop(i) for i in range(count)], len(row_map.voxels))
    _scale_columns(matrix, settings.machine.gy_per_mu(plan.energies_mev))
    if matrix.nnz == 0:
        raise files.invalid_output("no spot gives dose to any wanted voxel")
    return BeamletResult(matrix, row_map.voxels, scoring, primaries, count, engine_s)


def compute_dose(
    ct: EngineCt,
    plan: SpotPlan,
    weights_mu: npt.NDArray[np.float64],
    scoring: Grid,
    target: npt.NDArray[np.bool_],
    settings: RunSettings,
    *,
    uncertainty_percent: float,
    primaries: int | None = None,
    min_parts: int = DOSE_PARTS_FIRST,
) -> DoseResult:
    """Dose of a plan with given meterset, until it is as certain as wanted.

    Parameters
    ----------
    weights_mu : (spots,) for one fraction, in the plan's order
    target : (Z, Y, X) bool on ``scoring``; where the uncertainty is measured
    uncertainty_percent
        Wanted, 1 sigma. Parts are added until what is measured is not more than this.
    primaries
        Total number of protons instead of a wanted uncertainty.
    min_parts
        Parts that always run, at least 2.

    Raises
    ------
    EngineError
    """
    size = _part_primaries(target, scoring, uncertainty_percent, primaries, min_parts)
    wanted_parts = min_parts if primaries is None else max(min_parts, math.ceil(primaries / size))
    total = np.zeros(scoring.shape, dtype=np.float64)
    in_target: list[npt.NDArray[np.float32]] = []
    engine_s = 0.0
    while True:
        first = len(in_target)
        parts = [
            _Part(f"dose {i + 1}/{wanted_parts}", plan, weights_mu, size, _part_seed(settings.seed, "dose", i))
            for i in range(first, wanted_parts)
        ]
        waiting: dict[int, FloatVolume] = {}

        def take(index: int, outputs: Path, waiting: dict[int, FloatVolume] = waiting, first: int = first) -> None:
            waiting[first + index] = files.read_dose(outputs, scoring)
            while (n := len(in_target)) in waiting:  # summed in the parts' order, whichever ends first
                dose = waiting.pop(n)
                np.add(total, dose, out=total)
                in_target.append(dose[target])

        def progress(fraction: float, first: int = first, last: int = wanted_parts) -> None:
            settings.reporter.progress((first + fraction * (last - first)) / last)

        engine_s += _run_parts(ct, scoring, parts, {}, settings, take, f"dose-{first}", progress)
        measured = _uncertainty_percent(in_target)
        settings.reporter.log(f"{_CONTEXT}: {len(in_target)} x {size} protons, uncertainty {measured:.2f} %")
        if primaries is not None or measured <= uncertainty_percent:
            break
        wanted_parts = _more_parts(len(in_target), measured, uncertainty_percent, size)
    mean = total / len(in_target)
    mean *= float(np.dot(weights_mu, settings.machine.gy_per_mu(plan.energies_mev)))
    return DoseResult(
        dose_gy=mean.astype(np.float32),
        grid=scoring,
        uncertainty_percent=measured,
        primaries=size * len(in_target),
        parts=len(in_target),
        engine_s=engine_s,
    )


def _part_primaries(
    target: npt.NDArray[np.bool_],
    scoring: Grid,
    uncertainty_percent: float,
    primaries: int | None,
    min_parts: int,
) -> int:
    low, high = DOSE_PART_PRIMARIES
    if primaries is None:
        voxels = int(np.count_nonzero(target))
        guess = _NOISE_FACTOR * voxels / (uncertainty_percent / 100) ** 2
        parts = max(2 * min_parts, math.ceil(guess / high))
    else:
        guess = float(primaries)
        parts = max(min_parts, math.ceil(guess / high))
    return int(min(high, max(low, 1000 * math.ceil(guess / parts / 1000))))


def _more_parts(done: int, measured: float, wanted: float, size: int) -> int:
    # Noise falls with the square root of the number of parts; 3 % more, so that one further round mostly suffices.
    needed = math.ceil(1.03 * done * (measured / wanted) ** 2)
    needed = max(done + 2, 2 * math.ceil(needed / 2))
    if needed * size > MAX_PRIMARIES:
        raise EngineError(
            f"an uncertainty of {wanted:g} % needs {needed * size:.2g} protons; at most {MAX_PRIMARIES:.2g} are run",
            remedy="Ask for a higher uncertainty_percent or a coarser scoring_spacing_mm.",
            code=ErrorCode.ENGINE_FAILED,
        )
    return needed


def _uncertainty_percent(parts: Sequence[npt.NDArray[np.float32]]) -> float:
    """Mean over voxels of the standard error of the mean over parts, relative to that mean.

    The sample's standard deviation is corrected for its bias (c4 of normal samples), so that the figure
    does not depend on the number of parts.
    """
    n = len(parts)
    values = np.stack(parts).astype(np.float64)
    mean = values.mean(axis=0)
    if not (mean > 0).any():
        raise files.invalid_output("no dose reaches the target")
    c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    error = values.std(axis=0, ddof=1) / c4 / math.sqrt(n)
    # A voxel that no proton has hit yet is as uncertain as can be.
    relative = np.divide(error, mean, out=np.ones_like(mean), where=mean > 0)
    return float(100 * relative.mean())


def _assemble(columns: Sequence[SparseColumns], rows: int) -> scipy.sparse.csc_matrix:
    starts = [np.zeros(1, dtype=np.int64)]
    offset = 0
    for c in columns:
        starts.append(c.start[1:] + offset)
        offset += int(c.start[-1])
    indptr = np.concatenate(starts)
    matrix = scipy.sparse.csc_matrix(
        (np.concatenate([c.values for c in columns]), np.concatenate([c.rows for c in columns]), indptr),
        shape=(rows, len(indptr) - 1),
        copy=False,
    )
    matrix.has_sorted_indices = True
    return matrix


def _scale_columns(matrix: scipy.sparse.csc_matrix, factors: npt.NDArray[np.float64]) -> None:
    matrix.data *= np.repeat(factors.astype(np.float32), np.diff(matrix.indptr))


def _part_seed(seed: int, purpose: str, index: int) -> int:
    # Hashed, so that neighbouring seeds and parts do not share streams; 0 would mean the clock to the engine.
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2_000_000_000 + 1


def _run_parts(
    ct: EngineCt,
    scoring: Grid,
    parts: Sequence[_Part],
    extra: Mapping[str, object],
    settings: RunSettings,
    take: Callable[[int, Path], None],
    name: str,
    progress: Callable[[float], None],
) -> float:
    """Run each part in a folder of its own; ``take(index, outputs)`` reads it before the folder is removed."""
    root = settings.job_dir / f"mcsquare-{name}"
    root.mkdir(parents=True)  # fails where it exists: never another run's output
    installation = find_installation()
    binary = runnable_binary(installation, settings.job_dir)
    _share(ct, settings, root)
    commands = []
    for i, part in enumerate(parts):
        folder = root / str(i)
        (folder / files.OUTPUT_FOLDER).mkdir(parents=True)
        for shared in (files.BDL_FILE, files.DENSITY_FILE, files.MATERIAL_FILE, files.CT_FILE, "ct.raw"):
            (folder / shared).symlink_to(Path("..") / shared)
        (folder / files.MATERIALS_FOLDER).symlink_to(installation.materials)
        (folder / files.PLAN_FILE).write_text(files.plan_text(part.plan, part.weights_mu, ct.grid))
        config = files.config_text(scoring, primaries=part.primaries, seed=part.seed, extra=extra)
        (folder / files.CONFIG_FILE).write_text(config)
        environment = {"MCsquare_Materials_Dir": files.MATERIALS_FOLDER, "PATH": os.environ.get("PATH", "")}
        work = float(part.primaries * (part.plan.spot_count if extra.get("Beamlet_Mode") else 1))
        commands.append(Command(part.name, (str(binary), files.CONFIG_FILE), folder, environment, work))
    log = _PartLog(settings.reporter, commands, progress)

    def done(command: Command) -> None:
        log.finished(command)
        take(commands.index(command), command.folder / files.OUTPUT_FOLDER)
        shutil.rmtree(command.folder)

    try:
        return run_all(commands, threads=settings.threads, on_line=log.line, on_done=done, timeout_s=settings.timeout_s)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _share(ct: EngineCt, settings: RunSettings, root: Path) -> None:
    files.write_ct(ct.hu, ct.grid, root)
    (root / files.BDL_FILE).write_text(settings.machine.bdl_text)
    shutil.copyfile(settings.calibration.density_file, root / files.DENSITY_FILE)
    shutil.copyfile(settings.calibration.material_file, root / files.MATERIAL_FILE)


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
            self._reporter.log(f"{_CONTEXT} {command.name}: {line}")

    def finished(self, command: Command) -> None:
        self._fraction[command.name] = 1.0
        self._tell()

    def _tell(self) -> None:
        done = sum(self._fraction[name] * weight for name, weight in self._weight.items())
        self._progress(min(1.0, done / self._total))

    @staticmethod
    def _worth(line: str) -> bool:
        # The one configuration serves all of the engine's builds; each warns of the keys that only others know.
        return not line.startswith(("MC computation time", "Output computation time", "Warning: Unknown tag"))


def _fraction_of(line: str) -> float | None:
    """Progress that a line of the engine tells, such as ``Simulation of beamlet 3/81`` or ``40.0 %``."""
    words = line.split()
    try:
        if len(words) >= 4 and words[:3] == ["Simulation", "of", "beamlet"]:
            done, _, total = words[3].partition("/")
            return (int(done) - 1) / int(total)
        if len(words) >= 2 and words[1] == "%":
            return float(words[0]) / 100
    except (ValueError, ZeroDivisionError):
        return None
    return None
