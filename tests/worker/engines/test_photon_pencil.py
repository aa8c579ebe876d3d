"""Pencil beams of photons: the transpose is exact, threads change nothing, and few terms stand for the kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_worker.engines.photonkernels import beam_quality, shipped_spectrum
from radiarch_worker.engines.photonpencil import BeamView, FluenceGrid, PencilBeams, PencilModel
from radiarch_worker.engines.photonpencil.kernel import kernel_of
from radiarch_worker.model import Grid

MODEL = PencilModel(beam_quality(shipped_spectrum()), wide_share=0.1)
AXIS, X, Y = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])


def on_axis(depths_mm: list[float], surface_mm: float = 900.0, **model: object) -> PencilBeams:
    """A beam into water, with points on its axis; its isocenter is the origin."""
    depths = np.array(depths_mm)
    points = np.outer(depths + surface_mm - 1000.0, AXIS)
    view = BeamView(-1000.0 * AXIS, AXIS, X, Y, depths.astype(np.float32), surface_mm)
    return PencilBeams(replace(MODEL, **model), FluenceGrid(2.5, 100), points, (view,))  # type: ignore[arg-type]


def square(beams: PencilBeams, side_mm: float) -> npt.NDArray[np.float32]:
    inside = abs(beams.grid.centers_mm) < side_mm / 2
    return (inside[:, None] & inside).astype(np.float32)[None]


def random_beams(threads: int) -> PencilBeams:
    grid = Grid((-60.0, -60.0, -60.0), (6.0, 6.0, 6.0), (20, 20, 20))
    rng = np.random.default_rng(4)
    density = rng.uniform(0.2, 1.6, grid.shape).astype(np.float32)
    points = rng.uniform(-55.0, 50.0, (500, 3))
    views = []
    for angle in (0.0, 0.7, 2.0):
        axis = np.array([np.sin(angle), np.cos(angle), 0.0])
        across = np.array([np.cos(angle), -np.sin(angle), 0.0])
        views.append(BeamView.through(density, grid, points, -1000.0 * axis, (axis, across, Y), threads))
    return PencilBeams(MODEL, FluenceGrid(2.5, 40), points, tuple(views), threads)


def test_the_gradient_is_the_transpose_of_the_dose() -> None:
    beams = random_beams(1)
    rng = np.random.default_rng(1)
    fluence, slope = rng.random((3, 40, 40)).astype(np.float32), rng.normal(size=500)
    dose, gradient = beams.dose(fluence), beams.gradient(slope)
    assert float(dose @ slope) == pytest.approx(float((gradient * fluence).sum()), rel=1e-5)


def test_the_number_of_threads_changes_no_bit() -> None:
    one, many = random_beams(1), random_beams(3)
    rng = np.random.default_rng(1)
    fluence, slope = rng.random((3, 40, 40)), rng.normal(size=500)
    assert (one.dose(fluence) == many.dose(fluence)).all()
    assert (one.gradient(slope) == many.gradient(slope)).all()
    assert (one.dose_of([2], fluence[2:]) + one.dose_of([0, 1], fluence[:2]))[7] == pytest.approx(one.dose(fluence)[7])


def test_few_terms_stand_for_the_kernel() -> None:
    depths = [3.0, 15.0, 50.0, 100.0, 200.0, 300.0]
    few, many = on_axis(depths), on_axis(depths, terms=16)
    for side in (40.0, 100.0, 200.0):
        np.testing.assert_allclose(few.dose(square(few, side)), many.dose(square(many, side)), rtol=0.02)


def test_depth_doses_are_those_of_6_mv() -> None:
    # published for 10 x 10 cm, 100 cm from source to surface: 67.0 +- 1.0 % at 10 cm
    beams = on_axis([15.0, 50.0, 100.0, 200.0], surface_mm=1000.0)
    dose = beams.dose(square(beams, 100.0))
    np.testing.assert_allclose(100 * dose[1:] / dose[0], [87.0, 67.0, 38.6], atol=0.8)


def test_a_field_of_all_cells_gives_what_a_disk_of_the_kernel_holds() -> None:
    beams = on_axis([100.0], surface_mm=900.0, terms=12, wide_share=0.0)
    at = beams.grid.centers_mm
    disk = (np.hypot(at[:, None], at) < 80.0).astype(np.float32)[None]
    kernel = kernel_of(MODEL.quality)
    within = np.interp(80.0, kernel.radii_mm, kernel.within[50])
    assert float(beams.dose(disk)[0]) == pytest.approx(within, rel=0.005)


def test_dose_falls_with_the_square_of_the_distance() -> None:
    near, far = on_axis([100.0], surface_mm=900.0), on_axis([100.0], surface_mm=1000.0)
    # the field at the point is as large in both
    ratio = near.dose(square(near, 110.0))[0] / far.dose(square(far, 100.0))[0]
    assert ratio == pytest.approx(1.1**2, rel=0.01)


def test_depths_are_lengths_times_density() -> None:
    grid = Grid((-48.0, -48.0, -48.0), (4.0, 4.0, 4.0), (25, 25, 25))
    density = np.full(grid.shape, 0.5, dtype=np.float32)
    points = np.array([[0.0, 0.0, 0.0], [20.0, 10.0, -30.0]])
    source = np.array([-300.0, -800.0, 50.0])
    view = BeamView.through(density, grid, points, source, (AXIS, X, Y))
    way = source - points[0]
    length = 50.0 / abs(way[1]) * np.linalg.norm(way)  # to the upper face, 50 mm above
    assert view.depths_mm[0] == pytest.approx(0.5 * length, rel=1e-4)


def test_points_off_the_grid_of_fluence_get_nothing() -> None:
    view = BeamView(-1000.0 * AXIS, AXIS, X, Y, np.array([50.0], dtype=np.float32), 950.0)
    beams = PencilBeams(MODEL, FluenceGrid(2.5, 20), np.array([[40.0, 0.0, 0.0]]), (view,))
    assert beams.dose(np.ones((1, 20, 20)))[0] == 0.0
