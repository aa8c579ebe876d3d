"""Results of a plan whose structure set has changed: kept with a mark, or removed; never anybody else's."""

from __future__ import annotations

import copy

import pytest
from pydicom.uid import UID, RTDoseStorage, generate_uid
from radiarch_contract.job import JobResult, Output
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_plugin.jobs.results import SUPERSEDED_METADATA, Results
from radiarch_plugin.store.lifecycle import supersede

from phantoms import PhantomStudy
from tests.plugin.store.samples import failure

from .conftest import Api
from .test_plans import BASIC, asked, stored


@pytest.fixture
def results(api: Api) -> Results:
    assert api.runtime.services is not None
    return Results(api.store, api.runtime.services.orthanc)


def succeeded(api: Api, study: PhantomStudy) -> tuple[str, str]:
    """A plan with a stored dose; its id and Orthanc's of the dose."""
    plan_id: str = asked(api, stored(api, study), **BASIC)["id"]
    dose = copy.deepcopy(study.images[0])
    dose.SOPInstanceUID = dose.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid(plan_id, "rtdose"))
    dose.SeriesInstanceUID = series_instance_uid(plan_id, "rtdose")
    (orthanc_id,) = api.upload(dose)
    output = Output(
        kind=OutputKind.RTDOSE,
        sop_class_uid=RTDoseStorage,
        sop_instance_uid=dose.SOPInstanceUID,
        series_instance_uid=dose.SeriesInstanceUID,
        orthanc_id=orthanc_id,
        sha256="c" * 64,
    )
    assert api.store.attempts.begin(plan_id) is not None
    assert api.store.attempts.succeed(JobResult(plan_id=plan_id, attempt=1, outputs=(output,)))
    return plan_id, orthanc_id


def change(api: Api, plan_id: str, by: str | None) -> None:
    """The structure set has another content now."""
    plan = api.store.plans.get(plan_id)
    with api.store.database.write() as session:
        owner = (plan.patient_id, plan.study_instance_uid)
        supersede(session, plan.rtstruct_sop_instance_uid, owner, api.store.plans.now(), by=by, error=failure())


@pytest.mark.parametrize("by", ["b" * 32, None])
def test_what_is_kept_is_marked_wherever_it_is_seen(
    api: Api, study: PhantomStudy, results: Results, by: str | None
) -> None:
    plan_id, orthanc_id = succeeded(api, study)
    results.supersede(plan_id, remove=False)  # it is not superseded: nothing happens
    assert api.get(f"/plans/{plan_id}").json()["superseded_results"] is None
    change(api, plan_id, by)
    assert api.store.plans.superseded_open() == [plan_id]
    (listed,) = api.get("/plans").json()["items"]
    assert listed["superseded_at"] is not None  # also where the new content was not planned
    results.supersede(plan_id, remove=False)
    assert api.store.plans.superseded_open() == []
    shown = api.get(f"/plans/{plan_id}").json()
    assert (shown["superseded_results"], len(shown["outputs"])) == ("marked", 1)
    series = api.orthanc.get(f"/instances/{orthanc_id}").json()["ParentSeries"]
    for path in (f"/instances/{orthanc_id}", f"/series/{series}"):
        assert api.orthanc.get(f"{path}/metadata/{SUPERSEDED_METADATA}").text == (by or "superseded")
    labels = api.orthanc.get(f"/series/{series}/labels")
    if labels.status_code == 200:  # Orthanc 1.12
        assert labels.json() == ["radiarch-superseded"]
    image = api.orthanc.post("/tools/lookup", content=study.images[0].SOPInstanceUID).json()[0]["ID"]
    assert api.orthanc.get(f"/instances/{image}/metadata/{SUPERSEDED_METADATA}").status_code == 404
    events = [e.data for e in api.store.journal.events_since(plan_id).items if "results" in e.data]
    assert events == [{"results": "marked", "sop_instance_uids": [sop_instance_uid(plan_id, "rtdose")]}]


def test_what_is_removed_is_the_plans_own(api: Api, study: PhantomStudy, results: Results) -> None:
    plan_id, orthanc_id = succeeded(api, study)
    foreign = copy.deepcopy(study.images[0])  # the same SOP Instance UID, in a series of somebody else's
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid(plan_id, "rtdose"))
    foreign.SeriesInstanceUID = generate_uid()
    (foreign_id,) = api.upload(foreign)
    change(api, plan_id, None)
    results.supersede(plan_id, remove=True)
    results.supersede(plan_id, remove=True)
    assert api.orthanc.get(f"/instances/{orthanc_id}").status_code == 404
    assert api.orthanc.get(f"/instances/{foreign_id}").status_code == 200
    assert all(
        api.orthanc.post("/tools/lookup", content=d.SOPInstanceUID).json() for d in study.datasets
    )  # what it was made of stays
    shown = api.get(f"/plans/{plan_id}").json()
    assert (shown["state"], shown["superseded_results"], shown["outputs"]) == ("succeeded", "removed", [])
    events = [e.data for e in api.store.journal.events_since(plan_id).items if "results" in e.data]
    assert [e["results"] for e in events] == ["removed"]
