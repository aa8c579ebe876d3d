"""Layers reach from a target's near end to its far end in water, whatever it is made of, from any angle."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.workflows import Beam, ImptBasicParameters, Prescription
from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines.mcsquare import PlannedBeam, load_calibration, load_machine
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Grid, Patient
from radiarch_worker.planning import plan
from radiarch_worker.planning.geometry import sample_mask
from radiarch_worker.planning.proton import layers as layers_module
from radiarch_worker.planning.proton import placement as placement_module
from radiarch_worker.planning.proton.layers import PlacementSettings, energy_range_mm
from radiarch_worker.planning.raytrace import target_parts
from radiarch_worker.position import PatientPosition

from tests.worker.engines.water import Box, Recorder, box_mask, patient, refs
from tests.worker.planning.test_placement import placed

# Voxels whose faces are the boxes' faces, so that what is computed by voxels is known exactly.
GRID = Grid((-108.0, -108.0, -108.0), (4.0, 4.0, 4.0), (55, 55, 55))
BODY: Box = ((-102.0, 102.0), (-102.0, 102.0), (-102.0, 102.0))
WATER_HU, SPACING_MM = 0.0, 5.0
DENSE = PlacementSettings(8.0, SPACING_MM, 0.0)
Array = npt.NDArray[np.float64]


def rsp_of(hu: float) -> float:
    return float(load_calibration("generic-icru").stopping_power(np.full((1, 1, 1), hu, dtype=np.float32))[0, 0, 0])


def ways(beam: PlannedBeam) -> tuple[Array, Array, Array]:
    """(n, 2) spots, and of each ray a point and its direction, away from where the magnets deflect it."""
    machine = load_machine("BDL_default_UN_RangeShifter")
    axes = BeamAxes.of(beam.gantry_deg, beam.couch_deg, PatientPosition.HFS)
    at = np.unique(np.concatenate([np.stack([x.x_mm, x.y_mm], 1) for x in beam.layers]), axis=0)
    here = np.asarray(beam.isocenter_mm) + at[:, :1] * axes.x + at[:, 1:] * axes.y
    # A point 1 mm upstream: deflected at smx and smy, spots lie nearer to the axis there.
    narrower = at * (1 - 1.0 / np.array([machine.smx_mm, machine.smy_mm]))
    upstream = np.asarray(beam.isocenter_mm) - axes.direction + narrower[:, :1] * axes.x + narrower[:, 1:] * axes.y
    along = here - upstream
    return at, here, along / np.linalg.norm(along, axis=1, keepdims=True)


def crossing_mm(box: Box, points: Array, directions: Array) -> tuple[Array, Array]:
    """Where rays enter and leave a box, mm from their points; the first is larger where they miss it."""
    low, high = np.array([a for a, _ in box]), np.array([b for _, b in box])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.stack([(low - points) / directions, (high - points) / directions])
    return np.nanmax(t.min(axis=0), axis=1), np.nanmin(t.max(axis=0), axis=1)


def ranges_at(beam: PlannedBeam, spot: Array) -> Array:
    """Ranges of the layers that have a spot, rising; less what the range shifter takes."""
    shifter = 0.0 if beam.range_shifter is None else beam.range_shifter.water_equivalent_mm
    there = [x for x in beam.layers if ((x.x_mm == spot[0]) & (x.y_mm == spot[1])).any()]
    return np.array(sorted(energy_range_mm(x.energy_mev) - shifter for x in there))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    hu=st.sampled_from([-700, -500, -100, 0, 40, 300, 700, 1000, 1300, 1500]),
    gantry=st.integers(0, 359),
    couch=st.sampled_from([0, 0, 15, 40, 270, 331]),
    at=st.tuples(*[st.integers(-10, 10)] * 3),
    size=st.tuples(*[st.integers(5, 14)] * 3),
)
def test_layers_reach_the_far_end_of_any_slab_from_anywhere(
    hu: int, gantry: int, couch: int, at: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    target: Box = tuple((4.0 * (a - s // 2) - 2.0, 4.0 * (a - s // 2 + s) - 2.0) for a, s in zip(at, size, strict=True))  # type: ignore[assignment]
    p = patient(GRID, BODY, {"PTV": target}, inserts={target: float(hu)})
    result = placed(p, [Beam(gantry_deg=gantry, couch_deg=couch)], DENSE)
    (beam,) = result.plan.beams
    spots, points, directions = ways(beam)
    into, out = crossing_mm(target, points, directions)
    surface, _ = crossing_mm(BODY, points, directions)
    assert (surface <= into + 1e-6).all()
    water, inside = rsp_of(WATER_HU), rsp_of(hu)
    air = rsp_of(-1000.0)
    entry = water * (into - surface) + air * 10.0
    far = entry + inside * (out - into)
    least, most = (energy_range_mm(e) for e in (100.0, 225.0))
    through = out - into > 2.0  # not those that graze an edge, which voxels see or do not see
    assert through.sum() >= 3
    for spot, near_mm, far_mm in zip(spots[through], entry[through], far[through], strict=True):
        ranges = ranges_at(beam, spot)
        lowest = -np.inf if beam.range_shifter is not None else least
        assert ranges[-1] >= min(far_mm, most) - 0.5
        assert ranges[-1] <= far_mm + 2 * SPACING_MM + 0.5
        assert ranges[0] <= max(near_mm, lowest) + 0.5
        assert ranges[0] >= min(near_mm, far_mm) - 2 * SPACING_MM - 0.5
        assert (np.diff(ranges) < SPACING_MM + 0.2).all()


def test_a_part_behind_a_hole_has_layers_of_its_own_and_the_hole_none() -> None:
    """Two slabs with 60 mm between them: layers end one step behind the first and begin one before the other."""
    slabs: list[Box] = [((-18.0, 18.0), (y, y + 24.0), (-18.0, 18.0)) for y in (-42.0, 42.0)]
    p = patient(GRID, BODY, {"PTV": slabs[0]})
    both = box_mask(GRID, slabs[0]) | box_mask(GRID, slabs[1])
    target = p.structures[2]
    p = Patient(
        p.ct,
        {1: p.body, 2: type(target)(2, "PTV", "", both)},
        p.body,
        p.rtstruct_sop_instance_uid,
        p.rtstruct_sop_class_uid,
    )
    (beam,) = placed(p, [Beam(gantry_deg=0, range_shifter="RS_Block")], DENSE).plan.beams
    water = rsp_of(WATER_HU)
    ranges = ranges_at(beam, np.zeros(2))
    ends = [water * (y + 102.0) for y in (-42.0, -18.0, 42.0, 66.0)]
    hole = ranges[(ranges > ends[1] + 5.3) & (ranges < ends[2] - 5.3)]
    assert len(hole) == 0
    for near, far in ((ends[0], ends[1]), (ends[2], ends[3])):
        part = ranges[(ranges > near - 6) & (ranges < far + 6)]
        assert part[0] <= near + 0.3
        assert part[-1] >= far - 0.3


def test_the_last_layer_is_the_machines_highest_energy_where_steps_would_end_before_the_target() -> None:
    """The machine reaches the far end, though not with a whole step of layers."""
    machine = load_machine("BDL_default_UN_RangeShifter")
    most = energy_range_mm(machine.energy_max_mev)
    grid = Grid((-48.0, -168.0, -48.0), (4.0, 4.0, 4.0), (25, 92, 25))
    body: Box = ((-46.0, 46.0), (-166.0, 198.0), (-46.0, 46.0))
    far_mm = 4.0 * int((most / rsp_of(0) - 1.0) // 4.0)
    for thick_mm in (28.0, 32.0, 36.0, 40.0):
        target: Box = ((-18.0, 18.0), (-166.0 + far_mm - thick_mm, -166.0 + far_mm), (-18.0, 18.0))
        p = patient(grid, body, {"PTV": target})
        (beam,) = placed(p, [Beam(gantry_deg=0)], PlacementSettings(8.0, 20.0, 0.0)).plan.beams
        assert beam.layers[0].energy_mev <= machine.energy_max_mev
        assert ranges_at(beam, np.zeros(2))[-1] >= far_mm * rsp_of(0) - 0.5


@pytest.mark.parametrize("drop", [slice(3, None), slice(None, -3)])
def test_a_plan_whose_layers_do_not_reach_an_end_of_the_target_is_refused(
    monkeypatch: pytest.MonkeyPatch, drop: slice
) -> None:
    """Whatever leaves layers out: the check looks at what was placed."""
    target: Box = ((-22.0, 22.0), (-22.0, 22.0), (-22.0, 22.0))
    p = patient(GRID, BODY, {"PTV": target})
    placed(p, [Beam(gantry_deg=20)], DENSE)
    true = layers_module.place_layers
    monkeypatch.setattr(placement_module, "place_layers", lambda *args: true(*args)[drop])
    with pytest.raises(
        InputRefusedError, match=r"no beam has a layer.*Beam 1 reaches \d+\.\d % of the target"
    ) as caught:
        placed(p, [Beam(gantry_deg=20)], DENSE)
    assert caught.value.code is ErrorCode.TARGET_OUT_OF_RANGE
    monkeypatch.undo()
    # Where another beam reaches it, the plan says which does not.
    calls = iter([drop, slice(None)])
    monkeypatch.setattr(placement_module, "place_layers", lambda *args: true(*args)[next(calls)])
    result = placed(p, [Beam(gantry_deg=20), Beam(gantry_deg=120)], DENSE)
    assert [n for n in result.notes if n.startswith("Beam 1 reaches")]
    assert not [n for n in result.notes if n.startswith("Beam 2 reaches")]


def test_a_part_of_the_target_between_spots_is_noted() -> None:
    """Two targets together: a thin one lies between rows of spots 15 mm apart, where no ray meets it."""
    first: Box = ((-22.0, 22.0), (-22.0, 22.0), (-22.0, 22.0))
    p = patient(GRID, BODY, {"PTV": first})

    mask = p.structures[2].mask | box_mask(GRID, ((48.0, 52.0), (-22.0, 22.0), (-2.0, 2.0)))
    target = dataclasses.replace(p.structures[2], mask=mask)
    both = dataclasses.replace(p, structures={1: p.body, 2: target})
    assert not placed(both, [Beam(gantry_deg=0)], PlacementSettings(5.0, 5.0, 0.0)).notes
    (note,) = placed(both, [Beam(gantry_deg=0)], PlacementSettings(15.0, 5.0, 0.0)).notes
    assert note.startswith("Beam 1 reaches 99.0 % of the target with its layers")


def test_parts_of_a_target_are_told_apart_along_a_slanted_ray() -> None:
    grid = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (20, 40, 20))
    rsp = np.full(grid.shape, 1.5, dtype=np.float32)
    target = np.zeros(grid.shape, dtype=bool)
    target[:, 5:10] = target[:, 20:30] = True
    way = np.array([[0.1, 1.0, 0.05]]) / np.linalg.norm([0.1, 1.0, 0.05])
    parts = target_parts(rsp, target, grid, np.array([[19.0, 39.0, 19.0], [500.0, 0.0, 0.0]]), np.repeat(way, 2, 0))
    assert parts.ray.tolist() == [0, 0]
    per_mm = 1.5 / way[0, 1]
    assert parts.entry_mm == pytest.approx([10 * per_mm, 40 * per_mm], abs=0.05)
    assert parts.exit_mm == pytest.approx([20 * per_mm, 60 * per_mm], abs=0.05)


@pytest.mark.engine
@pytest.mark.parametrize(("hu", "gantry"), [(1000.0, 0.0), (-600.0, 180.0)])
def test_a_target_of_any_density_gets_its_dose_to_its_far_end(tmp_path: Path, hu: float, gantry: float) -> None:
    """At 1000 HU, layers that stop where water's would leave the last 4 mm with 8 % of the dose."""
    grid = Grid((-36.0, -81.0, -36.0), (3.0, 3.0, 3.0), (25, 55, 25))
    body: Box = ((-34.5, 34.5), (-79.5, 79.5), (-34.5, 34.5))
    target: Box = ((-13.5, 13.5), (-19.5, 22.5), (-13.5, 13.5))
    p = patient(grid, body, {"PTV": target}, inserts={target: hu})
    parameters = ImptBasicParameters(
        beams=(Beam(gantry_deg=gantry),), beamlet_primaries=500, uncertainty_percent=2, spot_spacing_mm=5
    )
    prescribed = Prescription(target="PTV", dose_gy=60.0, fractions=30)
    result = plan("proton-impt-basic", p, prescribed, parameters, refs(p), Recorder(), tmp_path, 1)
    inside = sample_mask(p.structures[2].mask, grid, result.dose.grid)
    by_depth = [
        float(result.dose.dose_gy[:, j][inside[:, j]].mean()) for j in range(inside.shape[1]) if inside[:, j].any()
    ]
    assert min(by_depth) >= 0.95 * 60
    # The rest of what D98 misses is noise, and the target's sides.
    found = {m.structure: m for m in evaluate(p, result.dose, prescribed, [], refs(p)).metrics}["PTV"]
    assert found.d98_gy is not None
    assert found.d98_gy >= 0.82 * 60
