"""What the engine gives is checked, repeatable, and read right; nothing stale or foreign passes."""

from __future__ import annotations

import builtins
import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_contract.errors import EngineError, ErrorCode, InvalidRequestError
from radiarch_worker.engines import mcsquare, opentps
from radiarch_worker.engines.mcsquare import PlannedBeam, PlannedLayer, SpotPlan, calibration, files, machine
from radiarch_worker.engines.mcsquare.sparse import RowMap, read_sparse
from radiarch_worker.engines.mcsquare.turn import Turn
from radiarch_worker.model import Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import settings

pytestmark = pytest.mark.engine

CT = Grid((0.0, 0.0, 0.0), (3.0, 3.0, 3.0), (20, 40, 20))
SCORING = Grid((9.0, 6.0, 12.0), (3.0, 3.0, 3.0), (12, 36, 14))
UNTURNED = Turn.of(PatientPosition.HFS)
WATER = mcsquare.EngineCt(np.zeros(CT.shape, dtype=np.float32), CT, PatientPosition.HFS)


def two_layers() -> SpotPlan:
    x, y = (v.ravel().astype(float) for v in np.meshgrid([-6.0, 0.0, 6.0], [-5.0, 5.0]))
    layers = (PlannedLayer(115.0, x, y), PlannedLayer(105.0, x[:4], y[:4]))
    return SpotPlan((PlannedBeam(0.0, 0.0, (30.0, 60.0, 30.0), layers),))


def beamlets(folder: Path, **changes: Any) -> mcsquare.BeamletResult:
    folder.mkdir()
    wanted = np.ones(SCORING.shape, dtype=bool)
    return mcsquare.compute_beamlets(WATER, two_layers(), SCORING, wanted, 500, settings(folder, **changes))


def dose(folder: Path, weights: npt.NDArray[np.float64] | None = None, **changes: Any) -> mcsquare.DoseResult:
    folder.mkdir()
    target = np.zeros(SCORING.shape, dtype=bool)
    target[4:8, 20:28, 4:8] = True
    return mcsquare.compute_dose(
        WATER,
        two_layers(),
        np.ones(10) if weights is None else weights,
        SCORING,
        target,
        settings(folder, **changes),
        uncertainty_percent=5.0,
        primaries=15_000,
        min_parts=3,
    )


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiarch_worker.engines.mcsquare.beamlets.PART_PRIMARIES", 1500)


@pytest.mark.usefixtures("small_parts")
def test_same_bits_for_any_number_of_threads(tmp_path: Path) -> None:
    first, second = beamlets(tmp_path / "a", threads=1), beamlets(tmp_path / "b", threads=3)
    assert first.parts == second.parts > 2
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(first.matrix, name), getattr(second.matrix, name))
    one, two = dose(tmp_path / "c", threads=1), dose(tmp_path / "d", threads=3)
    assert np.array_equal(one.dose_gy, two.dose_gy)
    assert one.uncertainty_percent == two.uncertainty_percent
    assert not np.array_equal(one.dose_gy, dose(tmp_path / "e", seed=2).dose_gy)


def test_dose_is_linear_in_meterset(tmp_path: Path) -> None:
    once, twice = dose(tmp_path / "a"), dose(tmp_path / "b", weights=np.full(10, 2.0))
    assert twice.dose_gy == pytest.approx(2 * once.dose_gy, rel=1e-6)


def test_beamlets_summed_are_the_dose_of_their_plan(tmp_path: Path) -> None:
    weights = np.linspace(0.5, 3.0, 10)
    matrix = beamlets(tmp_path / "a").matrix
    summed = (matrix @ weights.astype(np.float32)).sum(dtype=np.float64)
    direct = dose(tmp_path / "b", weights=weights).dose_gy.sum(dtype=np.float64)
    assert summed == pytest.approx(direct, rel=0.02)


def test_uncertainty_is_the_spread_between_repetitions(tmp_path: Path) -> None:
    """The figure from the parts of one run is that of whole runs with other seeds."""
    runs = [dose(tmp_path / str(seed), seed=seed) for seed in range(1, 5)]
    target = np.zeros(SCORING.shape, dtype=bool)
    target[4:8, 20:28, 4:8] = True
    values = np.stack([r.dose_gy[target] for r in runs]).astype(np.float64)
    c4 = 0.9213  # bias of the standard deviation of four samples
    spread = float((values.std(axis=0, ddof=1) / c4 / values.mean(axis=0)).mean() * 100)
    assert np.mean([r.uncertainty_percent for r in runs]) == pytest.approx(spread, rel=0.15)


def test_parts_are_added_until_the_uncertainty_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "radiarch_worker.engines.mcsquare.dose._NOISE_FACTOR", 0.02
    )  # a first guess that is far too small
    monkeypatch.setattr("radiarch_worker.engines.mcsquare.dose.PART_PRIMARIES", (2000, 250_000))
    target = np.zeros(SCORING.shape, dtype=bool)
    target[4:8, 20:28, 4:8] = True
    result = mcsquare.compute_dose(
        WATER,
        two_layers(),
        np.ones(10),
        SCORING,
        target,
        settings(tmp_path),
        uncertainty_percent=9.0,
        min_parts=3,
    )
    assert result.parts > 3
    assert 5.0 < result.uncertainty_percent <= 9.0


def test_no_run_leaves_files_and_none_starts_in_a_used_folder(tmp_path: Path) -> None:
    beamlets(tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir() if p.is_dir()] == []
    (tmp_path / "b" / "mcsquare-dose-0").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        mcsquare.compute_dose(
            WATER,
            two_layers(),
            np.ones(10),
            SCORING,
            np.ones(SCORING.shape, dtype=bool),
            settings(tmp_path / "b"),
            uncertainty_percent=5.0,
            primaries=10_000,
        )


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outputs of one beamlet run, kept."""
    kept = tmp_path / "kept"
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: None)
    beamlets(tmp_path / "run")
    shutil.copytree(tmp_path / "run" / "mcsquare-beamlets" / "0" / "Outputs", kept)
    return kept


def test_reader_agrees_with_that_of_opentps(run_folder: Path) -> None:
    io = opentps.load("io.mcsquareIO")
    voxels = int(np.prod(SCORING.shape))
    with opentps.calls():
        theirs = io._read_sparse_data(str(run_folder / "Sparse_Dose.bin"), voxels, 10).tocsc()
    wanted = np.zeros(SCORING.shape, dtype=bool)
    wanted[2:9, 3:30, 1:11] = True
    rows = RowMap.of(wanted, UNTURNED)
    ours = read_sparse(run_folder, SCORING, two_layers(), rows)
    for column in range(10):
        full = theirs[:, column].toarray().reshape(SCORING.shape)[:, ::-1, ::-1]
        mine = np.zeros(SCORING.shape, dtype=np.float32)
        span = slice(ours.start[column], ours.start[column + 1])
        mine.ravel()[rows.voxels[ours.rows[span]]] = ours.values[span]
        assert np.array_equal(mine, np.where(wanted, full, 0))
        assert (np.diff(ours.rows[span]) > 0).all()


def damage(name: str, folder: Path) -> None:
    binary, text = folder / "Sparse_Dose.bin", folder / "Sparse_Dose.txt"
    words = np.fromfile(binary, dtype="<u4")
    match name:
        case "missing":
            binary.unlink()
        case "cut":
            binary.write_bytes(binary.read_bytes()[:-40])
        case "longer":
            binary.write_bytes(binary.read_bytes() + bytes(8))
        case "of another spot":
            words[3] = np.float32(55.0).view(np.uint32)
            words.tofile(binary)
        case "a voxel outside":
            words[6] = 4_000_000
            words.tofile(binary)
        case "not a number":
            words[7] = np.float32(np.nan).view(np.uint32)
            words.tofile(binary)
        case "of another grid":
            text.write_text(text.read_text().replace("ImageSize = 14", "ImageSize = 15"))
        case "of another place":
            text.write_text(text.read_text().replace("Offset = 7.5", "Offset = 9.5"))


@pytest.mark.parametrize(
    "name",
    [
        "missing",
        "cut",
        "longer",
        "of another spot",
        "a voxel outside",
        "not a number",
        "of another grid",
        "of another place",
    ],
)
def test_damaged_beamlets_are_refused(run_folder: Path, name: str) -> None:
    rows = RowMap.of(np.ones(SCORING.shape, dtype=bool), UNTURNED)
    read_sparse(run_folder, SCORING, two_layers(), rows)
    damage(name, run_folder)
    with pytest.raises(EngineError) as caught:
        read_sparse(run_folder, SCORING, two_layers(), rows)
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


def write_dose(folder: Path, values: npt.NDArray[np.float64], grid: Grid) -> None:
    nz, ny, nx = grid.shape
    corner = " ".join(f"{v:.6f}" for v in files.engine_corner_mm(grid))
    (folder / "Dose.mhd").write_text(
        f"NDims = 3\nDimSize = {nx} {ny} {nz}\nElementSpacing = 3.000000 3.000000 3.000000\nOffset = {corner}\n"
        "ElementType = MET_FLOAT\nElementByteOrderMSB = False\nElementDataFile = Dose.raw\n"
    )
    values.astype("<f4").tofile(folder / "Dose.raw")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_doses_of_nonsense_are_refused(tmp_path: Path, bad: float) -> None:
    values = np.ones(SCORING.shape)
    write_dose(tmp_path, values, SCORING)
    assert np.array_equal(files.read_dose(tmp_path, SCORING, UNTURNED), values)
    values[3, 4, 5] = bad
    write_dose(tmp_path, values, SCORING)
    with pytest.raises(EngineError, match="negative or not finite"):
        files.read_dose(tmp_path, SCORING, UNTURNED)


def test_doses_of_nothing_of_another_grid_or_cut_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="was not written"):
        files.read_dose(tmp_path, SCORING, UNTURNED)
    write_dose(tmp_path, np.zeros(SCORING.shape), SCORING)
    with pytest.raises(EngineError, match="zero everywhere"):
        files.read_dose(tmp_path, SCORING, UNTURNED)
    write_dose(tmp_path, np.ones(SCORING.shape), SCORING)
    moved = Grid((9.0, 6.0, 15.0), SCORING.spacing_mm, SCORING.shape)
    with pytest.raises(EngineError, match="Offset"):
        files.read_dose(tmp_path, moved, UNTURNED)
    (tmp_path / "Dose.raw").write_bytes(b"1234")
    with pytest.raises(EngineError, match="bytes long"):
        files.read_dose(tmp_path, SCORING, UNTURNED)


def test_a_plan_that_misses_the_patient_is_refused(tmp_path: Path) -> None:
    # As with a misread beam data library: the engine then ends with exit code 0 and a dose of zero.
    beam = PlannedBeam(0.0, 0.0, (900.0, 60.0, 30.0), (PlannedLayer(110.0, np.zeros(1), np.zeros(1)),))
    with pytest.raises(EngineError) as caught:
        mcsquare.compute_dose(
            WATER,
            SpotPlan((beam,)),
            np.ones(1),
            SCORING,
            np.ones(SCORING.shape, dtype=bool),
            settings(tmp_path),
            uncertainty_percent=5.0,
            primaries=10_000,
            min_parts=2,
        )
    assert caught.value.code is ErrorCode.ENGINE_OUTPUT_INVALID


def test_each_beams_own_dose_is_told_and_they_sum_to_the_plans(tmp_path: Path) -> None:
    """Beams of unlike weight, one of which misses the patient: its share of nothing is nothing."""

    def beam(gantry_deg: float, x_mm: float) -> PlannedBeam:
        return PlannedBeam(
            gantry_deg, 0.0, (x_mm, 60.0, 30.0), (PlannedLayer(110.0, np.zeros(2), np.array([-6.0, 6.0])),)
        )

    plan = SpotPlan((beam(0.0, 30.0), beam(180.0, 30.0), beam(0.0, 900.0)))
    weights = np.array([3.0, 3.0, 1.0, 1.0, 2.0, 2.0])
    target = np.zeros(SCORING.shape, dtype=bool)
    target[4:7, 5:20, 4:8] = True

    def run(a_plan: SpotPlan, mu: npt.NDArray[np.float64], name: str, each_beam: bool) -> mcsquare.DoseResult:
        there = replace(settings(tmp_path), job_dir=tmp_path / name)
        return mcsquare.compute_dose(
            *(WATER, a_plan, mu, SCORING, target, there),
            uncertainty_percent=5.0,
            primaries=80_000,
            min_parts=4,
            each_beam=each_beam,
        )

    found = run(plan, weights, "each", True)
    assert len(found.beams_gy) == 3
    assert np.allclose(sum(found.beams_gy), found.dose_gy, rtol=1e-5, atol=1e-9)
    assert not found.beams_gy[2].any()
    for k in range(2):
        alone = run(SpotPlan((plan.beams[k],)), weights[2 * k : 2 * k + 2], f"alone {k}", False)
        assert alone.beams_gy == ()
        assert found.beams_gy[k][target].mean() == pytest.approx(alone.dose_gy[target].mean(), rel=0.03)
    together = run(plan, weights, "together", False)
    assert found.dose_gy[target].mean() == pytest.approx(together.dose_gy[target].mean(), rel=0.03)


def test_probe_runs_the_engine(tmp_path: Path) -> None:
    answer = mcsquare.probe(tmp_path)
    assert answer["available"] is True
    assert "MCsquare_linux" in answer["version"]
    assert list(tmp_path.iterdir()) == []


def test_a_library_of_opentps_that_does_not_load_makes_the_engine_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opentps, "_COMPILED", ("libNowhere.so",))
    answer = mcsquare.probe(tmp_path)
    assert answer["available"] is False
    assert "libNowhere.so cannot be loaded" in answer["reason"]


def test_an_installation_that_may_not_be_written_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image, whose files are root's and whose user is not."""
    really_open = builtins.open

    def read_only(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if set(mode) & set("+wax") and "site-packages" in str(file):
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return really_open(file, mode, *rest, **options)

    machine._read_machine.cache_clear()
    calibration._engine_tables.cache_clear()
    monkeypatch.setattr(builtins, "open", read_only)
    assert mcsquare.load_machine("BDL_default_UN_RangeShifter").bdl_text
    assert mcsquare.load_calibration("UCL_Toshiba").density_text


def test_unknown_machines_and_calibrations_are_named_refusals() -> None:
    with pytest.raises(InvalidRequestError, match="BDL_default_UN_RangeShifter"):
        mcsquare.load_machine("../../etc/passwd")
    with pytest.raises(InvalidRequestError, match="UCL_Toshiba"):
        mcsquare.load_calibration("x")
