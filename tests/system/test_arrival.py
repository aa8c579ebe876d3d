"""From a C-STORE to results in the PACS, without a hand on the keyboard; and what starts nothing."""

from __future__ import annotations

import copy
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import RTDoseStorage, RTIonPlanStorage, generate_uid
from radiarch_contract.uids import sop_instance_uid

from phantoms import PhantomStudy

from .service import Service

pytestmark = pytest.mark.system

NewStudy = Callable[[], PhantomStudy]
Save = Callable[[PhantomStudy], list[Path]]


def assert_one_set_of_results(service: Service, study: PhantomStudy, plan: dict[str, Any]) -> None:
    """In Orthanc are one dose and one plan, the ones that the plan's record names, and they belong to the study."""
    assert plan["state"] == "succeeded", plan["error"]
    results = service.results(str(study.rtstruct.StudyInstanceUID))
    (dose,), (rtplan,) = results["RTDOSE"], results["RTPLAN"]
    assert (dose.SOPClassUID, rtplan.SOPClassUID) == (RTDoseStorage, RTIonPlanStorage)
    outputs = {o["kind"]: o["sop_instance_uid"] for o in plan["outputs"]}
    assert outputs | {"rtdose": dose.SOPInstanceUID, "rtplan": rtplan.SOPInstanceUID} == outputs
    of_study = {"StudyInstanceUID": str(study.rtstruct.StudyInstanceUID)}
    for uid in outputs.values():  # a report too
        assert len(service.instances({**of_study, "SOPInstanceUID": uid})) == 1
    assert outputs == {kind: sop_instance_uid(plan["id"], kind) for kind in outputs}
    for result in (dose, rtplan):
        assert result.PatientID == study.rtstruct.PatientID
        assert result.FrameOfReferenceUID == study.images[0].FrameOfReferenceUID
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == rtplan.SOPInstanceUID
    assert rtplan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == study.rtstruct.SOPInstanceUID
    assert dose.pixel_array.any()


def uid_of(study: PhantomStudy) -> str:
    return str(study.rtstruct.SOPInstanceUID)


def test_an_arriving_structure_set_is_planned(service: Service, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    service.send(save(study))
    plan_id = service.wait_for_plan(uid_of(study))["id"]
    seen: list[dict[str, Any]] = []

    def ended() -> dict[str, Any] | None:
        plan = service.plan(plan_id)
        seen.append(plan)
        return plan if plan["state"] in ("succeeded", "failed", "cancelled") else None

    plan = service.wait(ended, "the plan has ended", within_s=240)
    assert_one_set_of_results(service, study, plan)
    assert plan["origin"] == "arrival"
    assert plan["protocol_id"] == "test-box"
    assert plan["goals"]
    assert plan["metrics"]
    fractions = [p["progress"] for p in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    order = ["loading_data", "building_plan", "computing_beamlets", "optimizing", "final_dose", "exporting"]
    stages = [order.index(p["stage"]) for p in seen if p["state"] == "running"]
    assert stages == sorted(stages)
    assert len(set(stages)) > 1
    log = service.log_of(plan_id)
    assert "MCsquare" in log
    assert str(study.rtstruct.PatientName) not in log
    (arrival,) = [a for a in service.api("/arrivals")["items"] if a["sop_instance_uid"] == uid_of(study)]
    assert (arrival["state"], arrival["plan_id"]) == ("planned", plan_id)


def test_a_structure_set_that_comes_again_starts_nothing(service: Service, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    files = save(study)
    service.send(files)
    plan = service.wait_for_plan(uid_of(study))
    service.send([files[-1]])
    service.send(files)
    marker = new_study()  # what arrives later is dealt with later
    service.send(save(marker))
    service.wait_for_plan(uid_of(marker))
    assert [p["id"] for p in service.plans(uid_of(study))] == [plan["id"]]
    for each in (plan["id"], service.plans(uid_of(marker))[0]["id"]):
        service.cancel(each)


def test_new_content_supersedes_the_old(service: Service, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    files = save(study)
    service.send(files)
    first = service.wait_for_plan(uid_of(study))
    (orthanc_id,) = service.instances({"SOPInstanceUID": uid_of(study)})
    service.delete("instances", orthanc_id)
    changed = study.copy()
    changed.rtstruct.ROIContourSequence[2].ContourSequence[0].ContourData[0] += 1.0
    changed.rtstruct.save_as(files[-1], enforce_file_format=True)
    service.send([files[-1]])
    second = service.wait(
        lambda: next((p for p in service.plans(uid_of(study)) if p["id"] != first["id"]), None), "a new plan is made"
    )
    first = service.wait(lambda: (p := service.plan(first["id"]))["superseded_by"] and p, "the old one says so")
    assert first["superseded_by"] == second["id"]
    assert first["rtstruct_sha256"] != service.plan(second["id"])["rtstruct_sha256"]
    service.cancel(second["id"])
    ended = service.wait_for_end(first["id"])
    # its structure set was taken away above: a worker that had not read it by then says so
    assert ended["state"] in ("cancelled", "succeeded") or ended["error"]["code"] == "input_changed"
    assert service.wait_for_end(second["id"])["state"] == "cancelled"


def test_two_structure_sets_on_one_image_are_two_plans(service: Service, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    second = copy.deepcopy(study.rtstruct)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    second.SeriesInstanceUID = generate_uid()
    files = save(study)
    other = files[-1].with_name("second.dcm")
    second.save_as(other, enforce_file_format=True)
    service.send([*files, other])
    plans = [service.wait_for_plan(uid) for uid in (uid_of(study), str(second.SOPInstanceUID))]
    assert plans[0]["id"] != plans[1]["id"]
    for plan in plans:
        service.cancel(plan["id"])
        assert service.wait_for_end(plan["id"])["state"] == "cancelled"


def test_it_waits_for_the_last_image_in_any_order(service: Service, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    *images, rtstruct = save(study)
    service.send([rtstruct], aet="FIRST")
    plan = service.wait_for_plan(uid_of(study), "waiting")
    assert plan["missing_instances"] == len(images)
    service.send(images[1:], aet="SECOND")
    service.wait(
        lambda: service.wait_for_plan(uid_of(study), "waiting")["missing_instances"] == 1, "one image is missing"
    )
    service.send(images[:1], aet="THIRD")
    plan = service.wait_for_plan(uid_of(study), "queued", "running")
    assert plan["missing_instances"] == 0
    service.cancel(plan["id"])


def test_what_no_protocol_fits_is_recorded_with_the_reason(service: Service, new_study: NewStudy, save: Save) -> None:
    study = new_study()
    for dataset in study.datasets:
        dataset.StudyDescription = "something else"
    service.send(save(study))

    def recorded() -> dict[str, Any] | None:
        found = [a for a in service.api("/arrivals")["items"] if a["sop_instance_uid"] == uid_of(study)]
        return found[0] if found and found[0]["state"] != "waiting" else None

    arrival = service.wait(recorded, "the arrival is recorded")
    assert arrival["state"] == "not_planned"
    assert arrival["error"]["code"] == "no_protocol"
    assert arrival["error"]["remedy"]
    assert service.plans(uid_of(study)) == []


def test_a_route_that_takes_long_holds_up_nothing(service: Service, new_study: NewStudy, save: Save) -> None:
    files = save(new_study())
    os.kill(service.redis_server.pid, signal.SIGSTOP)  # what asks Redis now waits for it
    try:
        answers: list[int] = []
        slow = [threading.Thread(target=lambda: answers.append(service.http.get("/radiarch/api/v1/info").status_code))]
        slow[0].start()
        service.send(files)
        assert service.http.get("/system").status_code == 200
        assert service.http.get("/radiarch/api/v1/workflows").status_code == 200
        assert slow[0].is_alive(), "the slow one is still at it"
    finally:
        os.kill(service.redis_server.pid, signal.SIGCONT)
    slow[0].join(60)
    assert answers == [200]
