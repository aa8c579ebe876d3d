"""A database that version 0.1 has written (commit 3e5eaa7, ``database_0_1.sql``): all of REST answers about it."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from radiarch_contract.states import ArrivalState, PlanState
from radiarch_contract.workflows import ImptOptimizedParameters, get_workflow, parse_parameters

from tests.plugin.web.conftest import Api

OLD = Path(__file__).with_name("database_0_1.sql")
LABELS = {
    "DONE": PlanState.SUCCEEDED,
    "QUEUED": PlanState.QUEUED,
    "RUNNING": PlanState.RUNNING,
    "CHECK": PlanState.QUEUED,
}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not empty: `api` opens a copy of it, which brings it up to date."""
    path = tmp_path_factory.mktemp("old") / "radiarch.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text())
    connection.close()
    return path


def ids_of(api: Api) -> dict[str, str]:
    return {p.plan_label: p.id for p in api.store.plans.page(limit=100).items if p.plan_label in LABELS}


def test_every_row_is_kept(api: Api, empty_database: Path) -> None:
    old = sqlite3.connect(empty_database)
    counts = {t: old.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("plans", "arrivals")}
    old.close()
    plans = api.store.plans.page(limit=100).items
    arrivals = api.store.arrivals.page(limit=100).items
    assert (len(plans), len(arrivals)) == (counts["plans"], counts["arrivals"]) == (8, 3)
    assert {p.plan_label: p.state for p in plans if p.plan_label in LABELS} == LABELS
    by_uid = {a.sop_instance_uid: a for a in arrivals}
    assert by_uid["1.2.840.1.2"].state is ArrivalState.WAITING
    assert by_uid["1.2.840.1.3"].error is not None
    assert by_uid["1.2.840.1.4"].contents == 3
    assert sum(p.superseded_at is not None for p in plans) == 2


def test_every_answer_about_it_is_one(api: Api) -> None:
    """Each GET of REST that names a plan, a job, an arrival or a result, for each that there is."""
    plans = api.store.plans.page(limit=100).items
    described = api.http.get("/radiarch/api/openapi.json").json()["paths"]
    gets = {path: methods["get"].get("parameters", ()) for path, methods in described.items() if "get" in methods}
    asked = 0
    for path, parameters in gets.items():
        names = re.findall(r"{(\w+)}", path)
        if names in (["plan_id"], ["job_id"]):
            values = [p.id for p in plans]
        elif names == ["sop_instance_uid"] and "arrivals" in path:
            values = [a.sop_instance_uid for a in api.store.arrivals.page().items]
        elif not names and not any(p.get("required") for p in parameters if p["in"] == "query"):
            values = [""]
        else:
            continue
        for value in values:
            answer = api.http.get(path.replace(f"{{{names[0]}}}", value) if names else path)
            asked += 1
            refused = answer.status_code in (404, 409) and answer.json()["code"] in ("not_found", "conflict")
            assert answer.status_code == 200 or (refused and value), (path, answer.text)
    assert asked > 60


def test_a_plan_is_shown_and_understood_as_it_was_made(api: Api) -> None:
    done = ids_of(api)["DONE"]
    plan = api.get(f"/plans/{done}").json()
    assert (plan["state"], plan["goals"][0]["status"], plan["metrics"][0]["d95_gy"]) == ("succeeded", "met", 58.0)
    assert len(plan["outputs"]) == len(get_workflow("proton-impt-optimized").outputs)
    assert api.get(f"/plans/{done}/dvh").json()["curves"][0]["structure"] == "PTV"
    assert api.get(f"/jobs/{done}/log").json()["lines"] == ["one", "two"]
    stored = api.store.plans.get(done).parameters
    parameters = parse_parameters("proton-impt-optimized", stored, stored=True)
    assert isinstance(parameters, ImptOptimizedParameters)
    assert parameters.tune_to_goals
