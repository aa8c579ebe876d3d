"""Whatever is killed in the middle of a plan: one set of results, and a state that is true."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from .conftest import COMPUTING, Begin
from .processes import alive, descendants, processes_in
from .service import Service
from .test_arrival import NewStudy, Save, assert_one_set_of_results, uid_of

pytestmark = pytest.mark.system

CANCEL_S = 2.0


def job_folders(service: Service) -> Path:
    return service.work_dir / "workers"


def test_kill_of_the_jobs_process(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    worker = service.workers[0]
    job = service.job_process(worker)
    assert job is not None
    engines = service.engine_processes(worker)
    os.kill(job, signal.SIGKILL)
    service.wait(lambda: not any(alive(p) for p in engines), "its engines have ended", within_s=CANCEL_S)
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)
    assert service.plan(plan_id)["attempt"] == 2


def test_kill_of_an_engine(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    os.kill(service.engine_processes(service.workers[0])[0], signal.SIGKILL)
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)
    assert plan["attempt"] == 2


def test_kill_of_the_worker(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    worker = service.workers.pop(0)
    below = descendants(worker.pid)
    worker.kill()
    service.wait(lambda: not any(alive(p) for p in below), "nothing that it had started lives", within_s=CANCEL_S)
    assert not processes_in(job_folders(service))
    service.add_worker()
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)
    assert plan["attempt"] == 2


def test_kill_of_orthanc(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    service.orthanc_server.kill()
    service.start_orthanc()
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)
    assert plan["attempt"] == 1, "the worker went on meanwhile"


@pytest.mark.parametrize("what", ["stop for a while", "restart empty", "flush"])
def test_redis_goes_away(service: Service, begin: Begin, what: str) -> None:
    study, plan_id = begin()
    match what:
        case "stop for a while":
            os.kill(service.redis_server.pid, signal.SIGSTOP)
            worker = service.workers[0]
            known = worker.log().count("Redis does not answer")
            service.wait(lambda: worker.log().count("Redis does not answer") > known, "the worker has noticed")
            assert service.plan(plan_id)["state"] == "running"
            os.kill(service.redis_server.pid, signal.SIGCONT)
        case "restart empty":
            service.redis_server.kill()
            service.start_redis()
        case "flush":
            service.redis.flushall()
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)


def test_cancel_ends_the_engines_and_says_so(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    worker = service.workers[0]
    job = service.job_process(worker)
    assert job is not None
    processes = [job, *descendants(job)]
    service.cancel(plan_id)
    service.wait(lambda: not any(alive(p) for p in processes), "its processes have ended", within_s=CANCEL_S)
    plan = service.wait_for_end(plan_id)
    assert plan["state"] == "cancelled"
    service.wait(lambda: "cancelled" in service.log_of(plan_id), "the log says so")
    service.wait(lambda: service.worker_status(worker, "idle"), "the worker is free")
    assert service.results(str(study.rtstruct.StudyInstanceUID)) == {"RTDOSE": [], "RTPLAN": []}


def test_a_poisoned_job_fails_with_its_cause(service: Service, begin: Begin) -> None:
    study, plan_id = begin()
    worker = service.workers[0]
    killed: set[int] = set()

    def kill_each_attempt() -> bool:
        job = service.job_process(worker)
        if job is not None and job not in killed and service.engine_processes(worker):
            os.kill(job, signal.SIGKILL)
            killed.add(job)
        return service.plan(plan_id)["state"] in ("failed", "succeeded")

    service.wait(kill_each_attempt, "the plan has ended", within_s=400)
    plan = service.plan(plan_id)
    assert plan["state"] == "failed"
    assert plan["error"]["code"] == "worker_lost"
    assert "SIGKILL" in plan["error"]["message"]
    assert plan["attempt"] == len(killed) == 3
    assert service.results(str(study.rtstruct.StudyInstanceUID)) == {"RTDOSE": [], "RTPLAN": []}


def test_two_jobs_at_once_share_nothing(service: Service, new_study: NewStudy, save: Save) -> None:
    second = service.add_worker()
    studies = [new_study(), new_study()]
    for study in studies:
        service.send(save(study))
    plans = [service.wait_for_plan(uid_of(study)) for study in studies]
    for plan in plans:
        service.wait_for_stage(plan["id"], *COMPUTING)
    assert all(service.job_process(w) for w in (service.workers[0], second))
    ended = [service.wait_for_end(plan["id"], within_s=400) for plan in plans]
    doses = []
    for study, plan in zip(studies, ended, strict=True):
        assert_one_set_of_results(service, study, plan)
        doses.append(service.results(str(study.rtstruct.StudyInstanceUID))["RTDOSE"][0])
    assert ended[0]["worker"] != ended[1]["worker"]
    # equal patients but for their identity: the same dose, bit for bit
    assert np.array_equal(doses[0].pixel_array, doses[1].pixel_array)
    assert doses[0].DoseGridScaling == doses[1].DoseGridScaling
    service.workers.remove(second)
    second.stop()


def test_what_arrived_while_the_plugin_was_not_there_is_planned(
    service: Service, new_study: NewStudy, save: Save
) -> None:
    service.orthanc_server.stop()
    study, other = new_study(), new_study()
    service.start_orthanc_without_plugin()
    service.send(save(study))
    service.orthanc_server.kill()
    service.start_orthanc()
    service.send(save(other))
    for each in (study, other):
        plan = service.wait_for_plan(uid_of(each), "queued", "running", "succeeded")
        service.cancel(plan["id"])
        assert service.wait_for_end(plan["id"])["state"] == "cancelled"
