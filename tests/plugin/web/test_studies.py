"""Patients, studies and series over REST, from a real Orthanc."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.record.index import StudyIndex
from radiarch_plugin.store import Approval, Ownership

from phantoms import PhantomStudy, box
from tests.plugin.store.samples import T0, new_plan, running, success
from tests.plugin.web.conftest import Api

Look = Callable[[], None]


@pytest.fixture
def look(api: Api, orthanc_url: str) -> Iterator[Look]:
    """Bring the table of studies up to date, as the plugin's thread does."""
    rest, owner = HttpRest(orthanc_url), Ownership(api.store.database)
    index = StudyIndex(api.store, OrthancClient(rest), owner)

    def turn() -> None:
        index.turn()

    yield turn
    owner.release()
    rest.close()


@pytest.fixture
def stored(api: Api, look: Look) -> PhantomStudy:
    made = of_patient(f"REC/ {uuid.uuid4().hex}", "Odd^Näme<b>")
    api.upload(*made.datasets)
    look()
    return made


def of_patient(patient_id: str, name: str = "Doe^Jane", day: str = "20260102") -> PhantomStudy:
    made = box(shape=(3, 12, 12))
    for ds in made.datasets:
        ds.PatientID, ds.PatientName, ds.StudyDate, ds.StudyDescription = patient_id, name, day, "100%_of =it"
        ds.SpecificCharacterSet = "ISO_IR 192"
    return made


def uids(answer: Any) -> list[str]:
    return [s["study_instance_uid"] for s in answer.json()["items"]]


def test_a_study_is_found_by_what_it_has(api: Api, stored: PhantomStudy) -> None:
    uid, owner = str(stored.rtstruct.StudyInstanceUID), str(stored.rtstruct.PatientID)
    for query in (
        {"q": f"näme {owner[:12]}"},
        {"q": "100%_of =", "patient_id": owner},
        {"patient_id": owner},
        {"study_uid": uid},
        {"patient_id": owner, "date_from": "2026-01-02", "date_to": "20260102", "modality": "ct"},
        {"patient_id": owner, "structures": True, "plan": False, "dose": False},
    ):
        assert uids(api.get("/studies", **query)) == [uid], query
    for query in (
        {"q": "näme nobody"},
        {"q": "100__of"},
        {"study_uid": uid, "date_to": "2026-01-01"},
        {"study_uid": uid, "modality": "MR"},
        {"study_uid": uid, "structures": False},
        {"study_uid": uid, "plan": True},
    ):
        assert uids(api.get("/studies", **query)) == [], query


def test_a_study_tells_what_is_in_it_and_what_happened(api: Api, stored: PhantomStudy) -> None:
    rtstruct = stored.rtstruct
    uid = str(rtstruct.StudyInstanceUID)
    owner = {"patient_id": str(rtstruct.PatientID), "study_instance_uid": uid}
    plan, _ = api.store.plans.create(new_plan(complete=True).model_copy(update=owner))
    api.store.attempts.begin(plan.id)
    api.store.attempts.progress([running(plan.id)])
    api.store.attempts.succeed(success(plan.id, 1))
    api.store.plans.decide(plan.id, Approval(decision="approved", by="jm", at=T0, comment="=well"))
    found = api.get(f"/studies/{uid}").json()
    assert {s["modality"]: s["instance_count"] for s in found["series"]} == {"CT": 3, "RTSTRUCT": 1}
    assert [(o["kind"], o["sop_instance_uid"], o["plan_id"]) for o in found["objects"]] == [
        ("rtstruct", rtstruct.SOPInstanceUID, None)
    ]
    line = found["timeline"]
    times = [datetime.fromisoformat(item["at"]) for item in line]
    assert times == sorted(times)
    assert sum(item["kind"] == "stored" for item in line) == 2
    assert [i["state"] for i in line if i["kind"] == "plan"] == ["queued", "running", "succeeded"]
    decided = next(i for i in line if i["kind"] == "approval")
    assert (decided["decision"], decided["by"], decided["plan_id"]) == ("approved", "jm", plan.id)
    of_patient = api.get(f"/patients/{rtstruct.PatientID}").json()
    assert [s["study_instance_uid"] for s in of_patient["study_list"]] == [uid]
    assert of_patient["all_names"] == ["Odd^Näme<b>"]
    assert [i["kind"] for i in of_patient["timeline"]] == ["approval", "plan", "plan", "plan"]


def test_a_series_has_instances_tags_and_a_picture(api: Api, stored: PhantomStudy) -> None:
    series = str(stored.images[0].SeriesInstanceUID)
    found = api.get(f"/series/{series}").json()
    assert [i["sop_instance_uid"] for i in found["instances"]] == [i.SOPInstanceUID for i in stored.images]
    drawn = api.get(f"/series/{series}/thumbnail")
    assert drawn.status_code == 200
    assert drawn.content.startswith(b"\x89PNG")
    nothing = api.get(f"/series/{stored.rtstruct.SeriesInstanceUID}/thumbnail")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "not_found")
    tags = {t["keyword"]: t for t in api.get(f"/instances/{stored.rtstruct.SOPInstanceUID}/tags").json()["tags"]}
    assert tags["PatientName"]["value"] == "Odd^Näme<b>"
    assert tags["ROIContourSequence"]["items"] == len(stored.rtstruct.ROIContourSequence)
    assert api.get("/statistics").json()["instances"] >= 4


def test_pages_give_each_study_once(api: Api, look: Look) -> None:
    made = [of_patient(f"PAGE{n // 2}", day="20260102" if n % 2 else "") for n in range(5)]
    for study in made:
        api.upload(study.rtstruct)
    look()
    wanted = {str(s.rtstruct.StudyInstanceUID) for s in made}
    for sort in ("-study_date", "study_date", "patient_name", "-patient_name"):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.get("/studies", q="page", limit=2, sort=sort, **cursor)
            seen += uids(page)
            if page.json()["next"] is None:
                break
            cursor = {"cursor": page.json()["next"]}
        assert len(seen) == 5, sort
        assert set(seen) == wanted
    first = api.get("/patients", q="page", limit=2).json()
    second = api.get("/patients", q="page", limit=2, cursor=first["next"]).json()
    patients = [(p["patient_id"], p["studies"]) for p in first["items"] + second["items"]]
    assert patients == [("PAGE0", 2), ("PAGE1", 2), ("PAGE2", 1)]
    assert second["next"] is None


def test_one_uid_of_two_patients_has_to_be_told_apart(api: Api, look: Look) -> None:
    one = of_patient("TWIN1")
    api.upload(one.images[0])
    one.images[0].PatientID = "TWIN2"
    api.upload(one.images[0])
    look()
    for path in (f"/studies/{one.images[0].StudyInstanceUID}", f"/series/{one.images[0].SeriesInstanceUID}"):
        answer = api.get(path)
        assert answer.status_code == 409
        assert sorted(answer.json()["details"]["patient_ids"]) == ["TWIN1", "TWIN2"]
        assert api.get(path, patient_id="TWIN2").json()["patient_id"] == "TWIN2"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies?date_from=yesterday", 422),
        ("/studies?date_from=20261332", 422),
        ("/studies?sort=colour", 422),
        ("/studies?cursor=abc", 422),
        ("/studies?fuzzy=1", 422),
        ("/studies/1.2.3.4", 404),
        ("/studies/../x", 404),
        ("/series/1.2.3.4", 404),
        ("/series/1.2.3.4/thumbnail", 404),
        ("/instances/1.2.3.4/tags", 404),
        ("/patients/nobody/at/all", 404),
    ],
)
def test_what_cannot_be_is_told(api: Api, path: str, status: int) -> None:
    path, _, query = path.partition("?")
    name, _, value = query.partition("=")
    assert api.get(path, **({name: value} if query else {})).status_code == status


def test_the_table_follows_orthanc(api: Api, orthanc_url: str) -> None:
    rest, owner = HttpRest(orthanc_url), Ownership(api.store.database)
    index = StudyIndex(api.store, OrthancClient(rest), owner)
    study = of_patient("FOLLOW")
    uid = str(study.rtstruct.StudyInstanceUID)

    def modalities() -> list[list[str]]:
        return [s["modalities"] for s in api.get("/studies", study_uid=uid).json()["items"]]

    ct = api.upload(study.images[0])[0]
    index.turn()
    assert modalities() == [["CT"]]
    structures = api.upload(study.rtstruct)[0]
    index.turn()
    assert modalities() == [["CT", "RTSTRUCT"]]
    series = api.orthanc.get(f"/instances/{structures}/series").json()["ID"]
    api.orthanc.delete(f"/series/{series}").raise_for_status()
    index.deleted(series)
    index.turn()
    assert modalities() == [["CT"]]
    # sent again before the thread has heard that it was deleted
    of = api.orthanc.get(f"/instances/{ct}/study").json()["ID"]
    api.orthanc.delete(f"/studies/{of}").raise_for_status()
    api.upload(study.images[0])
    index.turn()
    index.deleted(of)
    index.turn()
    assert modalities() == [["CT"]]
    # what happened while the plugin was away
    api.upload(study.rtstruct)
    StudyIndex(api.store, OrthancClient(rest), owner).turn()
    assert modalities() == [["CT", "RTSTRUCT"]]
    api.orthanc.delete(f"/studies/{of}").raise_for_status()
    StudyIndex(api.store, OrthancClient(rest), owner).turn()
    assert modalities() == []
    owner.release()
    rest.close()
