"""What beamlets are corrected by: what is wrong with them, not the noise of the dose that tells it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_worker.model import Grid
from radiarch_worker.optimization import MetricTerm
from radiarch_worker.planning.tuning.correction import CorrectedTerm, correction

GRID = Grid((0.0, 0.0, 0.0), (3.0, 4.0, 5.0), (20, 22, 24))
VOXELS = np.arange(GRID.shape[0] * GRID.shape[1] * GRID.shape[2], dtype=np.int64)[500:]
TARGET = np.arange(2000, 7000, dtype=np.intp)


def smooth_error() -> npt.NDArray[np.float32]:
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(GRID.shape, (5.0, 4.0, 3.0), strict=True)), indexing="ij")
    error = 2.0 * np.sin(x / 12) * np.cos(y / 15) * np.sin(z / 20)
    return np.asarray(error.ravel()[VOXELS], dtype=np.float32)


def test_what_is_wrong_is_found_under_noise() -> None:
    error = smooth_error()
    noise_gy = 1.0
    noisy = error + np.random.default_rng(1).normal(0, noise_gy, len(error)).astype(np.float32)
    added = correction(noisy, VOXELS, GRID, TARGET, noise_gy).added_gy
    left = (added - error)[TARGET]
    assert left.std() < 0.35 * noise_gy
    assert left.std() < 0.5 * error[TARGET].std()


def test_noise_alone_corrects_hardly_anything() -> None:
    noise = np.random.default_rng(2).normal(0, 1.0, len(VOXELS)).astype(np.float32)
    found = correction(noise, VOXELS, GRID, TARGET, 1.0)
    assert found.added_gy[TARGET].std() < 0.15
    assert found.spread_gy < 0.2


@pytest.mark.parametrize("noise_gy", [0.4, 0.8])
def test_what_varies_unseen_is_told_from_noise_also_where_it_cannot_be_corrected(noise_gy: float) -> None:
    rng = np.random.default_rng(5)
    unseen, noise = (rng.normal(0, sigma, len(VOXELS)).astype(np.float32) for sigma in (0.8, noise_gy))
    found = correction(unseen + noise, VOXELS, GRID, TARGET, noise_gy)
    assert found.spread_gy == pytest.approx(0.8, rel=0.15)
    assert found.left_gy == pytest.approx((unseen - found.added_gy)[TARGET].std(), rel=0.15)


def test_a_certain_dose_is_believed_to_the_voxel() -> None:
    error = smooth_error() + np.random.default_rng(3).normal(0, 0.5, len(VOXELS)).astype(np.float32)
    added = correction(error, VOXELS, GRID, TARGET, 0.01).added_gy
    np.testing.assert_allclose(added, error, atol=0.01)


def test_a_corrected_penalty_is_the_penalty_of_the_corrected_dose() -> None:
    rng = np.random.default_rng(4)
    dose, added = rng.uniform(50, 70, 12).astype(np.float32), rng.normal(0, 2, 12).astype(np.float32)
    term = MetricTerm("T", np.arange(12), ObjectiveMetric.DUNIFORM, 60.0, None, 3.0)
    corrected = CorrectedTerm(term, added)
    for got, wanted in zip(corrected.value_and_gradient(dose), term.value_and_gradient(dose + added), strict=True):
        assert got == pytest.approx(wanted)
    assert corrected.with_rows(np.arange(5, 17)).rows[0] == 5
