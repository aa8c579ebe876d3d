"""LET as the engine writes it: rounding in air is nothing, what is really wrong costs the LET and not the plan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from radiarch_contract.errors import EngineError
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import files
from radiarch_worker.engines.mcsquare.files import LET_ROUNDING_KEV_UM, engine_corner_mm, read_let
from radiarch_worker.model import Grid
from radiarch_worker.planning.proton.let import score_let

GRID = Grid((0.0, 0.0, 0.0), (4.0, 4.0, 4.0), (3, 4, 5))


def write(folder: Path, values: np.ndarray[Any, Any]) -> None:
    nz, ny, nx = GRID.shape
    corner = " ".join(map(str, engine_corner_mm(GRID)))
    (folder / "LET.mhd").write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = {nx} {ny} {nz}\nElementSpacing = 4.0 4.0 4.0\nOffset = {corner}\n"
        "ElementType = MET_FLOAT\nElementDataFile = LET.raw\n"
    )
    values.astype("<f4").tofile(folder / "LET.raw")


def turn() -> Any:
    return SimpleNamespace(grid=lambda g: g, back=lambda v: v)


def test_rounding_is_nothing(tmp_path: Path) -> None:
    values = np.linspace(0, 10, 60).reshape(GRID.shape)
    values[0, 0] = [-1e-12, -1e-3, -0.9 * LET_ROUNDING_KEV_UM, 0.0, 0.3]
    write(tmp_path, values)
    read = read_let(tmp_path, GRID, turn())
    assert read.min() == 0
    assert np.allclose(read, np.maximum(values[:, ::-1, ::-1], 0), atol=1e-6)


@pytest.mark.parametrize("wrong", [-1.0, -2 * LET_ROUNDING_KEV_UM, float("nan"), float("inf")])
def test_what_is_no_rounding_is_refused(tmp_path: Path, wrong: float) -> None:
    values = np.ones(GRID.shape)
    values[1, 1, 1] = wrong
    write(tmp_path, values)
    with pytest.raises(EngineError):
        read_let(tmp_path, GRID, turn())


@pytest.mark.parametrize("error", [files.invalid_output("LET.raw holds values"), ZeroDivisionError(), MemoryError()])
def test_let_that_cannot_be_scored_is_a_note(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(mcsquare, "compute_let", fail)
    lines: list[str] = []
    run: Any = SimpleNamespace(reporter=SimpleNamespace(log=lines.append))
    nothing: Any = None
    scored = score_let(nothing, nothing, nothing, GRID, nothing, run, 1000)
    assert scored.let is None
    assert "no LET map" in scored.note
    assert any("Traceback" in line for line in lines)
