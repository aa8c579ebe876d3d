"""Plans side by side."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import DoseDescription, DvhCurve, JobResult, StructureMetrics
from radiarch_contract.states import GoalStatus

from phantoms import box
from tests.plugin.web.conftest import Api

METRICS = ("d_mean_gy", "d_min_gy", "d_max_gy", "d98_gy", "d95_gy", "d50_gy", "d2_gy")


def succeeded(
    api: Api, uid: str, doses: dict[str, float], *, dose_gy: float = 60, fractions: int = 30, **changes: Any
) -> str:
    prescription = {"target": "PTV", "dose_gy": dose_gy, "fractions": fractions}
    body = {"rtstruct_sop_instance_uid": uid, "workflow_id": "proton-impt-basic", "prescription": prescription}
    plan_id: str = api.post("/plans", body).json()["id"]
    api.store.attempts.begin(plan_id)
    curve = DvhCurve(structure="PTV", roi_number=2, volume_cc=1.0, dose_gy=(0.0, 1.0), volume_percent=(100.0, 0.0))
    result = JobResult(
        plan_id=plan_id,
        attempt=1,
        dvh=(curve,),
        metrics=tuple(
            StructureMetrics(structure=name, roi_number=2, volume_cc=8.0, **dict.fromkeys(METRICS, gy))
            for name, gy in doses.items()
        ),
        goals=(
            GoalResult(text="PTV: D95% ≥ 95%", structure="PTV", value=doses["PTV"], unit="%", status=GoalStatus.MET),
            GoalResult(text="OAR: Dmean ≤ 9 Gy", structure="OAR", value=None, unit="Gy", status=None, note="none"),
        ),
        provenance={"rbe": 1.1},
    ).model_copy(update=changes)
    assert api.store.attempts.succeed(result)
    return plan_id


def compared(api: Api, *ids: str) -> dict[str, Any]:
    answer = api.get("/compare", plans=",".join(ids))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_differences_are_from_the_first(api: Api, stored_uid: str) -> None:
    a, b = succeeded(api, stored_uid, {"PTV": 60, "OAR": 20}), succeeded(api, stored_uid, {"PTV": 63, "Liver": 5})
    found = compared(api, a, b)
    assert [p["id"] for p in found["plans"]] == [d["plan_id"] for d in found["dvh"]] == [a, b]
    by_name = {s["structure"]: s["plans"] for s in found["structures"]}
    assert list(by_name) == ["PTV", "OAR", "Liver"]
    assert by_name["PTV"][0]["difference"] is None
    assert by_name["PTV"][1]["difference"] == {**dict.fromkeys(METRICS, 3.0), "volume_cc": 0.0}
    assert (by_name["OAR"][1]["metrics"], by_name["Liver"][1]["difference"]) == (None, None)
    coverage, organ = found["goals"]
    assert [p["value"] for p in coverage["plans"]] == [60, 63]
    assert [p["difference"] for p in coverage["plans"]] == [None, 3.0]
    assert [p["difference"] for p in organ["plans"]] == [None, None]
    assert found["notes"] == []
    turned = compared(api, b, a)
    assert {s["structure"]: s["plans"] for s in turned["structures"]}["PTV"][1]["difference"]["d95_gy"] == -3.0


def test_what_else_differs_is_said(api: Api, stored_uid: str) -> None:
    other = box(shape=(3, 12, 12))
    api.upload(*other.datasets)
    ids = [
        succeeded(api, stored_uid, {"PTV": 60}),
        succeeded(api, stored_uid, {"PTV": 60}, dose_gy=50, fractions=25),
        succeeded(api, str(other.rtstruct.SOPInstanceUID), {"PTV": 60}),
    ]
    text = " ".join(compared(api, *ids)["notes"])
    for word in ("frames of reference", "structure sets", "prescribed doses", "fractions"):
        assert word in text
    assert "targets" not in text


def judged(dose_type: Literal["PHYSICAL", "EFFECTIVE"]) -> dict[str, Any]:
    """An evaluation of a dose that says no constant."""
    dose = DoseDescription(sop_instance_uid="1.2", dose_type=dose_type, max_gy=66, grid_mm=(2, 2, 2))
    return {"dose": dose, "provenance": {}}


def test_physical_dose_is_subtracted_from_weighted_dose_where_its_constant_is_known(api: Api, stored_uid: str) -> None:
    """66 Gy (RBE 1.1) is 60 Gy of physical dose; a goal's percentage of a prescription is converted by no division."""
    weighted = succeeded(api, stored_uid, {"PTV": 66})
    physical = succeeded(api, stored_uid, {"PTV": 60}, **judged("PHYSICAL"))
    plain = succeeded(api, stored_uid, {"PTV": 60}, provenance={"rbe": 1})
    for ids in ((weighted, physical), (physical, weighted), (weighted, plain)):
        found = compared(api, *ids)
        (target,) = found["structures"]
        assert target["plans"][1]["difference"] == pytest.approx({**dict.fromkeys(METRICS, 0.0), "volume_cc": 0.0})
        assert [p["difference"] for p in found["goals"][0]["plans"]] == [None, None]
        (note,) = found["notes"]
        assert "divided by its constant 1.1" in note


def test_nothing_is_subtracted_where_the_constant_is_not_known(api: Api, stored_uid: str) -> None:
    weighted = succeeded(api, stored_uid, {"PTV": 66}, **judged("EFFECTIVE"))
    physical = succeeded(api, stored_uid, {"PTV": 60}, **judged("PHYSICAL"))
    found = compared(api, weighted, physical)
    assert [p["difference"] for s in found["structures"] for p in s["plans"]] == [None, None]
    assert [p["difference"] for g in found["goals"] for p in g["plans"]] == [None] * 4
    assert "nothing is subtracted" in found["notes"][0]
    assert compared(api, weighted, succeeded(api, stored_uid, {"PTV": 60}))["notes"] == []


def test_curves_may_be_left_out(api: Api, stored_uid: str) -> None:
    a, b = succeeded(api, stored_uid, {"PTV": 60}), succeeded(api, stored_uid, {"PTV": 63})
    answer = api.get("/compare", plans=f"{a},{b}", curves="false").json()
    assert (answer["dvh"], len(answer["structures"])) == ([], 1)


def test_what_cannot_be_compared_is_refused_by_name(api: Api, stored_uid: str) -> None:
    a = succeeded(api, stored_uid, {"PTV": 60})
    body = {"rtstruct_sop_instance_uid": stored_uid, "protocol_id": "box"}
    queued = api.post("/plans", body).json()["id"]
    assert api.get("/compare", plans=f"{a},{queued}").status_code == 409
    assert api.get("/compare", plans=f"{a},{'0' * 32}").status_code == 404
    for plans in (a, f"{a},{a}", ",".join([a] * 9), ""):
        assert api.get("/compare", plans=plans).status_code == 422
    assert api.get("/compare").status_code == 422


@pytest.mark.parametrize("nonsense", ["'--", "../etc", "a" * 2000])
def test_nonsense_is_no_plan(api: Api, nonsense: str) -> None:
    assert api.get("/compare", plans=f"{nonsense},{nonsense}").status_code in (404, 422)
