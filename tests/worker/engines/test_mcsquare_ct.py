"""The engine's CT: voxels stay where they are, air outside BODY, HU beyond the calibration refused or told."""

from __future__ import annotations

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_worker.engines.mcsquare import load_calibration, prepare_ct
from radiarch_worker.model import Grid, Patient

from tests.worker.engines.water import box_mask, patient

GRID = Grid((-50.0, -40.0, 100.0), (2.0, 2.5, 3.0), (30, 34, 50))
BODY = ((-40.0, 40.0), (-30.0, 35.0), (90.0, 170.0))


def a_patient(**inserts: float) -> Patient:
    spots = {"small": ((0.0, 4.0), (0.0, 5.0), (130.0, 139.0)), "large": ((0.0, 30.0), (0.0, 30.0), (110.0, 150.0))}
    return patient(GRID, BODY, {}, inserts={spots[name]: hu for name, hu in inserts.items()})


def prepared(p: Patient, cover: Grid | None = None):  # type: ignore[no-untyped-def]
    return prepare_ct(p.ct, p.body, load_calibration("generic-icru"), cover=cover)


def test_voxels_keep_their_places_and_outside_is_air() -> None:
    p = a_patient()
    rng = np.random.default_rng(1)
    p.ct.hu[:] = rng.uniform(-900, 1200, GRID.shape)
    ct = prepared(p)
    for axis in range(3):
        offset = (ct.grid.origin_mm[axis] - GRID.origin_mm[axis]) / GRID.spacing_mm[axis]
        assert offset == pytest.approx(round(offset))
    inside = np.argwhere(p.body.mask)
    shift = [round((GRID.origin_mm[a] - ct.grid.origin_mm[a]) / GRID.spacing_mm[a]) for a in (2, 1, 0)]
    moved = inside + shift
    assert np.array_equal(ct.hu[tuple(moved.T)], p.ct.hu[p.body.mask])
    outside = np.ones(ct.grid.shape, dtype=bool)
    outside[tuple(moved.T)] = False
    assert (ct.hu[outside] == -1000).all()
    # BODY touches the first slice of the CT: air is added before it, so that the engine sees the patient's end.
    assert ct.grid.origin_mm[2] < GRID.origin_mm[2]


def test_covers_the_scoring_grid() -> None:
    cover = Grid((-70.0, -50.0, 94.0), (6.0, 7.5, 6.0), (17, 15, 20))
    ct = prepared(a_patient(), cover)
    for axis in range(3):
        first = ct.grid.origin_mm[axis] - ct.grid.spacing_mm[axis] / 2
        last = first + ct.grid.spacing_mm[axis] * ct.grid.shape[2 - axis]
        low = cover.origin_mm[axis] - cover.spacing_mm[axis] / 2
        assert first <= low + 1e-6
        assert last >= low + cover.spacing_mm[axis] * cover.shape[2 - axis] - 1e-6


def test_a_little_metal_is_clipped_and_told() -> None:
    p = a_patient(small=3000.0)
    calibration = load_calibration("UCL_Toshiba")
    ct = prepare_ct(p.ct, p.body, calibration)
    assert ct.hu.max() == calibration.hu_max == 1565
    volume = np.count_nonzero(box_mask(GRID, ((0.0, 4.0), (0.0, 5.0), (130.0, 139.0)))) * GRID.voxel_cc
    assert any(f"{volume:.2f} cm³" in note and "3000" in note for note in ct.notes)


@pytest.mark.parametrize("inserts", [{"large": 3000.0}, {"small": 30000.0}, {"small": -3000.0}, {"small": np.nan}])
def test_hu_that_cannot_be_converted_are_refused(inserts: dict[str, float]) -> None:
    with pytest.raises(InputRefusedError) as caught:
        prepared(a_patient(**inserts))
    assert caught.value.code is ErrorCode.HU_OUT_OF_CALIBRATION


def test_hu_outside_body_do_not_matter() -> None:
    p = a_patient()
    reference = prepared(p).hu
    p.ct.hu[~p.body.mask] = 30000.0
    assert np.array_equal(prepared(p).hu, reference)
