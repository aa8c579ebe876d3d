"""Inputs that went wrong, each sent by C-STORE to the real service: planned right, or refused with what is true.

The studies lie outside of the project (``RADIARCH_FAULTS``, else ``shared/faults`` beside the checkout); their README
says what is right for each. `python -m pytest tests/cases/test_faults.py` runs all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from radiarch_contract import API_PREFIX

from tests.system.service import CHECKOUT, Service

FAULTS = Path(os.environ.get("RADIARCH_FAULTS") or CHECKOUT.parent / "shared" / "faults")
PROTOCOLS = Path(__file__).parent / "protocols"
TARGET_CC, ORGAN_CC = 32.77, 16.38
PASSING_THE_GAP = (335.0, 25.0)
"""Couch angles at which a beam from gantry 90° passes the slices that BODY lacks."""

pytestmark = [
    pytest.mark.cases,
    pytest.mark.system,
    pytest.mark.engine,
    pytest.mark.skipif(not FAULTS.is_dir(), reason="the folder of faulty inputs is not beside the checkout"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("faults"), protocols=PROTOCOLS) as running:
        running.start()
        yield running


class Sent:
    """A study that was sent in the order of its files' paths."""

    def __init__(self, service: Service, name: str) -> None:
        self._service = service
        files = sorted((FAULTS / name).rglob("*.dcm"))
        headers = {f: pydicom.dcmread(f, stop_before_pixels=True) for f in files}
        (self.rtstruct,) = (h for h in headers.values() if h.Modality == "RTSTRUCT")
        service.send(files)

    @property
    def study_uid(self) -> str:
        return str(self.rtstruct.StudyInstanceUID)

    @property
    def rtstruct_uid(self) -> str:
        return str(self.rtstruct.SOPInstanceUID)

    def outcome(self) -> dict[str, Any]:
        """Its plan when that has ended, or its arrival where it was refused without one."""

        def ended() -> dict[str, Any] | None:
            plans = self._service.plans(self.rtstruct_uid)
            if plans:
                plan = self._service.plan(plans[0]["id"])
                return plan if plan["state"] in ("succeeded", "failed", "cancelled") else None
            arrivals = self._service.api("/arrivals", study_uid=self.study_uid)["items"]
            refused = [a for a in arrivals if a["state"] == "not_planned"]
            return refused[0] if refused else None

        return self._service.wait(ended, "the structure set is planned or refused", within_s=240.0)

    def planned(self) -> dict[str, Any]:
        outcome = self.outcome()
        assert outcome["state"] == "succeeded", outcome["error"]
        return outcome


def metrics(plan: dict[str, Any], structure: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in plan["metrics"] if m["structure"].casefold() == structure.casefold())
    return found


def volume_cc(plan: dict[str, Any], structure: str = "PTV") -> float:
    return float(metrics(plan, structure)["volume_cc"])


def says(plan: dict[str, Any], *words: str) -> bool:
    """Whether one of the plan's notes has all these words."""
    return any(all(w.casefold() in note.casefold() for w in words) for note in plan["notes"])


@pytest.fixture(scope="module")
def base(service: Service) -> Sent:
    return Sent(service, "base")


@pytest.fixture(scope="module")
def base_plan(base: Sent) -> dict[str, Any]:
    return base.planned()


def test_the_study_without_a_fault(base_plan: dict[str, Any]) -> None:
    assert volume_cc(base_plan) == pytest.approx(TARGET_CC, abs=0.01)
    assert volume_cc(base_plan, "OAR") == pytest.approx(ORGAN_CC, abs=0.01)
    assert metrics(base_plan, "PTV")["d95_gy"] > 50


def test_contours_stored_twice(service: Service, base_plan: dict[str, Any]) -> None:
    plan = Sent(service, "dup_contours").planned()
    assert volume_cc(plan) == pytest.approx(TARGET_CC, abs=0.01)
    assert metrics(plan, "PTV")["d95_gy"] == pytest.approx(metrics(base_plan, "PTV")["d95_gy"], abs=1.0)
    assert says(plan, "PTV", "counted once")


def test_a_target_with_contours_of_another_type(service: Service) -> None:
    outcome = Sent(service, "part_open_planar").outcome()
    if outcome["state"] == "succeeded":
        assert volume_cc(outcome) == pytest.approx(TARGET_CC, abs=0.01)
        assert says(outcome, "PTV", "interpolated")
    else:
        assert outcome["error"]["code"] == "incomplete_structure"
        assert "PTV" in outcome["error"]["message"]


def test_a_target_that_is_contoured_on_every_second_slice_at_one_end(service: Service) -> None:
    plan = Sent(service, "mixed_spacing_contours").planned()
    assert volume_cc(plan) == pytest.approx(262.1, rel=0.01)
    assert says(plan, "PTV", "interpolated")


@pytest.mark.parametrize("couch_deg", PASSING_THE_GAP)
def test_a_gap_in_body_is_not_air(service: Service, base: Sent, couch_deg: float) -> None:
    """The same beam on the same patient, once with a whole BODY: the same dose."""
    doses, metersets = [], []
    for sent in (Sent(service, "body_gap_beside"), base):
        answer = service.http.post(
            f"{API_PREFIX}/plans",
            json={
                "rtstruct_sop_instance_uid": sent.rtstruct_uid,
                "protocol_id": "water-box",
                "parameters": {"beams": [{"gantry_deg": 90, "couch_deg": couch_deg}]},
            },
        )
        assert answer.status_code == 201, answer.text
        plan = service.wait_for_end(answer.json()["id"])
        if plan["state"] == "failed" and sent is not base:
            assert plan["error"]["code"] == "incomplete_structure"
            return
        assert plan["state"] == "succeeded", plan["error"]
        doses.append(metrics(plan, "PTV")["d95_gy"])
        metersets.append(sum(b["meterset_mu"] for b in plan["beams"]))
        if sent is not base:
            assert says(plan, "BODY", "interpolated")
    assert doses[0] == pytest.approx(doses[1], abs=1.0)
    assert metersets[0] == pytest.approx(metersets[1], rel=0.02)


def test_helper_contours_stand_before_the_structures(service: Service) -> None:
    outcome = Sent(service, "helper_names").outcome()
    if outcome["state"] != "succeeded":
        assert outcome["error"]["code"] == "ambiguous_structure"
        return
    taken = {ref["name"]: ref["roi_name"] for ref in outcome["structures"]}
    assert (taken["PTV"], taken["OAR"]) == ("ptv", "oar")
    assert volume_cc(outcome, "ptv") == pytest.approx(TARGET_CC, abs=0.01)
    assert volume_cc(outcome, "oar") == pytest.approx(ORGAN_CC, abs=0.01)


def test_the_named_series_is_planned_on(service: Service, base_plan: dict[str, Any]) -> None:
    outcome = Sent(service, "copy_series_after").outcome()
    if outcome["state"] != "succeeded":
        assert outcome["error"]["code"] == "ambiguous_instances"
        return
    # the copy has 400 HU more: its energies would be higher
    assert outcome["beams"][0]["energy_max_mev"] == pytest.approx(base_plan["beams"][0]["energy_max_mev"], abs=0.5)


def test_the_whole_series_is_used(service: Service, base_plan: dict[str, Any]) -> None:
    sent = Sent(service, "subset_refs_no_body")
    plan = sent.planned()
    (dose,) = service.results(sent.study_uid)["RTDOSE"]
    assert float(dose.NumberOfFrames) * 4.0 > 100.0
    assert says(plan, "30")
    assert metrics(plan, "PTV")["d95_gy"] == pytest.approx(metrics(base_plan, "PTV")["d95_gy"], abs=1.5)


def test_a_density_in_the_structure_set(service: Service) -> None:
    plan = Sent(service, "density_in_rtstruct").planned()
    assert says(plan, "Implant", "4.5")


def test_many_structures(service: Service) -> None:
    plan = Sent(service, "many_structures").planned()
    assert len(plan["metrics"]) == 153


def test_a_listed_pet_is_not_waited_for(service: Service) -> None:
    plan = Sent(service, "rtstruct_lists_pet").planned()
    assert volume_cc(plan) == pytest.approx(TARGET_CC, abs=0.01)


def test_a_body_beyond_the_ct(service: Service) -> None:
    plan = Sent(service, "body_beyond_ct").planned()
    assert says(plan, "BODY")


def test_a_study_that_is_deleted_while_its_plan_runs(service: Service) -> None:
    sent = Sent(service, "delete_mid_run")
    plan = service.wait_for_plan(sent.rtstruct_uid, "running", "succeeded", "failed")
    (study,) = service.http.post(
        "/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": sent.study_uid}}
    ).json()
    service.delete("studies", study)
    ended = service.wait_for_end(plan["id"])
    assert ended["state"] == "cancelled", ended["error"]
    service.wait(lambda: service.plan(plan["id"]).get("stopped_at"), "its processes have ended")
    assert service.instances({"StudyInstanceUID": sent.study_uid}) == []


def test_a_plan_that_lacks_a_beam(service: Service, base: Sent, base_plan: dict[str, Any]) -> None:
    files = sorted((FAULTS / "plan_lacks_beam").rglob("*.dcm"))
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SOPInstanceUID)
    service.send(files)

    def refused() -> dict[str, Any] | None:
        arrivals: list[dict[str, Any]] = service.api("/arrivals", study_uid=base.study_uid)["items"]
        for arrival in arrivals:
            if arrival["sop_instance_uid"] != uid:
                continue
            if arrival["state"] == "not_planned":
                return arrival
            if arrival.get("plan_id"):
                run = service.plan(arrival["plan_id"])
                return run if run["state"] in ("succeeded", "failed", "cancelled") else None
        return None

    outcome = service.wait(refused, "the plan is checked or refused", within_s=240.0)
    assert outcome["error"] is not None
    assert outcome["error"]["code"] == "unreadable_rtplan"
    assert "2" in outcome["error"]["message"]
