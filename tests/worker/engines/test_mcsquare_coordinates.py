"""The engine's dose lies where DICOM says: angles, spot axes, voxels, origins, insets and scoring grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import SpotPlan
from radiarch_worker.model import FloatVolume, Grid
from radiarch_worker.position import PatientPosition

from tests.worker.engines.runs import MACHINE, centroid_mm, distal_r80_mm, dose_of_each, pencil, settings
from tests.worker.engines.water import box_mask

pytestmark = pytest.mark.engine

# Neither cube, nor centred, nor square voxels: any mix-up of axes, signs or half voxels shows.
CT = Grid((-83.0, 41.5, -200.0), (2.0, 3.0, 2.5), (88, 74, 108))
SPOT = (12.0, -7.0)
ENERGY_MEV = 100.0
ISO = (22.0, 150.0, -93.0)


def water(hu: float = 0.0, position: PatientPosition = PatientPosition.HFS) -> mcsquare.EngineCt:
    return mcsquare.EngineCt(np.full(CT.shape, hu, dtype=np.float32), CT, position)


def face_mm(axis: int, forward: bool) -> float:
    """Where a beam along an axis enters the box."""
    low = CT.origin_mm[axis] - CT.spacing_mm[axis] / 2
    return low if forward else low + CT.spacing_mm[axis] * CT.shape[2 - axis]


def water_range_mm(machine: mcsquare.ProtonMachine, energy_mev: float) -> float:
    """CSDA range of the machine's mean energy in water (ICRU 49 / NIST PSTAR)."""
    energy = [70.0, 80.0, 90.0, 100.0, 125.0, 150.0, 175.0, 200.0, 225.0]
    csda_cm = [4.080, 5.184, 6.398, 7.718, 11.46, 15.77, 20.62, 25.96, 31.74]
    mean = [float(line.split()[1]) for line in machine.bdl_text.splitlines()[-len(machine.energies_mev) :]]
    actual = np.interp(energy_mev, machine.energies_mev, mean)
    return float(10 * np.exp(np.interp(np.log(actual), np.log(energy), np.log(csda_cm))))


@pytest.mark.parametrize("energy_mev", [100.0, 220.0])
def test_a_spot_at_the_isocenter_is_as_wide_as_the_plan_says(energy_mev: float, tmp_path: Path) -> None:
    grid = Grid((-60.0, 0.0, -60.0), (2.0, 2.0, 2.0), (61, 20, 61))
    surface = mcsquare.EngineCt(np.zeros(grid.shape, dtype=np.float32), grid, PatientPosition.HFS)
    dose = dose_of_each(surface, [pencil(energy_mev, 0.0, (0.0, 0.0, 0.0))], grid, 60_000, tmp_path)[0]
    entrance = dose[:, :4].sum(axis=1, dtype=np.float64)
    x, z = np.meshgrid(grid.axis_mm(0), grid.axis_mm(2))
    said = mcsquare.load_machine(MACHINE).spot_fwhm_mm(energy_mev)
    # Within a sigma and a half the halo, which the core's width leaves out, is almost nothing: a Gaussian is fitted
    # there by the logarithm's slope against the squared distance.
    near = np.hypot(x / said[0], z / said[1]) < 0.65
    terms = np.column_stack([np.ones(near.sum()), x[near] ** 2, z[near] ** 2]) * np.sqrt(entrance[near])[:, None]
    _, in_x, in_y = np.linalg.lstsq(terms, np.log(entrance[near]) * np.sqrt(entrance[near]), rcond=None)[0]
    assert np.sqrt(4 * np.log(2) / -in_x) == pytest.approx(said[0], rel=0.05)
    assert np.sqrt(4 * np.log(2) / -in_y) == pytest.approx(said[1], rel=0.05)


ANGLES = [(0, 0), (90, 0), (180, 0), (270, 0), (90, 90), (270, 90), (90, 270), (0, 90)]
CASES = [(p, g, c) for p in PatientPosition for g, c in (ANGLES if p is PatientPosition.HFS else ANGLES[1:6:2])]


@pytest.fixture(scope="module")
def pencils(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[PatientPosition, int, int], FloatVolume]:
    doses: dict[tuple[PatientPosition, int, int], FloatVolume] = {}
    for position in PatientPosition:
        here = [case for case in CASES if case[0] is position]
        beams = [pencil(ENERGY_MEV, g, ISO, couch_deg=c, x=SPOT[0], y=SPOT[1]) for _, g, c in here]
        folder = tmp_path_factory.mktemp(f"pencils-{position}")
        doses |= dict(zip(here, dose_of_each(water(position=position), beams, CT, 4000, folder), strict=True))
    return doses


@pytest.mark.parametrize("case", CASES, ids=[f"{p}-gantry{g}-couch{c}" for p, g, c in CASES])
def test_pencil_beam_lies_where_iec_angles_and_spot_axes_say(
    pencils: dict[tuple[PatientPosition, int, int], FloatVolume], case: tuple[PatientPosition, int, int]
) -> None:
    position, gantry, couch = case
    axes = BeamAxes.of(gantry, couch, position)
    dose = pencils[case]
    along = int(np.argmax(abs(axes.direction)))
    forward = bool(axes.direction[along] > 0)
    # Depth: the range in this box, whose HU 0 is water in the calibration.
    calibration = mcsquare.load_calibration("generic-icru")
    rsp = float(calibration.stopping_power(np.zeros((1, 1, 1), dtype=np.float32))[0, 0, 0])
    expected = water_range_mm(mcsquare.load_machine("BDL_default_UN_RangeShifter"), ENERGY_MEV) / rsp
    found = abs(distal_r80_mm(dose, CT, along, forward) - face_mm(along, forward))
    assert found == pytest.approx(expected, abs=1.0)
    # Sideways: the spot, seen from sources 2234.8 and 1859.1 mm before the isocenter's plane.
    at_iso = np.asarray(ISO) + SPOT[0] * axes.x + SPOT[1] * axes.y
    depth_of_iso = abs(ISO[along] - face_mm(along, forward))
    mean_depth = abs(centroid_mm(dose, CT, along) - face_mm(along, forward))
    for axis in range(3):
        if axis == along:
            continue
        offset, source_mm = (SPOT[0], 2234.8) if abs(axes.x[axis]) > 0.5 else (SPOT[1], 1859.1)
        sign = axes.x[axis] if abs(axes.x[axis]) > 0.5 else axes.y[axis]
        magnified = at_iso[axis] + sign * offset * (mean_depth - depth_of_iso) / source_mm
        assert centroid_mm(dose, CT, axis) == pytest.approx(magnified, abs=0.5)


def test_iec_angles_of_beams() -> None:
    # IEC 61217, head first supine: gantry 90 shines from the patient's left, couch 90 turns the head to -Xf,
    # so that gantry 90 then shines from the feet.
    def axes(gantry: float, couch: float, position: PatientPosition = PatientPosition.HFS) -> BeamAxes:
        return BeamAxes.of(gantry, couch, position)

    assert axes(0, 0).direction == pytest.approx([0, 1, 0])
    assert axes(90, 0).direction == pytest.approx([-1, 0, 0])
    assert axes(270, 0).direction == pytest.approx([1, 0, 0])
    assert axes(90, 90).direction == pytest.approx([0, 0, 1], abs=1e-12)
    assert axes(0, 0).x == pytest.approx([1, 0, 0])
    assert axes(37, 20).y @ axes(37, 20).direction == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("position", "from_above", "from_the_right", "towards_gantry"),
    [
        # where a beam from above and one from +Xf travel to, and where spots with y > 0 lie; L, P, H are +x, +y, +z
        ("HFS", "P", "R", "H"),
        ("HFP", "A", "L", "H"),
        ("HFDR", "R", "A", "H"),
        ("HFDL", "L", "P", "H"),
        ("FFS", "P", "L", "F"),
        ("FFP", "A", "R", "F"),
        ("FFDR", "R", "P", "F"),
        ("FFDL", "L", "A", "F"),
    ],
)
def test_beams_enter_the_side_that_lies_there(
    position: str, from_above: str, from_the_right: str, towards_gantry: str
) -> None:
    """Lying on the right side, head first: the left is up, and one who faces the gantry has the back on his right."""
    side = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
    lies = PatientPosition(position)
    assert BeamAxes.of(0, 0, lies).direction == pytest.approx(side[from_above])
    assert BeamAxes.of(90, 0, lies).direction == pytest.approx(side[from_the_right])
    assert BeamAxes.of(25, 0, lies).y == pytest.approx(side[towards_gantry])
    # the couch turns the patient's end that points to the gantry to -Xf, so gantry 90 shines from the other end
    assert BeamAxes.of(90, 90, lies).direction == pytest.approx(side[towards_gantry], abs=1e-12)


def test_bone_in_one_corner_shortens_only_the_beams_through_it(tmp_path: Path) -> None:
    hu = np.zeros(CT.shape, dtype=np.float32)
    corner = ((ISO[0] + 25, 1e3), (-1e3, ISO[1] - 25), (ISO[2] + 25, 1e3))
    hu[box_mask(CT, corner)] = 1000.0
    ct = mcsquare.EngineCt(hu, CT, PatientPosition.HFS)
    # Gantry 0 comes from -y; +x and +z of the isocenter is spot (+40, +40).
    spots = [(40.0, 40.0), (-40.0, 40.0), (40.0, -40.0), (-40.0, -40.0)]
    beams = [pencil(110.0, 0.0, ISO, x=x, y=y) for x, y in spots]
    doses = dose_of_each(ct, beams, CT, 2000, tmp_path)
    depths = [distal_r80_mm(d, CT, 1, True) - face_mm(1, True) for d in doses]
    assert depths[1:] == pytest.approx([depths[1]] * 3, abs=1.0)
    assert depths[0] < depths[1] - 15.0


def test_deposited_energy_is_that_of_the_protons_of_one_mu(tmp_path: Path) -> None:
    run = settings(tmp_path)
    machine = run.machine
    dose = dose_of_each(water(), [pencil(120.0, 0.0, ISO)], CT, 4000, tmp_path)[0]
    # HU 0 is 1.000 g/cm³ in this calibration; Gy * kg = J.
    joule = float(dose.sum(dtype=np.float64)) * CT.voxel_cc * 1e-3
    beam_joule = float(machine.protons(np.array([120.0]))[0]) * 120.988e6 * 1.602176634e-19
    # Nuclear reactions carry a few per cent away, and dose to water counts 1.7 % less than dose to this medium.
    assert 0.90 < joule / beam_joule < 1.0


def test_coarse_scoring_is_fine_scoring_averaged(tmp_path: Path) -> None:
    """The scoring grid changes where energy is counted, not the histories: coarse voxels are means of fine ones."""
    beams = SpotPlan((pencil(100.0, 0.0, ISO, x=9.0, y=4.0),))
    fine = Grid((ISO[0] - 30, ISO[1] - 99, ISO[2] - 30), (1.0, 1.5, 1.25), (48, 72, 60))
    # Three by two by four fine voxels make a coarse one; both grids share their first corner.
    x, y, z = fine.origin_mm
    coarse = Grid((x + 1.0, y + 0.75, z + 1.875), (3.0, 3.0, 5.0), (12, 36, 20))
    doses = []
    for name, grid in (("fine", fine), ("coarse", coarse)):
        folder = tmp_path / name
        folder.mkdir()
        everywhere = np.ones(grid.shape, dtype=bool)
        result = mcsquare.compute_dose(
            water(),
            beams,
            np.ones(1),
            grid,
            everywhere,
            settings(folder),
            uncertainty_percent=100,
            primaries=6000,
            min_parts=2,
        )
        doses.append(result.dose_gy)
    averaged = doses[0].reshape(12, 4, 36, 2, 20, 3).mean(axis=(1, 3, 5))
    assert doses[1].max() > 0
    assert np.abs(averaged - doses[1]).max() < 2e-3 * doses[1].max()


def test_voxels_of_scoring_and_ct_agree_where_they_overlap_by_halves(tmp_path: Path) -> None:
    """Every second CT voxel's centre as dose voxel, as plans are scored: no shift against the CT's own voxels."""
    beams = SpotPlan((pencil(100.0, 90.0, ISO, x=5.0, y=8.0),))
    doubled = Grid(CT.origin_mm, (4.0, 6.0, 5.0), (44, 37, 54))
    doses = []
    for name, grid in (("ct", CT), ("doubled", doubled)):
        folder = tmp_path / name
        folder.mkdir()
        result = mcsquare.compute_dose(
            water(),
            beams,
            np.ones(1),
            grid,
            np.ones(grid.shape, dtype=bool),
            settings(folder),
            uncertainty_percent=100,
            primaries=6000,
            min_parts=2,
        )
        doses.append(result.dose_gy)
    fine, coarse = doses
    # A coarse voxel is one fine voxel and half of each beside it. Averaged so, both have the same peak and fall-off:
    # read off voxels of 2 and of 4 mm they differ by up to a millimetre, by where the peak lies in a voxel.
    averaged = fine.copy()
    averaged[:, :, 1:-1] = (fine[:, :, :-2] + 2 * fine[:, :, 1:-1] + fine[:, :, 2:]) / 4
    averaged = averaged[:, :, ::2][:, :, : coarse.shape[2]]
    nz, ny, nx = averaged.shape
    along = Grid(CT.origin_mm, (4.0, *CT.spacing_mm[1:]), (nz, ny, nx))
    assert distal_r80_mm(averaged, along, 0, False) == pytest.approx(distal_r80_mm(coarse, doubled, 0, False), abs=0.3)
    for axis in (1, 2):
        assert centroid_mm(fine, CT, axis) == pytest.approx(centroid_mm(coarse, doubled, axis), abs=0.1)
