"""Asking for plans, reading, listing and cancelling them."""

from __future__ import annotations

import copy
import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from pydicom.uid import UID
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import ErrorCode
from radiarch_contract.job import BeamResult, DvhCurve, JobResult, JobSpec, Output, StructureMetrics
from radiarch_contract.states import OutputKind
from radiarch_contract.strict import STORED
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_contract.workflows import WORKFLOWS
from radiarch_plugin.store.tables import PlanDocumentRow
from sqlalchemy import select

from phantoms import PhantomStudy, faults
from tests.plugin.web.conftest import Api

POSSIBLE = WORKFLOWS["proton-impt-basic"].possible_outputs
BASIC = {
    "workflow_id": "proton-impt-basic",
    "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
}


def stored(api: Api, study: PhantomStudy) -> str:
    api.upload(*study.datasets)
    return str(study.rtstruct.SOPInstanceUID)


def asked(api: Api, uid: str, **fields: Any) -> dict[str, Any]:
    response = api.post("/plans", {"rtstruct_sop_instance_uid": uid, **fields})
    assert response.status_code == 201, response.text
    plan: dict[str, Any] = response.json()
    return plan


def refused(api: Api, uid: str, **fields: Any) -> dict[str, Any]:
    response = api.post("/plans", {"rtstruct_sop_instance_uid": uid, **fields})
    assert response.status_code == 422, response.text
    error: dict[str, Any] = response.json()
    assert set(error) == {"code", "message", "remedy", "details"}
    assert api.get("/plans").json()["items"] == []
    return error


def test_a_request_becomes_a_queued_plan_and_wakes_the_loop(api: Api, study: PhantomStudy) -> None:
    uid = stored(api, study)
    response = api.post("/plans", {"rtstruct_sop_instance_uid": uid, **BASIC})
    plan = response.json()
    assert (response.status_code, plan["state"], plan["origin"]) == (201, "queued", "request")
    assert response.headers["location"].endswith(f"/plans/{plan['id']}")
    assert plan["patient_id"] == study.rtstruct.PatientID
    assert plan["study_instance_uid"] == study.rtstruct.StudyInstanceUID
    assert plan["structures"] == [{"name": "PTV", "roi_number": 2, "roi_name": "PTV"}]
    assert plan["parameters"]["spot_spacing_mm"] == 5.0  # the default is written down
    assert [b["gantry_deg"] for b in plan["beams"]] == [0, 180]
    assert plan["outputs"] == []
    # by them a viewer knows an object as this plan's, whether it is listed or not
    assert plan["results"] == {k: sop_instance_uid(plan["id"], k) for k in OutputKind}
    assert api.get("/plans").json()["items"][0]["results"] == plan["results"]
    assert len(api.woken) == 1
    assert api.get(f"/plans/{plan['id']}").json() == plan
    assert api.get(f"/jobs/{plan['job_id']}").json()["plan_id"] == plan["id"]


def test_what_is_given_takes_the_place_of_the_protocols(api: Api, stored_uid: str) -> None:
    plan = asked(
        api,
        stored_uid,
        protocol_id="box",
        prescription={"dose_gy": 50},
        beam_count=3,
        goals=["PTV: D98% >= 90%"],
        parameters={"spot_spacing_mm": 8},
        label="SECOND",
    )
    assert plan["prescription"] == {"target": "PTV", "dose_gy": 50, "fractions": 30}
    assert [b["gantry_deg"] for b in plan["beams"]] == [0, 120, 240]
    assert plan["goals"] == [
        {
            "text": "PTV: D98% ≥ 90%",
            "structure": "PTV",
            "value": None,
            "unit": "%",
            "status": None,
            "note": None,
            "priority": None,
        }
    ]
    assert (plan["parameters"]["seed"], plan["parameters"]["spot_spacing_mm"]) == (7, 8)
    assert (plan["label"], plan["protocol_id"], len(plan["protocol_sha256"])) == ("SECOND", "box", 64)


def test_a_protocols_missing_organs_do_not_stop_a_request(api: Api, stored_uid: str) -> None:
    plan = asked(api, stored_uid, protocol_id="box")
    assert "Bladder" in plan["missing_structures"]


def test_a_target_that_is_named_for_another_dose_is_refused_unless_it_is_named(api: Api, study: PhantomStudy) -> None:
    roi = next(r for r in study.rtstruct.StructureSetROISequence if r.ROIName == "PTV")
    roi.ROIName = "PTV_54"
    uid = stored(api, study)
    error = refused(api, uid, **BASIC)
    assert error["code"] == ErrorCode.AMBIGUOUS_STRUCTURE
    assert "says 54 Gy; 60 Gy are prescribed" in error["message"]
    assert asked(api, uid, **BASIC, structures={"PTV": "PTV_54"})["structures"][0]["roi_name"] == "PTV_54"


def test_images_that_are_not_there_yet_are_waited_for(api: Api, study: PhantomStudy) -> None:
    api.upload(study.rtstruct, study.images[0])
    plan = asked(api, study.rtstruct.SOPInstanceUID, **BASIC)
    assert (plan["state"], plan["missing_instances"]) == ("waiting", len(study.images))
    uids = [i.SOPInstanceUID for i in study.images]
    assert plan["missing_sop_instance_uids"] == uids
    api.store.plans.set_missing({plan["id"]: uids[1:]})  # the trigger has looked
    plan = api.get(f"/plans/{plan['id']}").json()
    assert (plan["missing_instances"], plan["missing_sop_instance_uids"]) == (len(uids) - 1, uids[1:])
    seen = api.get(f"/structure-sets/{study.rtstruct.SOPInstanceUID}").json()
    assert (seen["missing_instances"], seen["missing_sop_instance_uids"]) == (len(uids) - 1, uids[1:])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, ErrorCode.INVALID_REQUEST),
        ({"workflow_id": "nonsense"}, ErrorCode.INVALID_REQUEST),
        ({"protocol_id": "nonsense"}, ErrorCode.UNKNOWN_PROTOCOL),
        ({"workflow_id": "proton-impt-basic"}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "dose": 60}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "prescription": {"target": "PTV", "dose_gy": -1, "fractions": 1}}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "prescription": {"target": "CTV", "dose_gy": 1, "fractions": 1}}, ErrorCode.UNKNOWN_STRUCTURE),
        ({**BASIC, "goals": ["Liver: Dmean <= 1 Gy"]}, ErrorCode.UNKNOWN_STRUCTURE),
        ({**BASIC, "goals": ["PTV: D95"]}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "parameters": {"spot_spacing_mm": 100}}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "parameters": {"nonsense": 1}}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "parameters": {"machine": "../../etc/passwd"}}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 1}]}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "beams": [{"gantry_deg": 360}]}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "beams": [{"gantry_deg": 0}], "beam_count": 2}, ErrorCode.INVALID_REQUEST),
        ({**BASIC, "structures": {"PTV": "no such ROI"}}, ErrorCode.UNKNOWN_STRUCTURE),
        ({**BASIC, "label": "x" * 17}, ErrorCode.INVALID_REQUEST),
        (
            {"protocol_id": "box", "objectives": [{"structure": "Liver", "metric": "DMeanMax", "dose_gy": 1}]},
            ErrorCode.UNKNOWN_STRUCTURE,
        ),
    ],
)
def test_a_wrong_request_is_refused_by_name(api: Api, stored_uid: str, fields: dict[str, Any], code: ErrorCode) -> None:
    assert refused(api, stored_uid, **fields)["code"] == code


RX = {"target": "PTV", "dose_gy": 60, "fractions": 30}
OBJECTIVE = {"structure": "PTV", "metric": "DMin", "dose_gy": 60}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prescription": RX | {"fractions": True}}, "prescription.fractions"),
        ({"prescription": RX | {"fractions": "30"}}, "prescription.fractions"),
        ({"prescription": RX | {"fractions": 30.0}}, "prescription.fractions"),
        ({"prescription": RX | {"dose_gy": "60"}}, "prescription.dose_gy"),
        ({"prescription": RX | {"dose_gy": True}}, "prescription.dose_gy"),
        ({"prescription": RX | {"target": "PTV\0"}}, "prescription.target"),
        ({"prescription": RX | {"more": [{"target": "OAR", "dose_gy": "9"}]}}, "prescription.more.0.dose_gy"),
        ({"beams": [{"gantry_deg": "90"}]}, "beams.0.gantry_deg"),
        ({"beam_count": True}, "beam_count"),
        ({"parameters": {"seed": True}}, "seed"),
        ({"parameters": {"spot_spacing_mm": "6"}}, "spot_spacing_mm"),
        ({"parameters": {"let": "no"}}, "let"),
        ({"parameters": {"overrides": [{"structure": "PTV\0", "hu": 1}]}}, "parameters.overrides.0.structure"),
        ({"goals": ["PTV\0: D95% >= 95%"]}, "goals.0"),
        ({"goals": [{"goal": "PTV: D95% >= 95%", "priority": "1"}]}, "goals.0"),
        ({"derived": {"A\0": "PTV grown 2 mm"}}, "derived"),
        ({"structures": {"PTV": True}}, "structures.PTV"),
        ({"structures": {"PTV": 2.0}}, "structures.PTV"),
        ({"label": 5}, "label"),
        ({"objectives": [OBJECTIVE | {"weight": "1"}], "workflow_id": "proton-impt-optimized"}, "objectives.0.weight"),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(api: Api, stored_uid: str, fields: dict[str, Any], field: str) -> None:
    error = refused(api, stored_uid, **{**BASIC, **fields})
    assert error["code"] == "invalid_request"
    assert any(x["field"].startswith(field) for x in error["details"]["errors"]), error


def test_numbers_that_are_none_are_refused_in_any_spelling(api: Api, stored_uid: str) -> None:
    for text in ("NaN", "Infinity", "1e999", "true", '"60"', "[60]", "6_0"):
        body = json.dumps({"rtstruct_sop_instance_uid": stored_uid, **BASIC}).replace(
            '"dose_gy": 60', f'"dose_gy": {text}'
        )
        answer = api.http.post("/radiarch/api/v1/plans", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), text


@pytest.mark.parametrize(
    "body",
    [
        {"prescription": {"dose_gy": "50"}},
        {"prescription": {"fractions": True}},
        {"parameters": {"seed": True}},
        {"parameters": {"beams": [{"gantry_deg": True}]}},
        {"goals": ["PTV\0: D95% >= 95%"]},
        {"objectives": [OBJECTIVE | {"dose_gy": "9"}]},
        {"label": "A\0"},
    ],
)
def test_neither_is_it_when_a_plan_is_optimised_again(api: Api, stored_uid: str, body: dict[str, Any]) -> None:
    plan = asked(api, stored_uid, protocol_id="box")
    answer = api.post(f"/plans/{plan['id']}/reoptimize", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_plan_that_was_stored_with_an_odd_name_is_still_shown(api: Api, stored_uid: str) -> None:
    plan = asked(api, stored_uid, protocol_id="box")
    with api.store.database.write() as session:
        (document,) = session.scalars(select(PlanDocumentRow)).all()
        document.prescription = document.prescription.replace("PTV", "PTV\\u0000")
        document.parameters = document.parameters.replace("PTV", "PTV\\u0000")
    shown = api.get(f"/plans/{plan['id']}")
    assert (shown.status_code, shown.json()["prescription"]["target"]) == (200, "PTV\0")
    assert shown.json()["objectives"][0]["structure"] == "PTV\0"
    assert len(api.get("/plans").json()["items"]) == 1
    spec = api.store.attempts.begin(plan["id"])
    assert spec is not None
    assert JobSpec.model_validate(spec.model_dump(mode="json"), context=STORED) == spec


def test_an_unknown_structure_is_answered_with_those_that_exist(api: Api, study: PhantomStudy) -> None:
    prescription = {"target": "CTV", "dose_gy": 60, "fractions": 30}
    error = refused(api, stored(api, study), workflow_id="proton-impt-basic", prescription=prescription)
    assert error["details"]["structures"] == list(study.shapes)
    assert "'PTV'" in error["message"]


def test_an_roi_can_be_named_for_a_protocols_target(api: Api, study: PhantomStudy) -> None:
    study.rtstruct.StructureSetROISequence[1].ROIName = "ziel 2"
    uid = stored(api, study)
    assert refused(api, uid, protocol_id="box")["code"] == "unknown_structure"
    plan = asked(api, uid, protocol_id="box", structures={"PTV": "ziel 2"})
    assert {"name": "PTV", "roi_number": 2, "roi_name": "ziel 2"} in plan["structures"]


def test_two_rois_of_one_name_are_told_apart_by_their_numbers(api: Api, study: PhantomStudy) -> None:
    twins = faults.copied_roi(study, "PTV", "PTV")
    uid = stored(api, twins)
    for fields in (BASIC, {"protocol_id": "box"}, {**BASIC, "structures": {"PTV": "PTV"}}):
        error = refused(api, uid, **fields)
        assert error["code"] == "ambiguous_structure"
        assert "'PTV' (ROI 2), 'PTV' (ROI 4)" in error["message"]
    assert refused(api, uid, **BASIC, structures={"PTV": 9})["code"] == "unknown_structure"
    plan = asked(api, uid, **BASIC, structures={"PTV": 4})
    assert plan["structures"] == [{"name": "PTV", "roi_number": 4, "roi_name": "PTV"}]
    child = api.post(f"/plans/{plan['id']}/reoptimize", {"prescription": {"dose_gy": 50}})
    assert child.status_code == 201, child.text  # the choice was made
    assert child.json()["structures"] == plan["structures"]


def test_a_preview_says_what_is_ambiguous(api: Api, study: PhantomStudy) -> None:
    uid = stored(api, faults.copied_roi(study, "PTV", "PTV"))
    assert api.get(f"/structure-sets/{uid}").json()["repeated_names"] == {"PTV": [2, 4]}
    found = api.get(f"/structure-sets/{uid}/matches").json()
    assert found["chosen"] is None
    box = next(p for p in found["protocols"] if p["protocol_id"] == "box")
    assert (box["fits"], box["code"]) == (False, "ambiguous_structure")
    assert "'PTV' (ROI 2), 'PTV' (ROI 4)" in box["reason"]


def test_an_outline_that_two_rois_could_be_is_refused(api: Api, study: PhantomStudy) -> None:
    uid = stored(api, faults.renamed(faults.copied_roi(study, "BODY", "Skin"), {"BODY": "External"}))
    assert refused(api, uid, **BASIC)["code"] == "ambiguous_structure"
    plan = asked(api, uid, **BASIC, structures={"BODY": "External"})
    assert {"name": "BODY", "roi_number": 1, "roi_name": "External"} in plan["structures"]


def test_helper_contours_are_not_taken_for_the_target(api: Api, study: PhantomStudy) -> None:
    helped = faults.renamed(faults.copied_roi(study, "PTV", "_PTV"), {"PTV": "ptv"})
    plan = asked(api, stored(api, helped), protocol_id="box")
    assert {"name": "PTV", "roi_number": 2, "roi_name": "ptv"} in plan["structures"]


def test_an_rtstruct_that_is_not_stored_is_named(api: Api) -> None:
    error = refused(api, "1.2.3.4", **BASIC)
    assert (error["code"], error["details"]["sop_instance_uid"]) == ("not_found", "1.2.3.4")


def test_an_rtstruct_that_is_stored_for_two_patients_is_refused(api: Api, study: PhantomStudy) -> None:
    uid = stored(api, study)
    study.rtstruct.PatientID = "SOMEBODY ELSE"
    api.upload(study.rtstruct)
    response = api.post("/plans", {"rtstruct_sop_instance_uid": uid, **BASIC})
    assert (response.status_code, response.json()["code"]) == (409, "ambiguous_instances")
    assert len(response.json()["details"]["orthanc_ids"]) == 2
    assert "2 patients" in response.json()["message"]
    assert "SOMEBODY" not in response.text


def test_another_object_than_an_rtstruct_is_refused(api: Api, study: PhantomStudy) -> None:
    stored(api, study)
    assert refused(api, study.images[0].SOPInstanceUID, **BASIC)["code"] == "unreadable_rtstruct"


def test_a_structure_set_on_mr_is_refused(api: Api, study: PhantomStudy) -> None:
    frame = study.rtstruct.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    for item in series.ContourImageSequence:
        item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    assert refused(api, stored(api, study), **BASIC)["code"] == "not_ct"


def test_an_idempotency_key_makes_one_plan(api: Api, stored_uid: str) -> None:
    body = {"rtstruct_sop_instance_uid": stored_uid, **BASIC}
    first = api.post("/plans", body, key="k1")
    again = api.post("/plans", body, key="k1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = api.post("/plans", {**body, "label": "OTHER"}, key="k1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")
    assert len(api.get("/plans").json()["items"]) == 1
    assert api.post("/plans", body, key="k2").json()["id"] != first.json()["id"]


def test_a_repeat_is_answered_even_when_the_rtstruct_is_gone(api: Api, study: PhantomStudy) -> None:
    *_, orthanc_id = api.upload(*study.datasets)
    body = {"rtstruct_sop_instance_uid": study.rtstruct.SOPInstanceUID, **BASIC}
    first = api.post("/plans", body, key="k")
    api.orthanc.delete(f"/instances/{orthanc_id}").raise_for_status()
    assert api.post("/plans", body, key="k").json()["id"] == first.json()["id"]


def test_cancelling_twice_is_harmless_and_an_end_is_final(api: Api, stored_uid: str) -> None:
    plan = asked(api, stored_uid, **BASIC)
    for _ in range(2):
        response = api.delete(f"/plans/{plan['id']}")
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    types = [(e["type"], e["data"].get("state")) for e in api.get(f"/jobs/{plan['id']}/events").json()["items"]]
    assert types == [("state", "queued"), ("state", "cancelled")]


def finished(api: Api, plan_id: str, orthanc_id: str = "0" * 8 + "-00000000" * 4) -> None:
    """End a plan as a worker's result would."""
    spec = api.store.attempts.begin(plan_id)
    assert spec is not None
    curve = DvhCurve(structure="=PTV", roi_number=2, volume_cc=1.0, dose_gy=(0.0, 1.0), volume_percent=(100.0, 0.0))
    result = JobResult(
        plan_id=plan_id,
        attempt=spec.attempt,
        outputs=tuple(
            Output(
                kind=kind,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.481.2",
                sop_instance_uid=sop_instance_uid(plan_id, kind.value),
                series_instance_uid=series_instance_uid(plan_id, kind.value),
                orthanc_id=orthanc_id,
                sha256="a" * 64,
            )
            for kind in POSSIBLE
        ),
        dvh=(curve,),
        metrics=(
            StructureMetrics(
                structure="PTV",
                roi_number=2,
                volume_cc=1,
                d_mean_gy=1,
                d_min_gy=1,
                d_max_gy=1,
                d98_gy=1,
                d95_gy=1,
                d50_gy=1,
                d2_gy=1,
            ),
        ),
        beams=(
            BeamResult(
                number=1,
                name="B1",
                gantry_deg=0,
                couch_deg=0,
                isocenter_mm=(0, 0, 0),
                layers=1,
                spots=1,
                energy_min_mev=100,
                energy_max_mev=101,
                meterset_mu=5,
            ),
        ),
        uncertainty_percent=1.5,
    )
    assert api.store.attempts.succeed(result)


def test_a_plan_that_succeeded_tells_everything(api: Api, stored_uid: str) -> None:
    plan_id = asked(api, stored_uid, **BASIC)["id"]
    assert api.get(f"/plans/{plan_id}/dvh").status_code == 409
    finished(api, plan_id)
    plan = api.get(f"/plans/{plan_id}").json()
    assert (plan["state"], plan["uncertainty_percent"], plan["beams"][0]["meterset_mu"]) == ("succeeded", 1.5, 5.0)
    assert {o["kind"]: o["sop_instance_uid"] for o in plan["outputs"]} == {
        k.value: sop_instance_uid(plan_id, k.value) for k in POSSIBLE
    }
    curves = api.get(f"/plans/{plan_id}/dvh").json()["curves"]
    assert (curves[0]["dose_gy"], curves[0]["volume_percent"]) == ([0, 1], [100, 0])
    assert api.delete(f"/plans/{plan_id}").status_code == 409


def test_a_dvh_as_csv_has_a_row_for_each_point_and_no_formula(api: Api, stored_uid: str) -> None:
    plan_id = asked(api, stored_uid, **BASIC)["id"]
    finished(api, plan_id)
    by_query = api.get(f"/plans/{plan_id}/dvh", format="csv")
    by_header = api.http.get(f"/radiarch/api/v1/plans/{plan_id}/dvh", headers={"Accept": "text/csv"})
    assert by_query.text == by_header.text
    assert by_query.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(by_query.text)))
    assert [(r["structure"], r["dose_gy"], r["volume_percent"]) for r in rows] == [
        ("'=PTV", "0.0", "100.0"),
        ("'=PTV", "1.0", "0.0"),
    ]


def test_an_output_is_given_out_and_nothing_else_of_orthanc(api: Api, study: PhantomStudy) -> None:
    rtstruct_uid = stored(api, study)
    plan_id = asked(api, rtstruct_uid, **BASIC)["id"]
    uid = sop_instance_uid(plan_id, "rtdose")
    assert api.get(f"/artifacts/{uid}").status_code == 404  # not stored yet
    dose = copy.deepcopy(study.images[0])
    dose.SOPInstanceUID = UID(uid)
    dose.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    (orthanc_id,) = api.upload(dose)
    finished(api, plan_id, orthanc_id)
    response = api.get(f"/artifacts/{uid}")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/dicom")
    assert response.content[128:132] == b"DICM"
    for other in (rtstruct_uid, study.images[0].SOPInstanceUID, "1.2.3", "../system", orthanc_id):
        assert api.get(f"/artifacts/{other}").status_code == 404


def test_pages_give_every_plan_once(api: Api, stored_uid: str) -> None:
    uid = stored_uid
    made = [asked(api, uid, **BASIC)["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get("/plans", limit=2, **({"cursor": cursor} if cursor else {})).json()
        seen += [p["id"] for p in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_filters_hold_together(api: Api, stored_uid: str) -> None:
    uid = stored_uid
    basic, cancelled = asked(api, uid, **BASIC)["id"], asked(api, uid, protocol_id="box")["id"]
    api.delete(f"/plans/{cancelled}")

    def ids(**query: str) -> list[str]:
        response = api.get("/plans", **query)
        assert response.status_code == 200, response.text
        return [p["id"] for p in response.json()["items"]]

    assert ids(state="queued,cancelled", sort="created_at") == [basic, cancelled]
    assert ids(state="cancelled") == [cancelled]
    assert ids(protocol="box", state="queued") == []
    assert ids(rtstruct_uid=uid, workflow="proton-impt-basic") == [basic]
    assert ids(patient_id="nobody") == []
    assert ids(created_after="2000-01-01T00:00:00Z", created_before="2001-01-01") == []
    today = datetime.now(UTC).date()
    assert sorted(ids(created_from=str(today - timedelta(days=1)), created_to=str(today))) == sorted([basic, cancelled])
    assert ids(created_to=str(today - timedelta(days=1))) == []
    made = api.get(f"/plans/{cancelled}").json()["created_at"]
    assert ids(created_from=made) == ids(created_to=made, state="cancelled") == [cancelled]
    assert sorted(ids(q=uid)) == sorted([basic, cancelled])


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "x"},
        {"cursor": "x"},
        {"cursor": "W10"},
        {"cursor": "é"},
        {"state": "asleep"},
        {"sort": "dose"},
        {"created_after": "yesterday"},
        {"created_after": "0001-01-01T00:00:00+14:00"},
        {"created_from": "30.11.2026"},
        {"created_from": "2026-02-30"},
        {"created_to": "9999-12-31"},
        {"created_to": "12"},
        {"created_from": "2026-01-02", "created_to": "2026-01-01"},
        {"paitent_id": "typing error"},
    ],
)
def test_a_wrong_query_is_refused_not_ignored(api: Api, query: dict[str, str]) -> None:
    for path in ("/plans", "/jobs"):
        response = api.get(path, **query)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), response.text


def test_a_cursor_of_another_order_is_refused(api: Api, stored_uid: str) -> None:
    uid = stored_uid
    for _ in range(2):
        asked(api, uid, **BASIC)
    cursor = api.get("/plans", limit=1).json()["next"]
    assert api.get("/plans", limit=1, cursor=cursor, sort="patient_id").status_code == 422


def test_what_is_answered_can_be_asked_again(api: Api, stored_uid: str) -> None:
    """The recorded request, sent again, makes a plan of the same content."""
    first = asked(api, stored_uid, protocol_id="box", beam_count=3, goals=["PTV: D95% >= 90%"])
    again = api.post("/plans", json.loads(json.dumps(first["request"]))).json()
    for name in ("parameters", "prescription", "goals", "structures", "workflow_id", "protocol_id"):
        assert again[name] == first[name]


def test_a_wrong_date_is_told_with_what_is_expected(api: Api) -> None:
    for path in ("/plans", "/jobs", "/arrivals"):
        told = api.get(path, created_from="30.11.2026").json()
        assert told["message"].startswith("the request is wrong: created_from: expected a date such as 2026-11-30")


def test_a_plus_sign_that_nobody_encoded_is_a_zone(api: Api, stored_uid: str) -> None:
    made = asked(api, stored_uid, **BASIC)
    zoned = datetime.fromisoformat(made["created_at"]).astimezone(timezone(timedelta(hours=2))).isoformat()
    assert "+02:00" in zoned
    found = api.http.get(f"{API_PREFIX}/plans?created_from={zoned}").json()["items"]
    assert [p["id"] for p in found] == [made["id"]]


def test_ids_may_be_shortened_where_they_are_one_plans_only(
    api: Api, stored_uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["abcdef12" + c * 24 for c in "01"]
    for made in ids:
        monkeypatch.setattr("radiarch_plugin.store.plans.uuid.uuid4", lambda made=made: UUID(made))
        asked(api, stored_uid, **BASIC)
    for path in ("/plans/{}", "/jobs/{}", "/jobs/{}/log", "/jobs/{}/events", "/plans/{}/trace"):
        assert api.get(path.format("abcdef120")).status_code == 200
        told = api.get(path.format("abcdef12"))
        assert (told.status_code, told.json()["details"]) == (409, {"candidates": ids})
        for wrong in ("abcdef1", "abcdef11", "ABCDEF120", "abcdef120x"):
            assert api.get(path.format(wrong)).status_code == 404
    assert api.get("/plans/abcdef121").json()["id"] == ids[1]
    assert api.get("/plans/abcdef120/dvh").json()["message"] == f"plan {ids[0]} has no DVH: its state is queued"
    assert ids[0] in api.get("/compare", plans="abcdef120,abcdef121").json()["message"]
    assert api.delete("/plans/abcdef120").json()["state"] == "cancelled"
    assert api.get("/plans", parent_id="abcdef120").json()["items"] == []
    assert api.get("/plans", parent_id="abcdef12").status_code == 409


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"workflow_id": "proton-impt-baisc"}, "proton-impt-basic"),
        ({"protocol_id": "boxx"}, "box"),
        ({**BASIC, "beam_cuont": 2}, "beam_count"),
        ({**BASIC, "prescription": {"target": "PTV", "dose": 60, "fractions": 30}}, "dose_gy"),
        ({**BASIC, "parameters": {"beam_count": 2, "seeed": 1}}, "seed"),
        ({**BASIC, "prescription": {"target": "OARR", "dose_gy": 60, "fractions": 30}}, "OAR"),
    ],
)
def test_a_mistyped_name_is_answered_with_what_may_be_meant(
    api: Api, stored_uid: str, fields: dict[str, Any], meant: str
) -> None:
    assert f"did you mean '{meant}'" in refused(api, stored_uid, **fields)["message"]


def test_a_mistyped_filter_is_answered_with_what_may_be_meant(api: Api) -> None:
    assert "paitent_id: there is no such field; did you mean 'patient_id'" in api.get("/plans", paitent_id="1").text
    assert "did you mean 'evaluation'" in api.get("/workflows/evalaution").json()["message"]
    assert "did you mean 'box'" in api.get("/protocols/boxx").json()["message"]


def test_queue_and_patient_are_in_answers(api: Api, study: PhantomStudy) -> None:
    study.rtstruct.SpecificCharacterSet = "ISO_IR 192"
    study.rtstruct.PatientName = "Müller^Änne"
    api.upload(*study.datasets)
    uid = str(study.rtstruct.SOPInstanceUID)
    batch = asked(api, uid, **BASIC, priority="batch")
    first = asked(api, uid, **BASIC)
    assert (batch["priority"], batch["queue_position"], first["priority"]) == ("batch", 1, "interactive")
    assert first["patient_name"] == "Müller^Änne"
    listed = {p["id"]: (p["queue_position"], p["patient_name"]) for p in api.get("/plans", q="änne").json()["items"]}
    assert listed == {batch["id"]: (2, "Müller^Änne"), first["id"]: (1, "Müller^Änne")}
    job = api.get(f"/jobs/{batch['id']}").json()
    assert (job["priority"], job["queue_position"]) == ("batch", 2)
    assert api.delete(f"/plans/{batch['id']}").json()["queue_position"] is None
    assert api.get(f"/structure-sets/{uid}").json()["patient_name"] == "Müller^Änne"
    assert api.post("/plans", {"rtstruct_sop_instance_uid": uid, **BASIC, "priority": "soon"}).status_code == 422
