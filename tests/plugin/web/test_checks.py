"""Asking for stored doses to be judged and stored plans to be computed anew."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, RTIonPlanStorage, RTPlanStorage, generate_uid
from radiarch_contract.errors import ErrorCode
from radiarch_contract.job import JobResult, MachineScale
from radiarch_contract.verdict import Criterion, Outcome, Verdict

from phantoms import PhantomStudy, box, faults, file_bytes
from phantoms.rtdose import rtdose
from tests.plugin.web.conftest import Api

PRESCRIPTION = {"target": "PTV", "dose_gy": 60, "fractions": 30}


@dataclasses.dataclass
class Stored:
    """A study with a plan and two doses of another system, in Orthanc."""

    study: PhantomStudy
    plan: Dataset
    dose: Dataset
    other: Dataset

    @property
    def rtstruct_uid(self) -> str:
        return str(self.study.rtstruct.SOPInstanceUID)


def dose_of(study: PhantomStudy, plan: Dataset | None, **changes: Any) -> Dataset:
    values = np.linspace(0, 60, 3 * 6 * 6, dtype=np.float32).reshape(3, 6, 6)
    uid = None if plan is None else str(plan.SOPInstanceUID)
    return rtdose(study, values, origin_mm=(-10, -10, -4), spacing_mm=(4, 4, 4), rtplan_uid=uid, **changes)


def plan_of(study: PhantomStudy, sop_class: UID = RTIonPlanStorage) -> Dataset:
    """What the plugin reads of a plan; the worker is not here."""
    plan = dose_of(study, None)
    for keyword in ("PixelData", "ReferencedRTPlanSequence", "DoseUnits", "GridFrameOffsetVector"):
        delattr(plan, keyword)
    plan.SOPClassUID = plan.file_meta.MediaStorageSOPClassUID = sop_class
    plan.Modality, plan.RTPlanLabel = "RTPLAN", "OTHER"
    return plan


@pytest.fixture(scope="module")
def datasets() -> Stored:
    study = box(shape=(3, 12, 12))
    plan = plan_of(study)
    return Stored(study, plan, dose_of(study, plan), dose_of(study, None))


@pytest.fixture
def stored(api: Api, datasets: Stored) -> Stored:
    api.upload(*datasets.study.datasets, datasets.plan, datasets.dose, datasets.other)
    return datasets


def refused(api: Api, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(path, body)
    assert answer.status_code == 422, answer.text
    assert api.get("/plans").json()["items"] == []
    error: dict[str, Any] = answer.json()
    return error


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/evaluations", {"prescription": PRESCRIPTION | {"fractions": True}}),
        ("/evaluations", {"gamma": {"dose_percent": "3"}}),
        ("/evaluations", {"goals": ["PTV\0: Dmean >= 10 Gy"]}),
        ("/recalculations", {"prescription": PRESCRIPTION | {"dose_gy": "60"}}),
        ("/recalculations", {"parameters": {"meterset_scale": True}}),
        ("/recalculations", {"parameters": {"gamma": {"distance_mm": "3"}}}),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(api: Api, stored: Stored, path: str, fields: dict[str, Any]) -> None:
    name, thing = ("rtdose", stored.dose) if path == "/evaluations" else ("rtplan", stored.plan)
    error = refused(api, path, {f"{name}_sop_instance_uid": thing.SOPInstanceUID, **fields})
    assert error["code"] == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("path", ["/evaluations", "/recalculations"])
def test_an_ambiguous_structure_is_refused(api: Api, datasets: Stored, path: str) -> None:
    twins = faults.copied_roi(datasets.study, "PTV", "PTV").rtstruct
    twins.SOPInstanceUID = twins.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    api.upload(*datasets.study.images, twins, datasets.plan, datasets.dose)
    asked = {"rtstruct_sop_instance_uid": twins.SOPInstanceUID, "goals": ["PTV: Dmean >= 10 Gy"]}
    if path == "/evaluations":
        asked |= {"rtdose_sop_instance_uid": datasets.dose.SOPInstanceUID}
    else:
        asked |= {"rtplan_sop_instance_uid": datasets.plan.SOPInstanceUID}
    error = refused(api, path, asked)
    assert error["code"] == ErrorCode.AMBIGUOUS_STRUCTURE
    assert "'PTV' (ROI 2), 'PTV' (ROI 4)" in error["message"]
    assert api.post(path, asked | {"structures": {"PTV": 4}}).json()["structures"][0]["roi_number"] == 4


def test_a_dose_is_judged_with_the_structure_set_that_it_names(api: Api, stored: Stored) -> None:
    uid = str(stored.dose.SOPInstanceUID)
    answer = api.post("/evaluations", {"rtdose_sop_instance_uid": uid, "goals": ["PTV: Dmean >= 10 Gy"]}, key="k")
    plan = answer.json()
    assert (answer.status_code, plan["state"], plan["workflow_id"]) == (201, "queued", "evaluation")
    assert (plan["prescription"], plan["rtstruct_sop_instance_uid"]) == (None, stored.rtstruct_uid)
    assert [(i["kind"], i["sop_instance_uid"]) for i in plan["inputs"]] == [("rtdose", uid)]
    assert plan["inputs"][0]["sha256"]
    assert plan["parameters"]["gamma"]["normalization"] == "global"
    assert api.get(f"/evaluations/{plan['id']}").json() == plan
    assert api.get(f"/recalculations/{plan['id']}").status_code == 404
    again = api.post("/evaluations", {"rtdose_sop_instance_uid": uid, "goals": ["PTV: Dmean >= 10 Gy"]}, key="k")
    assert (again.status_code, again.json()["id"]) == (200, plan["id"])
    spec = api.store.attempts.begin(plan["id"])
    assert spec is not None
    assert (spec.prescription, spec.inputs[0].sop_instance_uid) == (None, uid)


def test_a_reference_is_an_input_too(api: Api, stored: Stored) -> None:
    body = {
        "rtdose_sop_instance_uid": str(stored.dose.SOPInstanceUID),
        "reference_rtdose_sop_instance_uid": str(stored.other.SOPInstanceUID),
        "rtstruct_sop_instance_uid": stored.rtstruct_uid,
        "gamma": {"dose_percent": 2, "distance_mm": 2},
        "prescription": PRESCRIPTION,
        "goals": ["PTV: D95% >= 95%"],
    }
    plan = api.post("/evaluations", body).json()
    assert [i["kind"] for i in plan["inputs"]] == ["rtdose", "reference_rtdose"]
    assert plan["parameters"]["gamma"]["dose_percent"] == 2
    assert plan["prescription"]["dose_gy"] == 60


def test_an_added_dose_is_an_input_too(api: Api, stored: Stored) -> None:
    uid, other = str(stored.dose.SOPInstanceUID), str(stored.other.SOPInstanceUID)
    body = {"rtdose_sop_instance_uid": uid, "rtstruct_sop_instance_uid": stored.rtstruct_uid}
    assert "double" in refused(api, "/evaluations", {**body, "added_rtdose_sop_instance_uid": uid})["message"]
    both = {"added_rtdose_sop_instance_uid": other, "reference_rtdose_sop_instance_uid": other}
    assert "not compared" in refused(api, "/evaluations", {**body, **both})["message"]
    plan = api.post("/evaluations", {**body, "added_rtdose_sop_instance_uid": other}).json()
    assert [(i["kind"], i["sop_instance_uid"]) for i in plan["inputs"]] == [("rtdose", uid), ("added_rtdose", other)]


def test_a_plan_is_recalculated_beside_the_dose_that_names_it(api: Api, stored: Stored) -> None:
    uid = str(stored.plan.SOPInstanceUID)
    plan = api.post("/recalculations", {"rtplan_sop_instance_uid": uid}).json()
    assert [(i["kind"], i["sop_instance_uid"]) for i in plan["inputs"]] == [
        ("rtplan", uid),
        ("reference_rtdose", str(stored.dose.SOPInstanceUID)),
    ]
    assert plan["parameters"]["machine"] == "BDL_default_UN_RangeShifter"
    assert api.get(f"/recalculations/{plan['id']}").json()["id"] == plan["id"]
    # neither is a plan that could be optimised
    assert api.post(f"/plans/{plan['id']}/reoptimize", {}).status_code == 409


def test_what_does_not_plan_is_not_asked_for_as_a_plan(api: Api, stored: Stored) -> None:
    body = {"rtstruct_sop_instance_uid": stored.rtstruct_uid, "workflow_id": "evaluation", "prescription": PRESCRIPTION}
    assert "/evaluations" in refused(api, "/plans", body)["message"]


def test_a_goal_in_percent_needs_a_prescription(api: Api, stored: Stored) -> None:
    body = {"rtdose_sop_instance_uid": str(stored.dose.SOPInstanceUID)}
    for goal in ("PTV: D95% >= 95%", "PTV: V95% >= 90%", "PTV: CI >= 0.8"):
        assert refused(api, "/evaluations", {**body, "goals": [goal]})["code"] == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/evaluations", {}, ErrorCode.INVALID_REQUEST),
        ("/evaluations", {"rtdose_sop_instance_uid": "1.2.3"}, ErrorCode.NOT_FOUND),
        ("/evaluations", {"rtdose_sop_instance_uid": "../x"}, ErrorCode.INVALID_REQUEST),
        ("/evaluations", {"rtdose_sop_instance_uid": "PLAN"}, ErrorCode.UNREADABLE_RTDOSE),
        ("/evaluations", {"rtdose_sop_instance_uid": "DOSE", "gamma": {"dose_percent": 0}}, ErrorCode.INVALID_REQUEST),
        ("/evaluations", {"rtdose_sop_instance_uid": "DOSE", "goals": ["Liver: Dmean <= 1 Gy"]}, "unknown_structure"),
        ("/recalculations", {"rtplan_sop_instance_uid": "DOSE"}, ErrorCode.UNREADABLE_RTPLAN),
        ("/recalculations", {"rtplan_sop_instance_uid": "PLAN", "parameters": {"x": 1}}, ErrorCode.INVALID_REQUEST),
        ("/recalculations", {"rtplan_sop_instance_uid": "PLAN", "rtdose_sop_instance_uid": "1.2"}, ErrorCode.NOT_FOUND),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_by_name(
    api: Api, stored: Stored, path: str, body: dict[str, Any], code: ErrorCode | str
) -> None:
    names = {"PLAN": str(stored.plan.SOPInstanceUID), "DOSE": str(stored.dose.SOPInstanceUID)}
    asked = {k: names.get(v, v) if isinstance(v, str) else v for k, v in body.items()}
    assert refused(api, path, asked)["code"] == code


def test_photon_plans_are_recalculated_as_well(api: Api, stored: Stored) -> None:
    photons = plan_of(stored.study, RTPlanStorage)
    api.upload(photons)
    asked = {"rtplan_sop_instance_uid": str(photons.SOPInstanceUID), "parameters": {"linac": "ours"}}
    assert api.post("/recalculations", asked).json()["workflow_id"] == "recalculation"


def test_what_does_not_belong_together_is_refused(api: Api, stored: Stored) -> None:
    elsewhere = dose_of(stored.study, None, FrameOfReferenceUID=generate_uid())
    stranger = dose_of(stored.study, None, PatientID="SOMEBODY-ELSE")
    api.upload(elsewhere, stranger)
    for dose, code in ((elsewhere, ErrorCode.FRAME_OF_REFERENCE_MISMATCH), (stranger, ErrorCode.PATIENT_MISMATCH)):
        uid = str(dose.SOPInstanceUID)
        body = {"rtdose_sop_instance_uid": uid, "rtstruct_sop_instance_uid": stored.rtstruct_uid}
        assert refused(api, "/evaluations", body)["code"] == code
        body = {"rtdose_sop_instance_uid": str(stored.dose.SOPInstanceUID), "reference_rtdose_sop_instance_uid": uid}
        assert refused(api, "/evaluations", body)["code"] == code


def test_a_dose_without_a_structure_set_asks_for_one(api: Api, stored: Stored) -> None:
    alone = dose_of(stored.study, None, ReferencedStructureSetSequence=None)
    api.upload(alone)
    body = {"rtdose_sop_instance_uid": str(alone.SOPInstanceUID)}
    assert refused(api, "/evaluations", body)["code"] == ErrorCode.NO_IMAGE_REFERENCE
    through_plan = dose_of(stored.study, stored.plan, ReferencedStructureSetSequence=None)
    api.upload(through_plan)
    found = api.post("/evaluations", {"rtdose_sop_instance_uid": str(through_plan.SOPInstanceUID)}).json()
    assert found["rtstruct_sop_instance_uid"] == stored.rtstruct_uid


def test_the_phantom_reads_back(stored: Stored) -> None:
    assert pydicom.dcmread(BytesIO(file_bytes(stored.dose))).pixel_array.shape == (3, 6, 6)


def verdict() -> Verdict:
    return Verdict.of(
        [Criterion(id="scale", title="Scale of the meterset", value=11.0, unit="%", result=Outcome.LOOK, note="new")],
        ["A reservation."],
    )


def test_a_checks_verdict_is_in_lists_and_answers(api: Api, stored: Stored) -> None:
    plan = api.post("/recalculations", {"rtplan_sop_instance_uid": str(stored.plan.SOPInstanceUID)}).json()
    assert (plan["outcome"], plan["verdict"]) == (None, None)
    api.store.attempts.begin(plan["id"])
    scale = MachineScale(machine="GTR2 | |", machine_sha256="a", calibration_sha256="b", scale=0.89)
    ended = JobResult(
        plan_id=plan["id"], attempt=1, verdict=verdict(), machine_scale=scale, dose_quantity="RBE_WEIGHTED"
    )
    assert api.store.attempts.succeed(ended)
    found = api.get(f"/plans/{plan['id']}").json()
    assert (found["outcome"], found["verdict"]["result"], found["dose_quantity"]) == ("look", "look", "RBE_WEIGHTED")
    assert found["verdict"]["reasons"] == ["Scale of the meterset: 11 %; new"]
    assert api.get("/plans").json()["items"][0]["outcome"] == "look"
    (entry,) = api.get("/machine-scales", machine="GTR2 | |").json()["items"]
    assert (entry["scale"], entry["plan_id"], entry["confirmed_at"]) == (0.89, plan["id"], None)
    assert api.get("/machine-scales", machine="another").json()["items"] == []
    confirmed = api.post(f"/machine-scales/{entry['id']}/confirmation", {})
    assert (confirmed.status_code, confirmed.json()["confirmed_at"] is not None) == (200, True)
    assert api.delete(f"/machine-scales/{entry['id']}").json()["id"] == entry["id"]
    assert api.get("/machine-scales").json() == {"items": [], "next": None}
    for path in (f"/machine-scales/{entry['id']}", "/machine-scales/x"):
        assert api.delete(path).status_code == 404


def test_levels_and_rbe_of_an_evaluation_reach_its_job(api: Api, stored: Stored) -> None:
    body = {
        "rtdose_sop_instance_uid": str(stored.dose.SOPInstanceUID),
        "levels": {"mean_percent": {"look": 1, "fail": 2}},
        "rbe": 1.1,
    }
    parameters = api.post("/evaluations", body).json()["parameters"]
    assert parameters["rbe"] == 1.1
    assert parameters["levels"]["mean_percent"] == {"look": 1.0, "fail": 2.0}
    assert parameters["levels"]["gamma_percent"] == {"look": 95.0, "fail": 90.0}
    for wrong in ({"mean_percent": {"look": 3, "fail": 2}}, {"gamma_percent": {"look": 90, "fail": 95}}, {"x": 1}):
        assert api.post("/evaluations", {**body, "levels": wrong}).status_code == 422
    assert api.post("/evaluations", {**body, "rbe": 0.5}).status_code == 422
