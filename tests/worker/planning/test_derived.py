"""Laws of derived structures: of sets, of margins against exact distances, and of the patient's directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_contract.derived import parse
from radiarch_contract.workflows import Prescription
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Dose, Grid
from radiarch_worker.planning.derived import add_derived, grow, mask_of, shrink
from radiarch_worker.planning.geometry import voxel_points_mm
from scipy import ndimage

from tests.worker.engines.water import Box, box_mask, patient, refs

GRID = Grid((-41.0, 12.5, -30.0), (1.5, 2.0, 2.5), (30, 44, 52))
Mask = npt.NDArray[np.bool_]


def blobs(seed: int) -> dict[str, Mask]:
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=GRID.shape), 3) for _ in range(3)]
    return {name: field > np.quantile(field, 0.85) for name, field in zip("ABC", fields, strict=True)}


def made(text: str, masks: dict[str, Mask]) -> Mask:
    return mask_of(parse(text), masks.__getitem__, GRID)


@pytest.mark.parametrize("seed", [1, 2])
def test_set_operations_keep_de_morgans_laws(seed: int) -> None:
    masks = blobs(seed)
    for left, right in (
        ("A minus (B or C)", "(A minus B) and (A minus C)"),
        ("A minus (B and C)", "(A minus B) or (A minus C)"),
        ("A and (B or C)", "(A and B) or (A and C)"),
        ("A minus (A minus B)", "A and B"),
        ("A cut by B", "A minus B"),
    ):
        assert np.array_equal(made(left, masks), made(right, masks))
    assert not made("(A minus B) and B", masks).any()


def test_laws_of_margins() -> None:
    masks = blobs(3)
    a = masks["A"]
    assert np.array_equal(made("A grown 0 mm", masks), a)
    assert np.array_equal(made("A shrunk 0 mm", masks), a)
    for margin in ("5 mm", "6 mm except posterior 0 mm, left 2 mm"):
        grown, shrunk = made(f"A grown {margin}", masks), made(f"A shrunk {margin}", masks)
        assert grown[a].all()
        assert grown.sum() > a.sum() > shrunk.sum()
        assert a[shrunk].all()
        # Closing covers, opening is covered, and doing either twice changes nothing more.
        closed = made(f"A grown {margin} shrunk {margin}", masks)
        inner = np.zeros_like(a)
        inner[5:-5, 5:-5, 5:-5] = a[5:-5, 5:-5, 5:-5]
        assert closed[inner].all()
        opened = made(f"A shrunk {margin} grown {margin}", masks)
        assert a[opened].all()
        assert np.array_equal(made(f"A shrunk {margin} grown {margin} shrunk {margin} grown {margin}", masks), opened)
    # Shrinking is growing what is left out, seen from the other side.
    deep = np.zeros_like(a)
    deep[8:-8, 8:-8, 8:-8] = a[8:-8, 8:-8, 8:-8]
    left_first, right_first = (3.0, 1.5, 4.0, 2.0, 5.0, 2.5), (1.5, 3.0, 2.0, 4.0, 2.5, 5.0)
    assert np.array_equal(shrink(deep, GRID, left_first), ~grow(~deep, GRID, right_first) & deep)


@pytest.mark.parametrize("margin_mm", [3.0, 5.0, 7.5, 12.0])
def test_growing_is_exact_to_the_voxel_center(margin_mm: float) -> None:
    one = np.zeros(GRID.shape, dtype=bool)
    one[15, 22, 26] = True
    points = voxel_points_mm(np.ones(GRID.shape, dtype=bool), GRID)
    distance = np.linalg.norm(points - voxel_points_mm(one, GRID)[0], axis=1).reshape(GRID.shape)
    assert np.array_equal(grow(one, GRID, (margin_mm,) * 6), distance <= margin_mm + 1e-3)
    # A sphere of radius r becomes one of r + margin, to the voxels that its surface cuts.
    radius_mm = 9.0
    grown = grow(distance <= radius_mm, GRID, (margin_mm,) * 6)
    half_diagonal_mm = 0.5 * float(np.linalg.norm(GRID.spacing_mm))
    assert not grown[distance > radius_mm + margin_mm + 1e-3].any()
    assert grown[distance < radius_mm + margin_mm - half_diagonal_mm].all()
    shrunk = shrink(grown, GRID, (margin_mm,) * 6)
    assert shrunk[distance <= radius_mm].all()
    assert not shrunk[distance > radius_mm + half_diagonal_mm].any()


@pytest.mark.parametrize(
    ("direction", "axis", "sign"),
    [
        ("left", 0, 1),
        ("right", 0, -1),
        ("anterior", 1, -1),
        ("posterior", 1, 1),
        ("superior", 2, 1),
        ("inferior", 2, -1),
    ],
)
def test_margins_go_where_the_patients_directions_point(direction: str, axis: int, sign: int) -> None:
    """LPS, head first supine: x to the left, y to the back, z to the head."""
    box = ((-20.0, 10.0), (40.0, 70.0), (-5.0, 20.0))
    masks = {"A": box_mask(GRID, box)}
    before = voxel_points_mm(masks["A"], GRID)
    for word, moved in (("grown", 1), ("shrunk", -1)):
        text = f"A {word} 0 mm except {direction} 6 mm"
        after = voxel_points_mm(made(text, masks), GRID)
        expected_low, expected_high = before.min(axis=0), before.max(axis=0)
        step = np.floor(6.0 / GRID.spacing_mm[axis]) * GRID.spacing_mm[axis] * moved
        if sign > 0:
            expected_high[axis] += step
        else:
            expected_low[axis] -= step
        assert after.min(axis=0) == pytest.approx(expected_low)
        assert after.max(axis=0) == pytest.approx(expected_high)


def test_between_two_directions_the_surface_is_an_ellipsoid() -> None:
    one = np.zeros(GRID.shape, dtype=bool)
    one[15, 22, 26] = True
    margins = (12.0, 4.5, 6.0, 10.0, 10.0, 5.0)
    points = voxel_points_mm(np.ones(GRID.shape, dtype=bool), GRID) - voxel_points_mm(one, GRID)[0]
    left, right, anterior, posterior, superior, inferior = margins
    scale = np.where(points >= 0, [left, posterior, superior], [right, anterior, inferior])
    inside = (np.square(points / scale).sum(axis=1) <= 1 + 1e-5).reshape(GRID.shape)
    assert np.array_equal(grow(one, GRID, margins), inside)


BOX: Box = ((-38.0, 30.0), (15.0, 95.0), (-28.0, 40.0))


def test_derived_structures_are_the_patients_and_are_said_to_be_derived() -> None:
    p = patient(GRID, BOX, {"PTV": ((-20.0, 10.0), (40.0, 70.0), (-10.0, 20.0)), "Rectum": BOX})
    definitions = {
        "Ring": "Wide minus PTV",
        "Wide": "PTV grown 6 mm",
        "Gone": "PTV minus Bladder",
        "Too": "Gone or PTV",
        "None": "PTV minus Rectum",
    }
    found = add_derived(p, refs(p), definitions)
    assert set(found.structures) == {"BODY", "PTV", "Rectum", "Ring", "Wide"}
    ring = found.patient.structures[found.structures["Ring"].roi_number]
    assert ring.definition == "Wide minus PTV"
    assert ring.roi_number < 0
    assert np.array_equal(ring.mask | p.structures[2].mask, grow(p.structures[2].mask, GRID, (6.0,) * 6))
    said = "\n".join(found.patient.notes)
    assert "Ring is derived: Wide minus PTV" in said
    assert "Gone was not made: the patient has no Bladder." in said
    assert "Too was not made: the patient has no Gone." in said
    assert "None (PTV minus Rectum) is empty" in said
    assert p.structures.keys() == {1, 2, 3}


def test_goals_of_a_derived_structure_are_those_of_its_voxels() -> None:
    p = patient(GRID, BOX, {"PTV": ((-20.0, 10.0), (40.0, 70.0), (-10.0, 20.0))})
    found = add_derived(p, refs(p), {"Same": "PTV and PTV", "Half": "PTV shrunk 0 mm except left 15 mm"})
    dose = np.broadcast_to(np.linspace(10, 60, GRID.shape[2], dtype=np.float32), GRID.shape).copy()
    prescription = Prescription(target="PTV", dose_gy=50, fractions=10)
    goals = [f"{n}: Dmean >= 10 Gy" for n in ("PTV", "Same", "Half")]
    judged = evaluate(found.patient, Dose(dose, GRID, 1.0), prescription, goals, found.structures)
    whole, same, half = (g.value or 0.0 for g in judged.goals)
    assert same == pytest.approx(whole, abs=1e-4)
    left_out = p.structures[2].mask & ~found.patient.structures[found.structures["Half"].roi_number].mask
    assert half < whole < dose[left_out].mean()
    assert {c.structure for c in judged.dvh} == {"BODY", "PTV", "Same", "Half"}
