"""Targets that the dose grid does not see are refused at once; what looks like a target and is not treated is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.objectives import Objective, ObjectiveMetric
from radiarch_contract.structures import looks_like_target
from radiarch_contract.workflows import (
    Beam,
    ImptBasicParameters,
    ImptOptimizedParameters,
    ImptRobustParameters,
    Prescription,
    ProtonParameters,
    TargetDose,
)
from radiarch_worker import planning
from radiarch_worker.ion import IonMachine
from radiarch_worker.model import Dose, Grid, Patient, PlanResult
from radiarch_worker.planning import prepare
from radiarch_worker.planning.geometry import ScoringLattice, sample_mask
from radiarch_worker.planning.proton.steps import ProtonJob
from radiarch_worker.planning.targets import require_dose_voxels, untreated_notes

from tests.worker.engines.water import Box, Recorder, patient, refs

GRID = Grid((-30.0, -30.0, -30.0), (2.0, 2.0, 2.0), (31, 31, 31))
BODY: Box = ((-28.0, 28.0), (-28.0, 28.0), (-30.0, 30.0))
PTV: Box = ((-9.0, 9.0), (-9.0, 9.0), (-9.0, 9.0))
ONCE = Prescription(target="PTV", dose_gy=60, fractions=30)


def one_voxel(x: int, y: int, z: int) -> Box:
    """A target of the CT's voxel with this index."""
    at = [o + s * i for o, s, i in zip(GRID.origin_mm, GRID.spacing_mm, (x, y, z), strict=True)]
    return ((at[0] - 0.5, at[0] + 0.5), (at[1] - 0.5, at[1] + 0.5), (at[2] - 0.5, at[2] + 0.5))


def asked(p: Patient, parameters: ProtonParameters, workflow: str, job_dir: Path, **changes: Any) -> Recorder:
    recorder = Recorder()
    prescription = ONCE.model_copy(update=changes)
    planning.plan(workflow, p, prescription, parameters, refs(p), recorder, job_dir, 1)
    return recorder


def test_a_target_between_the_dose_voxels_is_refused_before_the_engine_runs(tmp_path: Path) -> None:
    """With a spacing of 4 mm every second voxel of the CT, from BODY's first one on, is a dose voxel."""
    p = patient(GRID, BODY, {"PTV": one_voxel(14, 15, 15)})
    with pytest.raises(InputRefusedError) as caught:
        asked(p, ImptBasicParameters(scoring_spacing_mm=4), "proton-impt-basic", tmp_path)
    error = caught.value.info
    assert error.code is ErrorCode.TARGET_WITHOUT_DOSE_VOXELS
    assert "'PTV' (ROI 2, 0.008 cc)" in error.message
    assert "4 × 4 × 4 mm" in error.message
    assert error.remedy == "Ask for scoring_spacing_mm 3."  # the CT's own 2 mm are as near to 3 as 4 are
    assert list(tmp_path.iterdir()) == []


def test_each_of_several_targets_needs_a_dose_voxel(tmp_path: Path) -> None:
    p = patient(GRID, BODY, {"PTV": PTV, "Boost": one_voxel(14, 15, 15)})
    more = Prescription(target="PTV", dose_gy=60, fractions=30, more=(TargetDose(target="Boost", dose_gy=66),)).more
    with pytest.raises(InputRefusedError, match="'Boost'"):
        asked(p, ImptBasicParameters(scoring_spacing_mm=4), "proton-impt-basic", tmp_path, more=more)


@given(
    index=st.tuples(*[st.integers(4, 26)] * 3),
    size=st.integers(1, 3),
    spacing_mm=st.floats(1, 6),
)
@settings(max_examples=60)
def test_the_remedy_helps(index: tuple[int, int, int], size: int, spacing_mm: float) -> None:
    low, high = one_voxel(*index), one_voxel(*(i + size - 1 for i in index))
    box: Any = tuple((a[0], b[1]) for a, b in zip(low, high, strict=True))
    p = patient(GRID, BODY, {"PTV": box})

    def look(wanted_mm: float) -> bool:
        dose_grid = ScoringLattice.of(GRID, wanted_mm, p.body.mask).grid(p.body.mask)
        require_dose_voxels([p.structures[2]], GRID, dose_grid, p.body.mask)
        return bool(sample_mask(p.structures[2].mask, GRID, dose_grid).any())

    try:
        assert look(spacing_mm)
    except InputRefusedError as e:
        finer = e.info.details["scoring_spacing_mm"]
        assert 1 <= finer < 2 * spacing_mm
        ImptBasicParameters(scoring_spacing_mm=finer)
        assert look(finer)


@pytest.mark.parametrize("workflow", ["proton-impt-optimized", "proton-robust"])
def test_objectives_of_which_none_is_left_are_refused(tmp_path: Path, workflow: str) -> None:
    p = patient(GRID, BODY, {"PTV": PTV, "Nerve": one_voxel(14, 15, 15)})
    nerve = Objective(structure="Nerve", metric=ObjectiveMetric.DMAX, dose_gy=50, robust=workflow == "proton-robust")
    common: dict[str, Any] = {"beams": [Beam(gantry_deg=0, range_shifter="auto")], "scoring_spacing_mm": 4}
    kind = ImptRobustParameters if workflow == "proton-robust" else ImptOptimizedParameters
    with pytest.raises(InputRefusedError, match="'Nerve'") as caught:
        asked(p, kind(objectives=(nerve,), **common), workflow, tmp_path)
    assert caught.value.code is ErrorCode.EMPTY_STRUCTURE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["PTV", "ptv_60", "PTV2", "CTVn", "GTVp1", "ITV", "iGTV", "PTV!", "ICTV 3"])
def test_targets_are_known_by_their_names(name: str) -> None:
    assert looks_like_target(name)


@pytest.mark.parametrize("name", ["_PTV", "zPTV", "Rectum", "ring PTV", "Brain", "~CTV", "Optv"])
def test_other_structures_are_not(name: str) -> None:
    assert not looks_like_target(name)
    assert looks_like_target(name, "PTV")


def notes(structures: dict[str, Box], definitions: dict[str, str] | None = None, target: str = "PTV") -> str:
    p = patient(GRID, BODY, structures)
    parameters = ImptBasicParameters(derived=definitions or {})
    made, names = prepare(p, refs(p), parameters)
    found = untreated_notes(made, ONCE.model_copy(update={"target": target}), names, parameters.derived)
    assert len(found) <= 1
    return "".join(found)


def test_another_target_is_told_with_its_number() -> None:
    apart: Box = ((11.0, 27.0), (-9.0, 9.0), (-9.0, 9.0))
    half: Box = ((1.0, 17.0), (-9.0, 9.0), (-9.0, 9.0))
    assert notes({"PTV": PTV}) == ""
    told = notes({"PTV": PTV, "PTV_2": apart, "CTV": half, "Rectum": apart, "_PTV": apart})
    assert told.startswith("Not treated by this plan")
    assert "'PTV_2' (ROI 3, 5.18 cc, 100 % of it outside of the planned targets)" in told
    assert "'CTV' (ROI 4, 5.18 cc, 50 % of it outside" in told
    assert "Rectum" not in told
    assert "_PTV" not in told


def test_what_is_treated_with_the_target_or_is_its_part_is_not_told() -> None:
    inner: Box = ((-5.0, 5.0), (-5.0, 5.0), (-5.0, 5.0))
    organ: Box = ((-9.0, 9.0), (-9.0, 0.0), (-9.0, 9.0))
    assert notes({"PTV": PTV, "GTV": inner, "CTV": PTV}) == ""
    assert notes({"PTV": PTV, "Organ": organ}, {"Eval": "PTV minus Organ"}, target="Eval") == ""
    assert "'PTV' (ROI 2, " in notes({"PTV": PTV, "GTV": inner}, target="GTV")


def test_the_note_is_bounded() -> None:
    apart: Box = ((11.0, 27.0), (-9.0, 9.0), (-9.0, 9.0))
    told = notes({"PTV": PTV, **{f"PTV_{i}": apart for i in range(200)}})
    assert told.count("(ROI ") == 20
    assert "and 180 more" in told


def test_a_plan_has_the_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def made(job: ProtonJob) -> PlanResult:
        dose = Dose(np.zeros((1, 1, 1), dtype=np.float32), replace(GRID, shape=(1, 1, 1)), 1.1)
        return PlanResult((), dose, 1.0, IonMachine("M", (0.0, 0.0), 0.0), {}, notes=("First.",))

    proton = replace(planning.MODALITIES["proton"], workflows={"proton-impt-basic": made})
    monkeypatch.setitem(planning.MODALITIES, "proton", proton)
    p = patient(GRID, BODY, {"PTV": PTV, "PTV_2": ((11.0, 27.0), (-9.0, 9.0), (-9.0, 9.0))})
    result = planning.plan("proton-impt-basic", p, ONCE, ImptBasicParameters(), refs(p), Recorder(), tmp_path, 1)
    assert result.notes[0] == "First."
    assert "'PTV_2' (ROI 3, " in result.notes[1]
