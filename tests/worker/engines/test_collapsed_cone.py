"""The collapsed cone: scaling with density, symmetry, the same bits on any number of cores, MU by the calibration."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from radiarch_worker.engines.collapsedcone import (
    Aperture,
    Field,
    compute_dose,
    fluence_map,
    gy_per_mu,
    water_depth_dose,
)
from radiarch_worker.engines.collapsedcone.cones import cones
from radiarch_worker.engines.collapsedcone.sweep import Sweep, deposit
from radiarch_worker.engines.photonkernels import beam_quality, shipped_spectrum
from radiarch_worker.machines.photon_machine import GENERIC_LINAC, photon_machine
from radiarch_worker.model import FloatVolume, Grid

MACHINE = photon_machine(GENERIC_LINAC).file
ENERGY = MACHINE.energies[0]
PAIRS = len(MACHINE.mlc.boundaries_mm) - 1


def square(side_mm: float) -> Aperture:
    half = side_mm / 2
    return Aperture(None, (-half, half), (-half, half))


def leaves(opening: dict[tuple[float, float], tuple[float, float]]) -> Aperture:
    """Leaf pairs whose middle is in a range of Y are opened from X to X."""
    found = np.zeros((2, PAIRS))
    for n, (low, high) in enumerate(pairwise(MACHINE.mlc.boundaries_mm)):
        for (y0, y1), x in opening.items():
            if y0 < (low + high) / 2 < y1:
                found[:, n] = x
    return Aperture(found, (-60, 60), (-60, 60))


def field(aperture: Aperture, direction: tuple[float, float, float], x: tuple[float, float, float], mu: float) -> Field:
    d, across = np.array(direction), np.array(x)
    return Field((0.0, 0.0, 0.0), d, across, -np.cross(d, across), aperture, mu)


def box(spacing_mm: float = 5.0, cells: int = 31) -> tuple[FloatVolume, Grid]:
    edge = -(cells // 2) * spacing_mm
    return np.ones((cells,) * 3, np.float32), Grid((edge,) * 3, (spacing_mm,) * 3, (cells,) * 3)


def test_lengths_scale_with_density() -> None:
    rng = np.random.default_rng(1)
    density = rng.uniform(0.2, 1.8, (9, 11, 10)).astype(np.float32)
    source = rng.uniform(0, 1, density.shape).astype(np.float32)
    sweep = Sweep.about(cones(beam_quality(shipped_spectrum())), np.array([0.6, 0.0, -0.8]))
    with ThreadPoolExecutor(1) as pool:
        thick = deposit(density, source, source, (4.0, 4.0, 4.0), sweep, pool)
        dense = deposit(2 * density, source, source, (2.0, 2.0, 2.0), sweep, pool)
    np.testing.assert_allclose(dense, thick, rtol=1e-4)


def test_all_that_is_released_in_the_middle_of_much_water_stays() -> None:
    shape = (81, 81, 81)
    primary = np.zeros(shape, np.float32)
    primary[40, 40, 40] = 1.0
    quality = beam_quality(shipped_spectrum())
    sweep = Sweep.about(cones(quality), np.array([0.0, 0.0, 1.0]))
    with ThreadPoolExecutor(2) as pool:
        dose = deposit(np.ones(shape, np.float32), primary, np.zeros_like(primary), (3.0, 3.0, 3.0), sweep, pool)
    assert dose.sum() == pytest.approx(1.0, abs=2e-3)
    assert dose[41:].sum() > 3 * dose[:40].sum()  # forward


def test_the_same_bits_on_any_number_of_cores() -> None:
    density, grid = box()
    density[10:15, 8:20, 8:20] = 0.25
    fields = [field(square(50), (0.6, 0.0, -0.8), (0.8, 0.0, 0.6), 10.0), field(square(40), (0, 1, 0), (1, 0, 0), 5.0)]
    doses = [compute_dose(density, grid, fields, MACHINE, ENERGY, threads=n) for n in (1, 2, 3)]
    assert (doses[0] == doses[1]).all()
    assert (doses[0] == doses[2]).all()


def test_an_aperture_lands_where_its_axes_say() -> None:
    density, grid = box()
    aperture = leaves({(10, 30): (-30, 10)})
    plain = compute_dose(density, grid, [field(aperture, (0, 0, -1), (1, 0, 0), 100.0)], MACHINE, ENERGY)
    z, y, x = np.unravel_index(int(plain.argmax()), plain.shape)
    assert -30 < grid.axis_mm(0)[x] < 10
    assert 10 < grid.axis_mm(1)[y] < 30
    assert grid.axis_mm(2)[z] > 40  # near the side that the beam enters
    # turned by a quarter about the beam, and shone from another side, it is the same dose
    turned = compute_dose(density, grid, [field(aperture, (0, 0, -1), (0, 1, 0), 100.0)], MACHINE, ENERGY)
    np.testing.assert_allclose(np.rot90(plain, 1, (2, 1)), turned, atol=0.015 * plain.max())
    side = compute_dose(density, grid, [field(aperture, (-1, 0, 0), (0, 1, 0), 100.0)], MACHINE, ENERGY)
    np.testing.assert_allclose(plain, side.transpose(2, 0, 1), atol=0.02 * plain.max())


def test_dose_is_proportional_to_mu_and_fields_add_up() -> None:
    density, grid = box()
    one = [field(square(40), (0, 0, -1), (1, 0, 0), 30.0), field(square(60), (0, 0, -1), (1, 0, 0), 20.0)]
    both = compute_dose(density, grid, one, MACHINE, ENERGY)
    single = sum(compute_dose(density, grid, [f], MACHINE, ENERGY) for f in one)
    np.testing.assert_allclose(both, single, atol=3e-3 * both.max())


@pytest.mark.parametrize("spacing_mm", [2.5, 4.0])
def test_one_mu_is_what_the_calibration_says_on_any_voxels(spacing_mm: float) -> None:
    given = ENERGY.calibration
    dose, depth = water_depth_dose(MACHINE, ENERGY, square(100.0), 1000.0, 150.0, spacing_mm)
    gray = dose * gy_per_mu(MACHINE, ENERGY, spacing_mm)
    assert np.interp(given.depth_mm, depth, gray) == pytest.approx(0.01, rel=2e-3)
    assert np.interp(100.0, depth, gray) == pytest.approx(0.0067, rel=0.015)  # PDD of 6 MV


def test_leaves_let_through_what_the_machine_says() -> None:
    at = np.linspace(-70, 70, 141)
    closed = fluence_map(MACHINE, ENERGY, leaves({}), at, at)
    middle = closed[65:76, 65:76].mean()
    assert middle == pytest.approx(MACHINE.mlc.transmission, rel=0.1)
    shape = fluence_map(MACHINE, ENERGY, leaves({(-60, 60): (-40, 40)}), at, at)
    row = shape[72]
    edge = np.interp(0.5 * row[70], row[:70], at[:70])
    assert edge == pytest.approx(-40 - MACHINE.mlc.leaf_offset_mm, abs=0.3)
    # a comb has tongues at every border: it lets through less than half of both
    comb = {(y, y + 5.0): (-40.0, 40.0) for y in np.arange(-60.0, 60.0, 10.0)}
    other = {(y + 5.0, y + 10.0): (-40.0, 40.0) for y in np.arange(-60.0, 60.0, 10.0)}
    parts = fluence_map(MACHINE, ENERGY, leaves(comb), at, at) + fluence_map(MACHINE, ENERGY, leaves(other), at, at)
    assert 0.85 < parts[70, 50:90].mean() / shape[70, 50:90].mean() < 0.98


def test_leaves_that_stand_behind_the_jaws_change_nothing() -> None:
    at = np.linspace(-40.0, 40.0, 9)
    jaws = square(100.0)
    wide = Aperture(np.stack([np.full(PAIRS, -190.0), np.full(PAIRS, 190.0)]), jaws.jaws_x_mm, jaws.jaws_y_mm)
    near = Aperture(np.stack([np.full(PAIRS, -52.0), np.full(PAIRS, 52.0)]), jaws.jaws_x_mm, jaws.jaws_y_mm)
    alone = fluence_map(MACHINE, ENERGY, jaws, at, at)
    for behind in (wide, near):
        np.testing.assert_allclose(fluence_map(MACHINE, ENERGY, behind, at, at), alone, rtol=2e-3)
