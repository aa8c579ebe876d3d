"""A worker that was cut off or stopped while it stored, and comes back when another attempt has succeeded."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from phantoms import PhantomStudy

from .gate import Gate
from .processes import Server, alive, descendants
from .service import Service
from .test_arrival import NewStudy, Save, assert_one_set_of_results, uid_of

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", params=[True, False], ids=["overwriting", "keeping"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With an Orthanc that replaces what is sent again, or keeps what it has; without a worker."""
    folder = tmp_path_factory.mktemp("service")
    with Service(folder, orthanc={"OverwriteInstances": request.param}) as running:
        running.start(workers=0)
        yield running


@pytest.fixture
def gates(service: Service) -> Iterator[tuple[Gate, Gate]]:
    """Between the first worker and Orthanc, and between it and Redis."""
    with Gate(service.http_port) as orthanc, Gate(service.redis_port) as redis:
        yield orthanc, redis


@pytest.fixture
def stale(service: Service, gates: tuple[Gate, Gate]) -> Iterator[Server]:
    """The worker that will come back late."""
    orthanc, redis = gates
    worker = service.add_worker(
        env={
            "RADIARCH_ORTHANC_URL": f"http://127.0.0.1:{orthanc.port}",
            "RADIARCH_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
        }
    )
    yield worker
    for each in list(service.workers):
        for pid in [each.pid, *descendants(each.pid)]:
            os.kill(pid, signal.SIGCONT)
        service.workers.remove(each)
        each.kill()


def last_change(service: Service) -> int:
    number: int = service.http.get("/changes?last").json()["Last"]
    return number


def replaced(service: Service, study: PhantomStudy, plan_id: str) -> dict[str, Any]:
    """Another worker takes over and succeeds; the plan as it is then."""
    service.wait(lambda: service.plan(plan_id)["attempt"] == 2, "the attempt is lost")
    service.add_worker()
    plan = service.wait_for_end(plan_id)
    assert_one_set_of_results(service, study, plan)
    return plan


def assert_unchanged(service: Service, study: PhantomStudy, plan: dict[str, Any], changes: int) -> None:
    since = service.http.get("/changes", params={"since": changes}).json()["Changes"]
    # a series is called stable when a while has passed, and Orthanc 1.12's DICOMweb keeps a summary of it then
    own = {("StableSeries", "Series"), ("StableStudy", "Study"), ("StablePatient", "Patient")}
    own |= {("UpdatedAttachment", "Series")}
    others = [c for c in since if (c["ChangeType"], c["ResourceType"]) not in own]
    assert others == [], "nothing was stored since"
    assert_one_set_of_results(service, study, plan)
    assert service.plan(plan["id"]) == plan


@pytest.mark.parametrize("output", ["first", "second"])
def test_cut_off_while_it_stores(
    service: Service,
    gates: tuple[Gate, Gate],
    stale: Server,
    new_study: NewStudy,
    save: Save,
    output: str,
) -> None:
    orthanc, redis = gates
    study = new_study()
    orthanc.hold(b"/store/instances")
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study))["id"]
    service.wait(orthanc.held.is_set, "the first result is on its way", within_s=120)
    if output == "second":
        orthanc.release(then=b"/store/instances")
        service.wait(orthanc.held.is_set, "the second result is on its way")
    job = service.job_process(stale)
    assert job is not None
    redis.cut()
    plan = replaced(service, study, plan_id)
    changes = last_change(service)
    orthanc.release()
    service.wait(lambda: not alive(job), "the stale job has ended")
    redis.mend()
    service.wait(lambda: service.worker_status(stale, "idle"), "the stale worker is back")
    assert_unchanged(service, study, plan, changes)


def test_stopped_and_woken_up(service: Service, stale: Server, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study))["id"]
    service.wait_for_stage(plan_id, "final_dose", "exporting")
    job = service.job_process(stale)
    assert job is not None
    stopped = [stale.pid, *descendants(stale.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    plan = replaced(service, study, plan_id)
    changes = last_change(service)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    service.wait(lambda: not alive(job), "the stale job has ended")
    service.wait(lambda: service.worker_status(stale, "idle"), "the stale worker is back")
    assert_unchanged(service, study, plan, changes)


def test_of_a_cancelled_plan_nothing_comes_back(
    service: Service, gates: tuple[Gate, Gate], stale: Server, new_study: NewStudy, save: Save
) -> None:
    orthanc, redis = gates
    study = new_study()
    orthanc.hold(b"/store/instances")
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study))["id"]
    service.wait(orthanc.held.is_set, "the first result is on its way", within_s=120)
    redis.cut()
    service.cancel(plan_id)
    job = service.job_process(stale)
    assert job is not None
    orthanc.release()
    service.wait(lambda: not alive(job), "the job has ended")
    redis.mend()
    service.wait(lambda: service.worker_status(stale, "idle"), "the worker is back")
    assert service.results(str(study.rtstruct.StudyInstanceUID)) == {"RTDOSE": [], "RTPLAN": []}
