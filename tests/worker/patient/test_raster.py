"""Laws of even-odd filling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as MplPath
from radiarch_worker.patient.raster import Region, TooLargeError, fill

FloatArray = npt.NDArray[np.float64]
SIZE = 12
LOW, HIGH = (0, 0, 0), (1, SIZE, SIZE)

QUICK = settings(max_examples=60, deadline=None)

polygons = hnp.arrays(np.float64, st.tuples(st.integers(3, 9), st.just(2)), elements=st.floats(-2, SIZE + 2, width=32))


def mask(*shapes: FloatArray, limit: int = 10**6) -> npt.NDArray[np.bool_]:
    region = fill(
        list(shapes),
        np.zeros(len(shapes), dtype=np.int64),
        low=LOW,
        high=HIGH,
        max_crossings=limit,
        max_voxels=limit,
    )
    return placed(region)


def placed(region: Region) -> npt.NDArray[np.bool_]:
    full = np.zeros((SIZE, SIZE + 1), dtype=np.bool_)  # the column that closes a row may be one beyond
    if region.inside.size:
        _, y, x = region.start
        ny, nx = region.inside.shape[1:]
        full[y : y + ny, x : x + nx] = region.inside[0]
    assert not full[:, SIZE].any()
    return full[:, :SIZE]


def rectangle(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


@QUICK
@given(polygons)
def test_agrees_with_matplotlib_away_from_edges(polygon: FloatArray) -> None:
    y, x = np.indices((SIZE, SIZE))
    centers = np.column_stack([x.ravel(), y.ravel()]).astype(float)
    after = np.roll(polygon, -1, axis=0)
    along = after - polygon
    length2 = np.maximum((along**2).sum(axis=1), 1e-12)
    t = np.clip(((centers[:, None] - polygon) * along).sum(axis=2) / length2, 0, 1)
    distance = np.linalg.norm(polygon + t[..., None] * along - centers[:, None], axis=2).min(axis=1)
    clear = distance > 1e-3
    # matplotlib fills by the even-odd rule too; where the path crosses itself both leave the same holes.
    expected = MplPath(polygon).contains_points(centers)
    assert np.array_equal(mask(polygon).ravel()[clear], expected[clear])


@QUICK
@given(polygons, polygons)
def test_two_polygons_are_combined_by_exclusive_or(a: FloatArray, b: FloatArray) -> None:
    assert np.array_equal(mask(a, b), mask(a) ^ mask(b))


@QUICK
@given(polygons, st.integers(0, 8))
def test_neither_start_nor_direction_matters(polygon: FloatArray, shift: int) -> None:
    assert np.array_equal(mask(polygon), mask(np.roll(polygon, shift, axis=0)))
    assert np.array_equal(mask(polygon), mask(polygon[::-1]))


@QUICK
@given(
    hnp.arrays(np.float64, (2,), elements=st.floats(0, SIZE - 1)),
    hnp.arrays(np.float64, (4, 2), elements=st.sampled_from([-3.0, 0.0, 1.5, 4.0, 7.0, 8.25, SIZE + 3.0])),
)
def test_parts_share_no_voxel_and_leave_none_out(center: FloatArray, corners: FloatArray) -> None:
    """A quadrilateral cut into four triangles at any point: edges on voxel centres belong to one side."""
    triangles = [np.array([center, corners[i], corners[(i + 1) % 4]]) for i in range(4)]
    parity = np.logical_xor.reduce([mask(t) for t in triangles])
    assert np.array_equal(parity, mask(corners))


def test_a_hole_is_left_out() -> None:
    outer, inner = rectangle(0.5, 0.5, 8.5, 8.5), rectangle(2.5, 2.5, 5.5, 5.5)
    assert mask(outer, inner).sum() == 64 - 9


def test_a_rectangle_on_voxel_faces_has_its_own_area() -> None:
    assert mask(rectangle(1.5, 2.5, 6.5, 9.5)).sum() == 5 * 7


def test_a_center_on_an_edge_is_inside_at_the_lower_edge_only() -> None:
    filled = mask(rectangle(2, 3, 5, 7))
    assert filled.sum() == 3 * 4
    assert filled[3, 2]
    assert not filled[7, 5]


def test_what_is_too_large_is_refused_before_it_is_made() -> None:
    far = rectangle(-1e9, -1e9, 1e9, 1e9)
    assert mask(far).all()
    with pytest.raises(TooLargeError):
        mask(far, limit=100)
