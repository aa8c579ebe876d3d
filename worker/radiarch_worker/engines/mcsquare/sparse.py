"""Reads MCsquare's sparse beamlet files straight into compressed columns; units are the caller's business.

Little endian; per spot ``u4 n_values, u4 beam, u4 layer, f4 x, f4 y``, then runs ``u4 length, u4 first_row,
f4 values[length]`` until ``n_values`` are read; a spot without values has the head only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt

from radiarch_worker.model import Grid

from .files import check_header, engine_corner_mm, invalid_output, read_pairs
from .spots import SpotPlan
from .turn import Turn

_OK, _TRUNCATED, _BAD_ROW, _BAD_VALUE, _TOO_LONG = range(5)
_PROBLEMS = {
    _TRUNCATED: "ends too early",
    _BAD_ROW: "names a voxel outside the grid",
    _BAD_VALUE: "holds a value that is negative or not finite",
    _TOO_LONG: "is longer than its spots",
}


@dataclass(frozen=True)
class SparseColumns:
    """Columns (spots) of a sparse matrix; rows are the wanted voxels.

    Attributes
    ----------
    start : (columns + 1,) int64
    rows : (n,) int32, rising within a column
    values : (n,) float32, eV/g per primary
    """

    start: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class RowMap:
    """Which voxels become rows, in the engine's order, so that its rising indices stay rising.

    Attributes
    ----------
    of_engine : row for each voxel in the engine's order, -1 where it is not wanted
    voxels : (rows,) int64, flat index into the patient's (Z, Y, X) of each row's voxel
    """

    of_engine: npt.NDArray[np.int32]
    voxels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, wanted: npt.NDArray[np.bool_], turn: Turn) -> RowMap:
        """Rows for the true voxels of a (Z, Y, X) mask of the patient, who was turned for the engine."""
        flipped = turn.volume(wanted)[:, ::-1, ::-1].ravel()
        rows = np.where(flipped, np.cumsum(flipped, dtype=np.int64) - 1, -1).astype(np.int32)
        index = turn.volume(np.arange(wanted.size, dtype=np.int64).reshape(wanted.shape))[:, ::-1, ::-1].ravel()
        return cls(rows, index[flipped])


def read_sparse(folder: Path, scoring: Grid, plan: SpotPlan, row_map: RowMap) -> SparseColumns:
    """``Sparse_Dose.txt`` and its binary, of one run over ``plan``, on a grid that was turned.

    Raises
    ------
    EngineError
        ``engine_output_invalid``, when a file is missing, or its grid or spots are not those asked for.
    """
    text, binary = folder / "Sparse_Dose.txt", folder / "Sparse_Dose.bin"
    if not text.is_file() or not binary.is_file() or text.stat().st_size > 10_000:
        raise invalid_output("no beamlets were written")
    header = read_pairs(text.read_text("ascii", "replace"))
    nz, ny, nx = scoring.shape
    check_header(
        header,
        {
            "NbrSpots": (plan.spot_count,),
            "ImageSize": (nx, ny, nz),
            "VoxelSpacing": scoring.spacing_mm,
            "Offset": engine_corner_mm(scoring),
        },
        "Sparse_Dose.txt",
    )
    if header.get("SimulationMode") != "Beamlet" or binary.stat().st_size % 4:
        raise invalid_output("Sparse_Dose.txt is not of a beamlet run, or its binary was cut")
    words = np.memmap(binary, dtype="<u4", mode="r")
    reals = words.view("<f4")
    heads = np.zeros((plan.spot_count, 2), dtype=np.uint32)
    positions = np.zeros((plan.spot_count, 2), dtype=np.float32)
    start = np.zeros(plan.spot_count + 1, dtype=np.int64)
    kept_before = np.concatenate(([0], np.cumsum(row_map.of_engine >= 0, dtype=np.int64)))
    problem = _count(words, reals, kept_before, heads, positions, start)
    if problem == _OK:
        rows = np.empty(start[-1], dtype=np.int32)
        values = np.empty(start[-1], dtype=np.float32)
        problem = _fill(words, reals, row_map.of_engine, plan.spot_count, rows, values)
    if problem != _OK:
        raise invalid_output(f"Sparse_Dose.bin {_PROBLEMS[problem]}")
    expected_heads, expected_positions = _expected_heads(plan)
    if not (np.array_equal(heads, expected_heads) and np.allclose(positions, expected_positions, rtol=0, atol=1e-2)):
        raise invalid_output("the beamlets are not of the spots asked for, or in another order")
    return SparseColumns(start, rows, values)


def _expected_heads(plan: SpotPlan) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
    layers = [(i, j, layer) for i, beam in enumerate(plan.beams) for j, layer in enumerate(beam.layers)]
    heads = [np.full((len(layer), 2), (i + 1, j + 1), dtype=np.uint32) for i, j, layer in layers]
    positions = [np.stack([layer.x_mm, layer.y_mm], axis=1) for *_, layer in layers]
    return np.concatenate(heads), np.concatenate(positions)


@numba.njit(cache=True, nogil=True)
def _count(words, reals, kept_before, heads, positions, start):  # type: ignore[no-untyped-def]
    voxels = len(kept_before) - 1
    at = np.int64(0)
    for spot in range(len(heads)):
        if at + 5 > len(words):
            return _TRUNCATED
        n = words[at]
        heads[spot, 0] = words[at + 1]
        heads[spot, 1] = words[at + 2]
        positions[spot, 0] = reals[at + 3]
        positions[spot, 1] = reals[at + 4]
        at += 5
        seen = np.int64(0)
        kept = np.int64(0)
        while seen < n:
            if at + 2 > len(words):
                return _TRUNCATED
            length = np.int64(words[at])
            first = np.int64(words[at + 1])
            at += 2
            if length == 0 or at + length > len(words):
                return _TRUNCATED
            if first + length > voxels:
                return _BAD_ROW
            kept += kept_before[first + length] - kept_before[first]
            seen += length
            at += length
        start[spot + 1] = start[spot] + kept
    return _OK if at == len(words) else _TOO_LONG


@numba.njit(cache=True, nogil=True)
def _fill(words, reals, row_map, spots, rows, values):  # type: ignore[no-untyped-def]
    at = np.int64(0)
    out = 0
    for _ in range(spots):
        n = words[at]
        at += 5
        seen = np.int64(0)
        while seen < n:
            length = np.int64(words[at])
            first = np.int64(words[at + 1])
            at += 2
            for i in range(length):
                value = reals[at + i]
                if not (value >= 0.0 and value < np.inf):
                    return _BAD_VALUE
                row = row_map[first + i]
                if row >= 0:
                    rows[out] = row
                    values[out] = value
                    out += 1
            seen += length
            at += length
    return _OK
