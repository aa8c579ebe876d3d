"""Apertures of photons: leaves and fluence agree, the best openings are the best, and leaves can follow arcs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_contract.errors import InputRefusedError
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines.photonkernels import beam_quality, shipped_spectrum
from radiarch_worker.engines.photonpencil import BeamView, FluenceGrid, PencilBeams, PencilModel
from radiarch_worker.machines.photon_machine import photon_machine
from radiarch_worker.optimization import DoseTerm, MetricTerm
from radiarch_worker.planning.photon.arc import arc_apertures, interval_parts, within_travel
from radiarch_worker.planning.photon.columns import static_apertures
from radiarch_worker.planning.photon.conformal import fitted
from radiarch_worker.planning.photon.intervals import best_openings
from radiarch_worker.planning.photon.leaves import Aperture, Head
from radiarch_worker.planning.photon.problem import ApertureProblem, Shape, dose_of_one_mu
from radiarch_worker.planning.photon.refine import Limits, refine
from radiarch_worker.position import PatientPosition

MACHINE = photon_machine("generic-120").file
MODEL = PencilModel(beam_quality(shipped_spectrum()))


def head(cells: int = 60) -> Head:
    return Head(MACHINE, FluenceGrid(2.5, cells))


def ball(center: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = 20.0) -> npt.NDArray[np.float64]:
    at = np.arange(-24.0, 25.0, 4.0)
    grid = np.stack(np.meshgrid(at, at, at), axis=-1).reshape(-1, 3)
    inside: npt.NDArray[np.float64] = grid[np.linalg.norm(grid, axis=1) <= radius] + np.array(center)
    return inside


def test_an_aperture_surrounds_the_target_by_the_margin() -> None:
    seen = ball((7.0, -11.0, 0.0))[:, :2]
    aperture = fitted(seen, 6.0, MACHINE)
    sides = np.asarray(MACHINE.mlc.boundaries_mm)
    pair = int(np.searchsorted(sides, -11.0)) - 1  # through the middle
    offset = MACHINE.mlc.leaf_offset_mm
    assert aperture.leaves_mm[0, pair] - offset == pytest.approx(7.0 - 20.0 - 6.0, abs=0.2)
    assert aperture.leaves_mm[1, pair] + offset == pytest.approx(7.0 + 20.0 + 6.0, abs=0.2)
    assert aperture.y_mm == pytest.approx((-11.0 - 26.0, -11.0 + 26.0))
    beside = np.ptp(aperture.leaves_mm, axis=0)[[0, -1]]
    assert beside == pytest.approx(MACHINE.mlc.gap_min_mm)


@pytest.mark.parametrize(
    ("gantry", "collimator", "where", "seen"),
    [
        # head first supine, patient LPS: +x is his left, +z his head (IEC 61217)
        (0.0, 0.0, (15.0, 0.0, 5.0), (15.0, 5.0)),
        (0.0, 90.0, (15.0, 0.0, 5.0), (5.0, -15.0)),
        (90.0, 0.0, (0.0, 15.0, 5.0), (15.0, 5.0)),
        (180.0, 0.0, (15.0, 0.0, 5.0), (-15.0, 5.0)),
    ],
)
def test_the_opening_lies_where_the_target_is_seen(
    gantry: float, collimator: float, where: tuple[float, float, float], seen: tuple[float, float]
) -> None:
    axes = BeamAxes.of(gantry, 0.0, PatientPosition.HFS).collimated(collimator)
    points = ball(where, 10.0)
    aperture = fitted(axes.project_mm(points, (0.0, 0.0, 0.0), 1000.0), 5.0, MACHINE)
    middle = np.mean(aperture.x_mm), np.mean(aperture.y_mm)
    assert middle == pytest.approx(seen, abs=1.0)


def test_a_target_that_is_larger_than_the_field_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="larger than the machine's field"):
        fitted(ball((0.0, 190.0, 0.0))[:, :2], 5.0, MACHINE)


def test_the_mean_fluence_is_the_open_area() -> None:
    plain = MACHINE.model_copy(
        update={"mlc": MACHINE.mlc.model_copy(update={"transmission": 0.0, "leaf_offset_mm": 0.0})}
    )
    whole = replace(head(), machine=plain)
    leaves = np.zeros((2, whole.pairs))
    rng = np.random.default_rng(2)
    inner = slice(20, 40)
    leaves[0, inner], leaves[1, inner] = rng.uniform(-40, 0, 20), rng.uniform(0, 40, 20)
    aperture = Aperture(leaves, (-60.0, 60.0), (-60.0, 60.0))
    area = float((leaves[1] - leaves[0]) @ np.diff(whole.boundaries_mm))
    assert float(whole.fluence(aperture).sum()) * 2.5**2 == pytest.approx(area)


def test_leaves_have_the_derivative_of_what_they_do() -> None:
    whole = head()
    rng = np.random.default_rng(3)
    slope = rng.normal(size=(60, 60))
    leaves = np.stack([rng.uniform(-40, -5, whole.pairs), rng.uniform(5, 40, whole.pairs)])
    aperture = Aperture(leaves, (-50.0, 45.0), (-60.0, 30.0))
    found = whole.leaf_gradient(aperture, slope)
    for bank, pair in ((0, 25), (1, 25), (0, 33), (1, 5)):
        moved = leaves.copy()
        moved[bank, pair] += 1e-6
        difference = whole.fluence(replace(aperture, leaves_mm=moved)) - whole.fluence(aperture)
        assert found[bank, pair] == pytest.approx(float((difference * slope).sum()) / 1e-6, rel=1e-4, abs=1e-8)


def test_the_best_opening_is_the_best_of_all() -> None:
    rng = np.random.default_rng(5)
    gained, edges = rng.normal(size=(4, 12)), np.arange(13.0)
    low, high = np.zeros((2, 4)), np.full((2, 4), 12.0)
    tips, values = best_openings(gained, edges, low, high, 0.5)
    for pair in range(4):
        every = [gained[pair, a:b].sum() for a in range(12) for b in range(a + 1, 13)]
        assert values[pair] == pytest.approx(min(every))
    low[:, 0], high[:, 0] = (3.3, 6.1), (4.1, 7.2)
    tips, _ = best_openings(gained, edges, low, high, 0.5)
    assert (tips >= low - 1e-9).all()
    assert (tips <= high + 1e-9).all()


def problem(angles: list[float], threads: int = 1) -> tuple[ApertureProblem, list[Aperture]]:
    """A ball of target above a ball that is to be spared, in water."""
    target, organ = ball(radius=20.0), ball((0.0, 34.0, 0.0), 12.0)
    points = np.concatenate([target, organ])
    views, outlines = [], []
    for angle in angles:
        axes = BeamAxes.of(angle, 0.0, PatientPosition.HFS).collimated(10.0)
        source = axes.source_mm((0.0, 0.0, 0.0), 1000.0)
        depths = 100.0 + points @ axes.direction
        views.append(BeamView(source, axes.direction, axes.x, axes.y, depths.astype(np.float32), 900.0))
        outlines.append(fitted(axes.project_mm(target, (0.0, 0.0, 0.0), 1000.0), 6.0, MACHINE))
    whole = head()
    beams = PencilBeams(MODEL, whole.grid, points, tuple(views), threads)
    rows = np.arange(len(points))
    terms: tuple[DoseTerm, ...] = (
        MetricTerm("PTV", rows[: len(target)], ObjectiveMetric.DUNIFORM, 2.0, None, 100.0),
        MetricTerm("OAR", rows[len(target) :], ObjectiveMetric.DMEAN_MAX, 0.0, None, 5.0),
    )
    unit = 0.01 / dose_of_one_mu(whole, MACHINE.energies[0], beams)
    return ApertureProblem(beams, whole, unit, terms, np.zeros(len(points), dtype=np.float32)), outlines


def test_one_mu_is_a_centigray_in_the_calibration_condition() -> None:
    made, _ = problem([0.0])
    half, depth = 50.0, 15.0
    axis = np.array([0.0, 0.0, 1.0])
    condition = MACHINE.energies[0].calibration
    assert (condition.field_mm, condition.ssd_mm, condition.depth_mm) == (100.0, 1000.0, depth)
    view = BeamView(
        -1000.0 * axis, axis, np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array([depth], dtype=np.float32), 1000.0
    )
    whole = head(120)
    beams = PencilBeams(MODEL, whole.grid, (depth * axis)[None], (view,))
    leaves = np.stack([np.full(whole.pairs, -half), np.full(whole.pairs, half)])
    field = Shape(0, Aperture(leaves, (-half, half), (-half, half)), 100.0)
    assert replace(made, beams=beams, head=whole).dose_gy([field])[0] == pytest.approx(1.0, rel=0.01)


def test_the_gradient_of_apertures_is_the_objective_s() -> None:
    made, outlines = problem([0.0, 120.0])
    shapes = [Shape(0, outlines[0], 60.0), Shape(1, outlines[1], 80.0)]
    values = made.evaluate(shapes)
    step = 0.05
    higher = made.evaluate([replace(shapes[0], mu=60.0 + step), shapes[1]])
    assert (higher.value - values.value) / step == pytest.approx(values.by_mu[0], rel=0.02)
    pair = 30
    ends = []
    for sign in (-1, 1):
        moved = outlines[0].leaves_mm.copy()
        moved[1, pair] += sign * step
        ends.append(
            made.evaluate([replace(shapes[0], aperture=replace(outlines[0], leaves_mm=moved)), shapes[1]]).value
        )
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(values.by_leaf[0, 1, pair], rel=0.05)


def test_apertures_are_found_and_refined() -> None:
    made, outlines = problem([0.0, 72.0, 144.0, 216.0, 288.0])
    shapes = static_apertures(made, outlines, 4, 16, lambda share, value: None)
    assert len(shapes) <= 16
    first = made.penalties(made.dose_gy(shapes))[0]
    gap = MACHINE.mlc.gap_min_mm
    shapes = [
        replace(s, aperture=replace(s.aperture, x_mm=o.x_mm, y_mm=o.y_mm)) for s in shapes for o in [outlines[s.view]]
    ]
    limits = Limits.within([outlines[s.view] for s in shapes], gap, 1.0)
    better = refine(made, shapes, limits, 15, lambda value, names: None)
    assert made.penalties(made.dose_gy(better))[0] < 0.8 * first
    for shape in better:
        left, right = shape.aperture.leaves_mm
        assert (right - left >= gap - 1e-9).all()
        assert shape.mu >= 1.0
    target = made.dose_gy(better)[made.terms[0].rows]
    assert target.mean() == pytest.approx(2.0, rel=0.03)


def test_arcs_can_be_followed_by_the_leaves() -> None:
    angles = list(np.linspace(180.0, 330.0, 16))
    made, outlines = problem(angles)
    box = [(min(o.x_mm[0] for o in outlines), max(o.x_mm[1] for o in outlines)) for _ in outlines]
    outlines = [replace(o, x_mm=b, y_mm=(-30.0, 30.0)) for o, b in zip(outlines, box, strict=True)]
    limits = np.full(15, 4.0)
    shapes = arc_apertures(made, outlines, limits, lambda share, value: None)
    assert [s.view for s in shapes] == list(range(16))
    leaves = np.stack([s.aperture.leaves_mm for s in shapes])
    assert np.abs(np.diff(leaves, axis=0)).max() <= 4.0 + 1e-6
    assert (leaves[:, 1] - leaves[:, 0]).min() >= MACHINE.mlc.gap_min_mm - 1e-6


def test_leaves_are_brought_within_what_they_can_travel() -> None:
    rng = np.random.default_rng(6)
    leaves = np.sort(rng.uniform(-40, 40, (20, 2, 10)), axis=1)
    leaves[:, 1] += 0.5
    limits = rng.uniform(5.0, 9.0, 19)
    moved = within_travel(leaves, limits)
    assert (np.abs(np.diff(moved, axis=0)) <= limits[:, None, None] + 1e-9).all()
    assert (moved[:, 1] - moved[:, 0]).min() >= 0.5 - 1e-9
    # what is within the limits already stays
    np.testing.assert_allclose(within_travel(moved, limits), moved)


def test_the_mu_of_intervals_are_those_of_the_apertures() -> None:
    parts = interval_parts(5)
    np.testing.assert_allclose(parts.sum(axis=0), 1.0)
    np.testing.assert_allclose(parts @ np.ones(4), [0.5, 1.0, 1.0, 1.0, 0.5])
