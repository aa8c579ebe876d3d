"""Laws of the plan's grids: on CT voxel centres, one lattice for all, covering what they are asked to cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiarch_worker.dicom.dose.content import check_alignment
from radiarch_worker.model import Grid
from radiarch_worker.planning.geometry import (
    ScoringLattice,
    center_of_mass_mm,
    distance_mm,
    grow_mask,
    nearest_multiple,
    sample_mask,
    sample_share,
)

from tests.worker.engines.water import Box, box_mask

CT = Grid((-40.0, 12.5, -300.0), (1.8, 1.5, 2.5), (40, 50, 60))


@pytest.mark.parametrize(
    ("spacing_mm", "wanted_mm", "k"),
    [(1.8, 3.0, 2), (2.0, 3.0, 1), (1.0, 3.0, 3), (5.0, 3.0, 1), (1.2, 3.0, 2), (1.25, 3.0, 2), (0.9, 2.0, 2)],
)
def test_nearest_multiple_and_ties_to_the_finer(spacing_mm: float, wanted_mm: float, k: int) -> None:
    assert nearest_multiple(spacing_mm, wanted_mm) == k


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    box = []
    for axis in range(3):
        n = CT.shape[2 - axis]
        low = draw(st.integers(0, n - 2))
        high = draw(st.integers(low + 1, n - 1))
        box.append((CT.axis_mm(axis)[low] - 0.1, CT.axis_mm(axis)[high] + 0.1))
    return (box[0], box[1], box[2])


@given(body=boxes(), inner=boxes(), wanted_mm=st.floats(1, 6), margin_mm=st.floats(0, 12))
def test_grids_lie_on_ct_voxel_centers_on_one_lattice_and_cover(
    body: Box, inner: Box, wanted_mm: float, margin_mm: float
) -> None:
    outline = box_mask(CT, body)
    inside = box_mask(CT, inner) & outline
    lattice = ScoringLattice.of(CT, wanted_mm, outline)
    whole = lattice.grid(outline)
    grids = [whole] + ([lattice.grid(inside, margin_mm)] if inside.any() else [])
    for grid, mask in zip(grids, (outline, inside), strict=False):
        check_alignment(grid, CT)  # what is planned on can be stored
        for axis in range(3):
            k = grid.spacing_mm[axis] / CT.spacing_mm[axis]
            assert k == pytest.approx(round(k))
            index = (grid.origin_mm[axis] - CT.origin_mm[axis]) / CT.spacing_mm[axis]
            assert index == pytest.approx(round(index), abs=1e-6)
            steps = (grid.origin_mm[axis] - whole.origin_mm[axis]) / whole.spacing_mm[axis]
            assert steps == pytest.approx(round(steps), abs=1e-6)
            used = CT.axis_mm(axis)[np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != 2 - axis)))]
            centers = grid.axis_mm(axis)
            assert centers[0] <= used[0] + 1e-6
            assert centers[-1] >= used[-1] - 1e-6


@given(box=boxes(), k=st.integers(1, 3))
def test_sampled_masks_are_the_masks_at_the_centers(box: Box, k: int) -> None:
    mask = box_mask(CT, box)
    (ox, oy, oz), (dx, dy, dz), (nz, ny, nx) = CT.origin_mm, CT.spacing_mm, CT.shape
    grid = Grid(
        (ox - 2 * dx, oy - 2 * dy, oz - 2 * dz), (k * dx, k * dy, k * dz), (nz // k + 4, ny // k + 4, nx // k + 4)
    )
    clipped = tuple(
        (max(low, CT.axis_mm(a)[0] - 0.1), min(high, CT.axis_mm(a)[-1] + 0.1)) for a, (low, high) in enumerate(box)
    )
    assert np.array_equal(sample_mask(mask, CT, grid), box_mask(grid, (clipped[0], clipped[1], clipped[2])))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_shares_of_voxels_add_up_to_the_volume_and_tell_the_edge(step: int) -> None:
    mask = box_mask(CT, ((-20.0, 0.0), (30.0, 50.0), (-260.0, -200.0)))
    grid = ScoringLattice.of(CT, 0.1, np.ones(CT.shape, dtype=bool))
    coarse = ScoringLattice(CT, (step,) * 3, grid.first).grid(np.ones(CT.shape, dtype=bool), 20.0)
    share = sample_share(mask, CT, coarse)
    assert share.shape == coarse.shape
    assert share.min() >= 0
    assert share.max() <= 1 + 1e-5
    assert share.sum() * coarse.voxel_cc == pytest.approx(mask.sum() * CT.voxel_cc, rel=1e-4)
    whole = sample_mask(mask, CT, coarse)
    assert (share[whole] > 0.1).all()
    assert (share >= 0.999)[whole].any()
    if step == 1:
        assert np.array_equal(share > 0.5, whole)
    else:
        assert (share[~whole] > 0.2).any()


def test_margins_are_millimetres_whatever_the_voxels() -> None:
    mask = np.zeros(CT.shape, dtype=bool)
    mask[20, 25, 30] = True
    grown = grow_mask(mask, CT.spacing_mm, 7.0)
    z, y, x = np.meshgrid(*(CT.axis_mm(a) for a in (2, 1, 0)), indexing="ij")
    center = [CT.axis_mm(0)[30], CT.axis_mm(1)[25], CT.axis_mm(2)[20]]
    away = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
    assert np.array_equal(grown, away <= 7.0)
    near = distance_mm(mask, CT.spacing_mm, 10.0)
    assert near[away <= 10.0] == pytest.approx(away[away <= 10.0], abs=1e-4)
    assert np.array_equal(grow_mask(mask, CT.spacing_mm, 0.0), mask)


def test_center_of_mass_is_in_patient_coordinates() -> None:
    mask = box_mask(CT, ((-20.0, -10.0), (30.0, 40.0), (-260.0, -240.0)))
    found = center_of_mass_mm(mask, CT)
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
        assert found[axis] == pytest.approx(CT.axis_mm(axis)[used].mean(), abs=0.006)
