"""Dose of every spot for itself, as a sparse matrix; weights are the optimiser's business."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse

from radiarch_worker.model import Grid

from . import files
from .ct import EngineCt
from .runs import Part, RunSettings, part_seed, run_parts
from .sparse import RowMap, SparseColumns, read_sparse
from .spots import SpotPlan

PART_PRIMARIES = 400_000
"""Protons in one part: some 20 s, so that the engine's start (0.6 s) stays small."""


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
    per_part = max(1, PART_PRIMARIES // primaries)
    count = max(1, math.ceil(plan.spot_count / per_part))
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

    engine_s = run_parts(ct, scoring, parts, extra, settings, take, "beamlets", settings.reporter.progress)
    matrix = _assemble([read.pop(i) for i in range(count)], len(row_map.voxels))
    _scale_columns(matrix, settings.machine.gy_per_mu(plan.energies_mev))
    if matrix.nnz == 0:
        raise files.invalid_output("no spot gives dose to any wanted voxel")
    return BeamletResult(matrix, row_map.voxels, scoring, primaries, count, engine_s)


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
