"""Dose of every spot for itself, as a sparse matrix; weights are the optimiser's business."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse

from radiarch_worker.engines.arraycache import Arrays, ContentKey
from radiarch_worker.model import Grid

from . import files
from .ct import EngineCt
from .installation import file_sha256, find_installation
from .runs import Part, RunSettings, part_seed, run_parts
from .sparse import RowMap, SparseColumns, read_sparse
from .spots import SpotPlan
from .turn import Turn

PART_PRIMARIES = 400_000
"""Protons in one part at most: some 20 s, so that the engine's start (0.6 s) stays small."""
_PARTS_MULTIPLE = 4
"""So many parts, or twice, three times as many, so that two or four cores end together."""

_ENGINE_EXTRA = {
    "Beamlet_Mode": True,
    # For processes of many threads: on one it only costs, 2 ms a spot.
    "Beamlet_Parallelization": False,
    "Dose_MHD_Output": False,
    "Dose_Sparse_Output": True,
    # About 1/1000 of a spot's highest voxel; smaller values only fill the matrix.
    "Dose_Sparse_Threshold": 20000.0,
}


@dataclass(frozen=True)
class BeamletResult:
    """Dose of each spot.

    Attributes
    ----------
    matrix : (rows, spots) float32 CSC, physical Gy per MU
    voxels : (rows,) flat index into (Z, Y, X) of ``grid``
    cached : they were computed by an earlier job, of exactly the same input
    """

    matrix: scipy.sparse.csc_matrix
    voxels: npt.NDArray[np.int64]
    grid: Grid
    primaries: int
    parts: int
    engine_s: float
    cached: bool = False


def compute_beamlets(
    ct: EngineCt,
    plan: SpotPlan,
    scoring: Grid,
    wanted: npt.NDArray[np.bool_],
    primaries: int,
    settings: RunSettings,
) -> BeamletResult:
    """Dose per MU of every spot in the wanted voxels, from ``settings.cache`` where it has them.

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
    per_part = max(1, PART_PRIMARIES // primaries)
    count = math.ceil(plan.spot_count / per_part)
    if count > 1:
        count = min(_PARTS_MULTIPLE * math.ceil(count / _PARTS_MULTIPLE), plan.spot_count)
    edges = np.linspace(0, plan.spot_count, count + 1).round().astype(int)
    parts = []
    for i in range(count):
        spots = plan.slice(int(edges[i]), int(edges[i + 1]))
        seed = part_seed(settings.seed, "beamlets", i)
        parts.append(
            Part(
                f"beamlets {i + 1}/{count}", spots, np.ones(spots.spot_count), primaries, seed, float(spots.spot_count)
            )
        )
    key = _key(ct, scoring, parts, wanted, settings)
    engine_s = 0.0

    def make() -> Arrays:
        nonlocal engine_s
        matrix, voxels, engine_s = _run(ct, plan, scoring, parts, wanted, settings)
        return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "voxels": voxels}

    arrays, cached = (make(), False) if settings.cache is None else settings.cache.get(key, make, settings.reporter.log)
    matrix = scipy.sparse.csc_matrix(
        (arrays["data"], arrays["indices"], arrays["indptr"]),
        shape=(len(arrays["voxels"]), plan.spot_count),
        copy=False,
    )
    matrix.has_sorted_indices = True
    settings.reporter.progress(1.0)
    return BeamletResult(matrix, np.asarray(arrays["voxels"]), scoring, primaries, count, engine_s, cached)


def _key(
    ct: EngineCt, scoring: Grid, parts: Sequence[Part], wanted: npt.NDArray[np.bool_], settings: RunSettings
) -> str:
    """From all that the engine is given, in the form in which it is given it, and all that is done afterwards."""
    installation = find_installation()
    key = ContentKey().add("what", "MCsquare beamlets 2")
    key.add("engine", file_sha256(installation.binary)).add("version", installation.version)
    key.add("machine", settings.machine.sha256).add("machine as given", settings.machine.bdl_text)
    key.add("calibration", settings.calibration.sha256["tables"])
    key.add("patient position", ct.patient_position).add("CT grid", repr(ct.grid)).add("CT", ct.hu)
    key.add("scoring grid", repr(scoring)).add("wanted", np.packbits(wanted))
    for part in parts:
        key.add("plan", files.plan_text(part.plan, part.weights_mu, ct.grid))
        key.add(
            "configuration", files.config_text(scoring, primaries=part.primaries, seed=part.seed, extra=_ENGINE_EXTRA)
        )
        key.add("Gy per MU", settings.machine.gy_per_mu(part.plan.energies_mev))
    return key.hex()


def _run(
    ct: EngineCt,
    plan: SpotPlan,
    scoring: Grid,
    parts: Sequence[Part],
    wanted: npt.NDArray[np.bool_],
    settings: RunSettings,
) -> tuple[scipy.sparse.csc_matrix, npt.NDArray[np.int64], float]:
    turn = Turn.of(ct.patient_position)
    row_map, turned = RowMap.of(wanted, turn), turn.grid(scoring)
    read: dict[int, SparseColumns] = {}

    def take(index: int, outputs: Path) -> None:
        read[index] = read_sparse(outputs, turned, parts[index].plan, row_map)

    engine_s = run_parts(ct, scoring, parts, _ENGINE_EXTRA, settings, take, "beamlets", settings.reporter.progress)
    matrix = _assemble([read.pop(i) for i in range(len(parts))], len(row_map.voxels))
    _scale_columns(matrix, settings.machine.gy_per_mu(plan.energies_mev))
    if matrix.nnz == 0:
        raise files.invalid_output("no spot gives dose to any wanted voxel")
    return matrix, row_map.voxels, engine_s


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
