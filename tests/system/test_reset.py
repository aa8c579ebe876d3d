"""Orthanc is reset in its running process, by request or by a signal: the service comes back by itself."""

from __future__ import annotations

import json
import os
import signal

import pytest

from .conftest import Begin
from .service import Service
from .test_arrival import NewStudy, Save, assert_one_set_of_results, uid_of

pytestmark = pytest.mark.system

STARTED = "Orthanc has started"


def reset(service: Service, how: str) -> None:
    """Reset, and wait until Orthanc and the plugin answer again."""
    server = service.orthanc_server
    known = server.log().count(STARTED)
    if how == "request":
        assert service.http.post("/tools/reset").status_code == 200
    else:
        # a SIGHUP is ignored where the configuration is what it was
        path = service.folder / "orthanc.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"Name": f"reset {known} times"}))
        os.kill(server.pid, signal.SIGHUP)
    service.wait(lambda: server.log().count(STARTED) > known, "Orthanc has started again")
    service.wait_for_orthanc()
    assert server.running, "in the same process"


def test_resets_while_a_plan_runs_cost_nothing(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    for how in ("request", "signal", "request"):
        reset(service, how)
        assert service.wait_until_ready()["problems"] == []
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)
    assert plan["attempt"] == 1, "the worker went on meanwhile"


def test_after_a_reset_arrivals_are_planned(service: Service, new_study: NewStudy, save: Save) -> None:
    reset(service, "signal")
    study = new_study()
    service.send(save(study))
    plan = service.wait_for_plan(uid_of(study), "succeeded")
    assert_one_set_of_results(service, study, plan)
