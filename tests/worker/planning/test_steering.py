"""Targets with different doses, and structures that count with another density than the CT's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.workflows import DensityOverride, ImptBasicParameters, Prescription, TargetDose
from radiarch_worker.engines.mcsquare import load_calibration, prepare_ct
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Grid, Patient
from radiarch_worker.planning import plan, prepare
from radiarch_worker.planning.geometry import sample_mask

from tests.worker.engines.runs import distal_r80_mm, dose_of_each, pencil
from tests.worker.engines.water import Box, Recorder, box_mask, patient, refs

from .test_plans import BODY, GRID, QUICK, TARGET

BOOST: Box = ((-15.0, -3.0), (-18.0, 9.0), (735.0, 765.0))


@pytest.mark.engine
def test_each_target_gets_its_own_dose_and_what_is_in_both_the_higher(tmp_path: Path) -> None:
    p = patient(GRID, BODY, {"PTV": TARGET})
    prescription = Prescription(target="PTV", dose_gy=50, fractions=25, more=(TargetDose(target="Boost", dose_gy=60),))
    parameters = ImptBasicParameters(
        **QUICK,
        derived={"Boost": "PTV shrunk 0 mm except left 18 mm", "Low": "PTV minus (Boost grown 9 mm)"},
    )
    subject, structures = prepare(p, refs(p), parameters)
    goals = ("Boost: Dmean ≥ 95%", "PTV: Dmean ≥ 95%", "Low: Dmean ≤ 60 Gy")
    result = plan("proton-impt-basic", subject, prescription, parameters, structures, Recorder(), tmp_path, 2)
    dose, grid = result.dose, result.dose.grid
    boost = box_mask(GRID, BOOST)
    low = p.structures[2].mask & ~box_mask(GRID, ((-99.0, 7.0), BOOST[1], BOOST[2]))
    assert dose.dose_gy[sample_mask(boost, GRID, grid)].mean() == pytest.approx(60, rel=0.03)
    assert dose.dose_gy[sample_mask(low, GRID, grid)].mean() == pytest.approx(50, rel=0.04)
    judged = evaluate(subject, dose, prescription, goals, structures)
    values = {g.structure: g.value for g in judged.goals}
    # Percentages are of each target's own dose.
    assert values["Boost"] == pytest.approx(100, abs=4)
    assert 104 < (values["PTV"] or 0) < 114


def in_water(slab_hu: float = 0.0) -> Patient:
    structures = {"PTV": TARGET, "Slab": SLAB, "Bolus": BOLUS}
    return patient(GRID, BODY, structures, inserts={SLAB: slab_hu} if slab_hu else None)


SLAB: Box = ((-45.0, 45.0), (-90.0, -60.0), (708.0, 790.0))
BOLUS: Box = ((-45.0, 45.0), (-111.0, -108.5), (708.0, 790.0))


def overridden(p: Patient, *overrides: dict[str, Any]) -> Patient:
    parameters = ImptBasicParameters(overrides=tuple(DensityOverride(**o) for o in overrides))
    return prepare(p, refs(p), parameters)[0]


def test_water_overridden_by_water_changes_nothing() -> None:
    p = in_water()
    same = overridden(p, {"structure": "Slab", "hu": 0})
    assert np.array_equal(same.ct.hu, p.ct.hu)
    assert same.body is p.body
    assert "count as 0 HU" in same.notes[-1]


def test_an_override_counts_inside_its_structure_only_and_the_later_one_wins() -> None:
    p = in_water(2000.0)
    changed = overridden(p, {"structure": "Slab", "hu": 1000}, {"structure": "PTV", "density_g_cm3": 1.1})
    slab, target = p.structures[3].mask, p.structures[2].mask
    assert (changed.ct.hu[slab] == 1000).all()
    assert np.array_equal(changed.ct.hu[~slab & ~target], p.ct.hu[~slab & ~target])
    calibration = load_calibration("generic-icru")
    table = calibration.density
    assert np.interp(changed.ct.hu[target], table[:, 0], table[:, 1]) == pytest.approx(1.1, abs=1e-4)
    twice = overridden(p, {"structure": "Slab", "hu": 1000}, {"structure": "Slab", "hu": -500})
    assert (twice.ct.hu[slab] == -500).all()
    assert "overlaps" in twice.notes[-1]
    assert overridden(p, {"structure": "Gone", "hu": 0}).notes[-1].startswith("The patient has no structure Gone")


def test_a_bolus_belongs_to_the_body_where_that_is_asked_for() -> None:
    p = in_water()
    bolus = p.structures[4].mask
    assert bolus.any()
    assert not p.body.mask[bolus].any()
    calibration = load_calibration("generic-icru")
    without = overridden(p, {"structure": "Bolus", "hu": 0})
    assert "count as air" in without.notes[-1]
    assert np.array_equal(
        prepare_ct(without.ct, without.body, calibration).hu, prepare_ct(p.ct, p.body, calibration).hu
    )
    extended = overridden(p, {"structure": "Bolus", "hu": 50, "extend_body": True})
    assert np.array_equal(extended.body.mask, p.body.mask | bolus)
    assert np.array_equal(extended.structures[1].mask, p.structures[1].mask)
    ct = prepare_ct(extended.ct, extended.body, calibration)
    assert (ct.hu[sample_mask(bolus, GRID, ct.grid)] == 50).all()


@pytest.mark.parametrize("wrong", [{"hu": 30_000}, {"hu": 2950}, {"density_g_cm3": 1e-4}])
def test_what_the_calibration_does_not_reach_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        overridden(in_water(), {"structure": "Slab", **wrong})
    assert caught.value.code is ErrorCode.HU_OUT_OF_CALIBRATION


@pytest.mark.engine
def test_an_override_moves_the_range_by_its_stopping_power(tmp_path: Path) -> None:
    """A slab that counts as bone takes from the range its thickness times what it stops more than water."""
    calibration = load_calibration("generic-icru")
    water, bone = calibration.stopping_power(np.array([[[0.0, 700.0]]], dtype=np.float32)).ravel()
    fine = Grid((-9.0, -112.5, 741.0), (6.0, 1.5, 6.0), (4, 104, 4))
    ends = []
    for hu in (0.0, 700.0):
        p = overridden(in_water(), {"structure": "Slab", "hu": hu})
        ct = prepare_ct(p.ct, p.body, calibration)
        (tmp_path / str(hu)).mkdir()
        (dose,) = dose_of_each(ct, [pencil(110.0, 0.0, (0.0, -20.0, 750.0))], fine, 20_000, tmp_path / str(hu))
        ends.append(distal_r80_mm(dose, fine, 1, True))
    thickness_mm = 3.0 * int(in_water().structures[3].mask.any(axis=(0, 2)).sum())
    assert ends[0] - ends[1] == pytest.approx(thickness_mm * (bone / water - 1), abs=0.7)
