"""The JSON of runs in every state, held against `answers.json`, which the version before the one record has made."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from radiarch_contract.errors import ErrorCode
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import (
    BeamResult,
    CtUsed,
    DoseComparison,
    DoseDescription,
    GammaResult,
    JobInput,
    JobResult,
    MachineScale,
    StructureMetrics,
)
from radiarch_contract.robustness import DvhBand, Robustness
from radiarch_contract.states import GoalStatus, Origin, Priority
from radiarch_contract.verdict import Outcome, Verdict
from radiarch_contract.workflows import GammaCriteria
from radiarch_plugin.store import Approval, Store, SupersededResults, open_database
from radiarch_plugin.web.routes import arrivals, jobs, plans

from tests.plugin.store.samples import T0, failure, new_arrival, new_plan, running, success

KEPT = Path(__file__).with_name("answers.json")

METRICS = StructureMetrics(
    structure="PTV", roi_number=2, volume_cc=1, d_mean_gy=60, d_min_gy=50, d_max_gy=66, d98_gy=57, d95_gy=58, d50_gy=60,
    d2_gy=63,
)  # fmt: skip
GOAL = GoalResult(text="PTV: D95% >= 95%", structure="PTV", value=96.7, unit="%", status=GoalStatus.MET)
DOSE = DoseDescription(sop_instance_uid="1.2.7", dose_type="EFFECTIVE", max_gy=66, grid_mm=(3, 3, 3))


def everything(plan_id: str) -> JobResult:
    """A result in which nothing is left out, which no real one is."""
    done = success(plan_id, 1)
    return done.model_copy(
        update={
            "beams": (
                BeamResult(
                    number=1, name="B1", gantry_deg=90, couch_deg=0, isocenter_mm=(1, 2, 3), layers=4, spots=5,
                    energy_min_mev=70, energy_max_mev=150, meterset_mu=12.5,
                ),
            ),
            "metrics": (METRICS,),
            "goals": (GOAL,),
            "ct": CtUsed(series_instance_uid="1.2.8", patient_position="HFS", slices=3, named=3, stored=3),
            "dose": DOSE,
            "dose_quantity": "RBE_WEIGHTED",
            "comparison": DoseComparison(
                reference=DOSE, rbe_weighted=True, mean_difference_gy=0.1, metrics=(METRICS,), goals=(GOAL,),
                dvh=done.dvh,
                gamma=GammaResult(
                    criteria=GammaCriteria(), passed_percent=99, points=5, mean=0.2, max=1.1, max_searched=2,
                    reference_max_gy=66,
                ),
            ),
            "verdict": Verdict(result=Outcome.LOOK, reasons=("a reason",), criteria=()),
            "machine_scale": MachineScale(
                machine="M", machine_sha256="b" * 64, calibration_sha256="c" * 64, scale=1.02
            ),
            "robustness": Robustness(
                strategy="ALL", setup_systematic_mm=(1, 1, 1), setup_random_mm=(0, 0, 0), range_percent=3, scenarios=(),
                bands=(
                    DvhBand(structure="PTV", roi_number=2, dose_gy=(0, 1), low_percent=(1, 0), high_percent=(2, 0)),
                ),
            ),
            "provenance": {"engine": "e", "ct_calibration": {"name": "c"}},
        }
    )  # fmt: skip


def made(store: Store) -> dict[str, str]:
    """A run in each state, by what it is there for."""

    def create(**changes: Any) -> str:
        changes = {"rtstruct_sop_instance_uid": "1.2.9", "frame_of_reference_uid": "1.2.5"} | changes
        return store.plans.create(new_plan(**changes))[0].id

    ids = {
        "queued": create(patient_name="Doe^Jane", priority=Priority.BATCH, requested_by="physicist", protocol_id="p"),
        "waiting": create(complete=False, origin=Origin.ARRIVAL, protocol_id="p", protocol_sha256="d" * 64),
        "check": create(
            workflow_id="recalculation", prescription=None, plan_label="CHECK",
            inputs=(JobInput(kind="rtplan", sop_instance_uid="1.2.6", sha256="e" * 64),), parameters={"seed": 7},
        ),
    }  # fmt: skip
    store.plans.set_missing({ids["waiting"]: ["1.1", "1.3"]}, {ids["waiting"]: "two are missing"})
    for name in ("running", "succeeded", "failed", "cancelled"):
        ids[name] = create(
            parent_id=ids["queued"],
            parameters={"seed": 7, "objectives": [{"structure": "PTV", "metric": "DUniform", "dose_gy": 60}]},
            missing_structures=("Rectum",),
        )
        store.attempts.begin(ids[name])
    seen = running(ids["running"]).model_copy(update={"solver": {"iteration": 3, "objective": 0.5}, "message": "m"})
    store.attempts.progress([seen])
    assert store.attempts.succeed(everything(ids["succeeded"]))
    store.plans.decide(ids["succeeded"], Approval(decision="approved", by="physicist", at=T0, comment="good"))
    assert store.attempts.fail(ids["failed"], 1, failure(ErrorCode.ENGINE_FAILED), worker="w")
    store.plans.cancel(ids["cancelled"])
    uid = "1.2.77"
    for content in "ab":
        admitted = store.arrivals.admit(new_arrival(uid, content * 64))
        assert admitted.plan_id is not None
        ids[f"arrived {content}"] = admitted.plan_id
    store.plans.set_superseded_results(ids["arrived a"], SupersededResults.MARKED, [])
    return ids


def test_answers_are_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, clock = itertools.count(1), itertools.count()
    monkeypatch.setattr("radiarch_plugin.store.plans.uuid.uuid4", lambda: UUID(int=next(numbers) << 96))
    database = open_database(f"sqlite:///{tmp_path / 'radiarch.sqlite3'}")
    store = Store(database, now=lambda: T0 + timedelta(seconds=next(clock)))
    answers = {}
    for name, plan_id in made(store).items():
        plan = store.plans.get(plan_id)
        answers[name] = {
            "plan": plans.plan_answer(plan).model_dump(mode="json"),
            "summary": plans.summary(plan).model_dump(mode="json"),
            "job": jobs._answer(plan).model_dump(mode="json"),
        }
    answers["arrival"] = arrivals._answer(store.arrivals.get("1.2.77")).model_dump(mode="json")
    curves = store.plans.curves(made_id(answers)).model_dump(mode="json")
    database.dispose()
    assert {**answers, "curves": curves} == json.loads(KEPT.read_text("utf-8"))


def made_id(answers: dict[str, Any]) -> str:
    found: str = answers["succeeded"]["plan"]["id"]
    return found
