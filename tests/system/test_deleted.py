"""Inputs are deleted from Orthanc while a plan is made of them: it is cancelled, and nothing of it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phantoms import PhantomStudy

from .conftest import Begin
from .gate import Gate
from .processes import alive, descendants
from .service import Service
from .test_arrival import NewStudy, Save, uid_of

pytestmark = pytest.mark.system


def orthanc_id(service: Service, level: str, study: PhantomStudy) -> str:
    """Orthanc's id of the structure set's study, patient or instance, or of the CT series."""
    (instance,) = service.instances({"SOPInstanceUID": uid_of(study)})
    if level == "instances":
        return instance
    if level == "series":
        (image,) = service.instances({"SOPInstanceUID": str(study.images[0].SOPInstanceUID)})
        parent: str = service.http.get(f"/instances/{image}").json()["ParentSeries"]
        return parent
    found: str = service.http.get(f"/instances/{instance}/{level.removesuffix('s').replace('studie', 'study')}").json()[
        "ID"
    ]
    return found


def in_study(service: Service, study: PhantomStudy) -> list[str]:
    """Modalities of what is stored in the study."""
    ids = service.instances({"StudyInstanceUID": str(study.rtstruct.StudyInstanceUID)})
    return sorted(str(service.instance(i).Modality) for i in ids)


@pytest.mark.parametrize("level", ["studies", "patients", "instances", "series"])
def test_while_engines_run(service: Service, begin: Begin, level: str) -> None:
    study, plan_id = begin()
    worker = service.workers[0]
    job = service.job_process(worker)
    assert job is not None
    processes = [job, *descendants(job)]
    service.delete(level, orthanc_id(service, level, study))
    left = in_study(service, study)
    plan = service.wait(lambda: (p := service.plan(plan_id))["state"] == "cancelled" and p, "it is cancelled")
    assert plan["error"]["code"] == ("missing_instances" if level == "series" else "input_changed")
    assert "deleted" in plan["error"]["message"]
    service.wait(lambda: not any(alive(p) for p in processes), "its engines have ended", within_s=5)
    service.wait(lambda: service.worker_status(worker, "idle"), "the worker is free")
    assert in_study(service, study) == left


def test_while_it_waits_for_a_worker(service: Service, begin: Begin, new_study: NewStudy, save: Save) -> None:
    _, first = begin()
    study = new_study()
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study), "queued")["id"]
    service.delete("studies", orthanc_id(service, "studies", study))
    service.wait(lambda: service.plan(plan_id)["state"] == "cancelled", "it is cancelled")
    service.cancel(first)
    service.send(save(study))
    again = service.wait_for_plan(uid_of(study), "queued", "running")
    assert again["id"] != plan_id, "sent again, it is new"
    service.cancel(again["id"])


@pytest.fixture
def gate(service: Service) -> Iterator[Gate]:
    with Gate(service.http_port) as made:
        yield made


def test_while_results_are_on_their_way(
    service: Service, gate: Gate, new_study: NewStudy, save: Save, tmp_path: Path
) -> None:
    """The result comes just after the study has gone; storing it would bring the study back."""
    service.workers.pop().stop()
    worker = service.add_worker(env={"RADIARCH_ORTHANC_URL": f"http://127.0.0.1:{gate.port}"})
    study = new_study()
    gate.hold(b"/store/instances")
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study))["id"]
    service.wait(gate.held.is_set, "the first result is on its way", within_s=120)
    service.delete("studies", orthanc_id(service, "studies", study))
    gate.release()
    service.wait(lambda: service.plan(plan_id)["state"] == "cancelled", "it is cancelled")
    service.wait(lambda: service.worker_status(worker, "idle"), "the worker is free")
    assert in_study(service, study) == []
