"""Spots cover the target and only it, at energies whose range is its depth; what cannot be reached is refused."""

from __future__ import annotations

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode, InputRefusedError, InvalidRequestError
from radiarch_contract.workflows import Beam
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines import opentps
from radiarch_worker.engines.mcsquare import load_calibration, load_machine, prepare_ct
from radiarch_worker.model import Grid, Patient
from radiarch_worker.planning.geometry import center_of_mass_mm, grow_mask, sample_mask, voxel_points_mm
from radiarch_worker.planning.proton.placement import Placement, PlacementSettings, place_spots
from radiarch_worker.planning.raytrace import depth_to_points
from radiarch_worker.position import PatientPosition

from tests.worker.engines.water import Box, box_mask, patient

GRID = Grid((-131.0, -160.5, 40.0), (2.0, 3.0, 2.5), (60, 90, 132))
BODY = ((-125.0, 125.0), (-140.0, 95.0), (55.0, 175.0))
TARGET = ((-20.0, 15.0), (-35.0, 5.0), (100.0, 130.0))
DENSE = PlacementSettings(6.0, 6.0, 5.0)


def placed(p: Patient, beams: list[Beam], settings: PlacementSettings = DENSE, target: str = "PTV") -> Placement:
    calibration = load_calibration("generic-icru")
    mask = next(s for s in p.structures.values() if s.name == target).mask
    iso = center_of_mass_mm(mask, p.ct.grid)
    ct = prepare_ct(p.ct, p.body, calibration)
    machine = load_machine("BDL_default_UN_RangeShifter")
    return place_spots(ct, p.body.mask, mask, p.ct.grid, beams, iso, settings, machine, calibration)


def bone_and_air() -> Patient:
    inserts = {((-20.0, 0.0), (-120.0, -90.0), (90.0, 140.0)): 800.0, ((40.0, 60.0), (-40.0, 0.0), (90.0, 140.0)): -1e3}
    return patient(GRID, BODY, {"PTV": TARGET}, inserts=inserts)


@pytest.mark.parametrize(("gantry", "couch"), [(0, 0), (90, 0), (180, 0), (250, 0), (30, 0), (60, 20)])
def test_every_spot_stops_in_or_beside_the_grown_target(gantry: float, couch: float) -> None:
    p = bone_and_air()
    settings = PlacementSettings(6.0, 6.0, 5.0)
    plan = placed(p, [Beam(gantry_deg=gantry, couch_deg=couch)], settings).plan
    calibration = load_calibration("generic-icru")
    ct = prepare_ct(p.ct, p.body, calibration)
    rsp = calibration.stopping_power(ct.hu)
    to_range = opentps.load("processing.rangeEnergy").energyToRangeMM
    axes = BeamAxes.of(gantry, couch, PatientPosition.HFS)
    beam = plan.beams[0]
    grown = sample_mask(grow_mask(p.structures[2].mask, GRID.spacing_mm, 5.0), GRID, ct.grid)
    body = sample_mask(p.body.mask, GRID, ct.grid)
    far = (np.full(3, -1e6), np.full(3, 1e6))
    points = voxel_points_mm(grown, ct.grid)
    depth, _ = depth_to_points(rsp, body, ct.grid, far, points, axes.direction)
    u = (points - beam.isocenter_mm) @ axes.x
    v = (points - beam.isocenter_mm) @ axes.y
    assert [x.energy_mev for x in beam.layers] == sorted((x.energy_mev for x in beam.layers), reverse=True)
    for layer in beam.layers:
        reach = to_range(layer.energy_mev)
        for x, y in zip(layer.x_mm, layer.y_mm, strict=True):
            on_ray = (abs(u - x) < 2.5) & (abs(v - y) < 2.5)
            assert on_ray.any()
            # One layer before and one behind the target, and a voxel's worth of depth.
            assert depth[on_ray].min() - 6.0 - 6.0 < reach < depth[on_ray].max() + 6.0 + 6.0


def test_the_target_is_covered_by_spots_in_depth_and_sideways() -> None:
    p = bone_and_air()
    plan = placed(p, [Beam(gantry_deg=0)]).plan
    beam = plan.beams[0]
    x = np.concatenate([x.x_mm for x in beam.layers]) + beam.isocenter_mm[0]
    z = np.concatenate([x.y_mm for x in beam.layers]) + beam.isocenter_mm[2]
    assert x.min() <= TARGET[0][0] and x.max() >= TARGET[0][1]  # noqa: PT018
    assert z.min() <= TARGET[2][0] and z.max() >= TARGET[2][1]  # noqa: PT018
    distances = [np.hypot(x - a, z - b).min() for a in (-20, 0, 15) for b in (100, 115, 130)]
    assert max(distances) < 6.0


def test_spot_and_layer_spacing_are_kept() -> None:
    plan = placed(bone_and_air(), [Beam(gantry_deg=0)], PlacementSettings(8.0, 5.0, 3.0)).plan
    layers = plan.beams[0].layers
    ranges = [opentps.load("processing.rangeEnergy").energyToRangeMM(x.energy_mev) for x in layers]
    assert np.diff(ranges) == pytest.approx(-5.0, abs=0.1)
    for layer in layers:
        apart = np.hypot(layer.x_mm[:, None] - layer.x_mm, layer.y_mm[:, None] - layer.y_mm)
        assert len(layer) == 1 or apart[apart > 0].min() == pytest.approx(8.0, abs=0.01)


def test_moving_everything_moves_nothing_in_the_plan() -> None:
    """Spots depend on where the target lies in the patient, not on where DICOM's origin is."""
    first = placed(bone_and_air(), [Beam(gantry_deg=70)]).plan
    shift = (312.0, -77.0, 1203.5)

    def moved(box: Box) -> Box:
        x, y, z = ((a + s, b + s) for (a, b), s in zip(box, shift, strict=True))
        return (x, y, z)

    x, y, z = (o + s for o, s in zip(GRID.origin_mm, shift, strict=True))
    grid = Grid((x, y, z), GRID.spacing_mm, GRID.shape)
    p = patient(grid, moved(BODY), {"PTV": moved(TARGET)}, hu=bone_and_air().ct.hu)
    second = placed(p, [Beam(gantry_deg=70)]).plan
    assert second.spot_count == first.spot_count
    for a, b in zip(first.beams[0].layers, second.beams[0].layers, strict=True):
        assert a.energy_mev == pytest.approx(b.energy_mev, abs=0.01)
        assert np.array_equal(a.x_mm, b.x_mm)


def test_target_too_deep_is_refused() -> None:
    grid = Grid((-202.0, -200.0, -60.0), (4.0, 4.0, 4.0), (31, 110, 102))
    p = patient(grid, ((-200, 200), (-190, 230), (-55, 55)), {"PTV": ((-20, 20), (180, 220), (-20, 20))})
    with pytest.raises(InputRefusedError) as caught:
        placed(p, [Beam(gantry_deg=0)])
    assert caught.value.code is ErrorCode.TARGET_OUT_OF_RANGE


SHALLOW: Box = ((-20.0, 15.0), (-120.0, -90.0), (100.0, 130.0))


def test_target_too_shallow_is_refused_and_said_when_another_beam_reaches_it() -> None:
    shallow = patient(GRID, BODY, {"PTV": SHALLOW})
    with pytest.raises(InputRefusedError) as caught:
        placed(shallow, [Beam(gantry_deg=0, range_shifter="none")])
    assert caught.value.code is ErrorCode.TARGET_OUT_OF_RANGE
    # From the left it lies deep enough; from the front a part of it does.
    deep = patient(GRID, BODY, {"PTV": ((-20.0, 15.0), (-75.0, -45.0), (100.0, 130.0))})
    result = placed(deep, [Beam(gantry_deg=0, range_shifter="none"), Beam(gantry_deg=90)])
    assert any(note.startswith("Beam 1 reaches") for note in result.notes)
    assert len(result.plan.beams) == 2


def test_a_shallow_target_gets_a_range_shifter_and_a_deep_one_none() -> None:
    machine = load_machine("BDL_default_UN_RangeShifter")
    to_range = opentps.load("processing.rangeEnergy").energyToRangeMM
    result = placed(patient(GRID, BODY, {"PTV": SHALLOW}), [Beam(gantry_deg=0)])
    (beam,) = result.plan.beams
    assert beam.range_shifter is not None
    assert beam.range_shifter.id == "RS_Block"
    assert beam.range_shifter.water_equivalent_mm == machine.range_shifters["RS_Block"] == 73.1
    # 50 mm of air before BODY, which begins at y = -140; up to the next centimetre.
    to_surface_mm = beam.isocenter_mm[1] - BODY[1][0]
    assert to_surface_mm + 45 < beam.range_shifter.isocenter_distance_mm < to_surface_mm + 65
    assert any("has the range shifter RS_Block" in note for note in result.notes)
    # Layers reach from the target's front to its back, after the shifter took its part (and a margin of 5 mm, a layer).
    water = float(load_calibration("generic-icru").stopping_power(np.zeros((1, 1, 1), dtype=np.float32))[0, 0, 0])
    reach = [float(to_range(x.energy_mev)) - 73.1 for x in beam.layers]
    front, back = ((y - BODY[1][0]) * water for y in SHALLOW[1])
    assert front - 5 - 6 - 8 < reach[-1] <= front
    assert back <= reach[0] < back + 5 + 6 + 8
    deep = placed(bone_and_air(), [Beam(gantry_deg=0)])
    assert deep.plan.beams[0].range_shifter is None
    # Asked for by name it is there for any target.
    named = placed(bone_and_air(), [Beam(gantry_deg=0, range_shifter="RS_Block")])
    assert named.plan.beams[0].range_shifter is not None
    assert named.plan.beams[0].layers[0].energy_mev > deep.plan.beams[0].layers[0].energy_mev + 20


def test_a_range_shifter_that_the_machine_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match=r"'RS_2'.*has RS_Block"):
        placed(bone_and_air(), [Beam(gantry_deg=0, range_shifter="RS_2")])


def test_beam_through_the_end_of_the_scan_is_refused() -> None:
    """The patient goes on beyond the last slice: a beam from there would cross tissue that nobody scanned."""
    cut = Grid(GRID.origin_mm, GRID.spacing_mm, (44, *GRID.shape[1:]))  # BODY goes to the last slice
    p = patient(cut, BODY, {"PTV": TARGET})
    assert p.body.mask[-1].any()
    placed(p, [Beam(gantry_deg=90)])
    with pytest.raises(InputRefusedError) as caught:
        placed(p, [Beam(gantry_deg=90, couch_deg=270)])
    assert caught.value.code is ErrorCode.UNSUPPORTED_GEOMETRY
    placed(patient(GRID, BODY, {"PTV": TARGET}), [Beam(gantry_deg=90, couch_deg=20)])


def test_field_beyond_the_scanning_magnets_is_refused() -> None:
    grid = Grid((-240.0, -120.0, -60.0), (5.0, 5.0, 5.0), (25, 50, 97))
    p = patient(grid, ((-235, 235), (-110, 120), (-55, 55)), {"PTV": ((-170, 170), (-10, 10), (-10, 10))})
    with pytest.raises(InputRefusedError) as caught:
        placed(p, [Beam(gantry_deg=0)])
    assert caught.value.code is ErrorCode.TARGET_OUT_OF_RANGE


def test_depths_are_sums_of_stopping_power_along_the_ray() -> None:
    grid = Grid((0.0, 0.0, 0.0), (2.0, 3.0, 4.0), (10, 12, 14))
    rng = np.random.default_rng(5)
    rsp = rng.uniform(0, 2, grid.shape).astype(np.float32)
    body = box_mask(grid, ((-1e3, 1e3), (-1e3, 1e3), (-1e3, 1e3)))
    far = (np.full(3, -1e6), np.full(3, 1e6))
    point = np.array([[8.0, 15.0, 16.0]])  # centre of voxel 4, 5, 4
    along_y, _ = depth_to_points(rsp, body, grid, far, point, np.array([0.0, 1.0, 0.0]))
    assert along_y[0] == pytest.approx(3.0 * (rsp[4, :5, 4].sum() + rsp[4, 5, 4] / 2), rel=1e-3)
    against_x, _ = depth_to_points(rsp, body, grid, far, point, np.array([-1.0, 0.0, 0.0]))
    assert against_x[0] == pytest.approx(2.0 * (rsp[4, 5, 5:].sum() + rsp[4, 5, 4] / 2), rel=1e-3)
    ones = np.ones(grid.shape, dtype=np.float32)
    slanted = np.array([0.6, 0.64, 0.48])
    deep, _ = depth_to_points(ones, body, grid, far, point, slanted)
    low = np.asarray(grid.origin_mm) - np.asarray(grid.spacing_mm) / 2
    assert deep[0] == pytest.approx(((point[0] - low) / slanted).min(), rel=1e-3)
