"""Plans and doses of another system arrive and are checked: computed anew, compared and judged, without being asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTDoseStorage, RTPlanStorage, generate_uid

from phantoms import PhantomStudy, box
from tests.worker.dicom.dciodvfy import findings

from .service import BOX_PROTOCOLS, Service

pytestmark = [pytest.mark.system, pytest.mark.engine]

OTHER = "Another maker"
SECOND_CHECK = f"""
id: second-check
title: Every plan of another maker, computed anew
match: {{manufacturer: "^{OTHER}$"}}
prescription: {{target: PTV, dose_gy: 60, fractions: 30}}
workflow: recalculation
goals: ["PTV: Dmean >= 95%"]
calculation: {{final_primaries: 40000, scoring_spacing_mm: 4, seed: 11, let: true, gamma: {{dose_percent: 5}}}}
"""
JUDGED = f"""
id: judged
title: Every dose of another maker, judged
match: {{manufacturer: "^{OTHER}$"}}
workflow: evaluation
goals: ["PTV: Dmean >= 10 Gy", "OAR: Dmax <= 500 Gy"]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("checks")
    protocols = folder / "protocols"
    protocols.mkdir()
    box = (BOX_PROTOCOLS / "box.yaml").read_text()
    (protocols / "box.yaml").write_text(box.replace("calculation:\n", "calculation:\n  let: true\n"))
    (protocols / "second-check.yaml").write_text(SECOND_CHECK)
    (protocols / "judged.yaml").write_text(JUDGED)
    with Service(folder / "service", protocols=protocols) as running:
        running.start()
        yield running


class Planned:
    """A box planned here, and its plan and dose as another system would have exported them."""

    def __init__(self, service: Service, study: PhantomStudy, files: list[Path]) -> None:
        service.send(files)
        self.study = study
        uid = str(study.rtstruct.SOPInstanceUID)
        self.plan = service.wait_for_end(service.wait_for_plan(uid)["id"])
        assert self.plan["state"] == "succeeded", f"{self.plan['error']}\n{service.log_of(self.plan['id'])}"
        stored = {o["kind"]: service.instance(o["orthanc_id"]) for o in self.plan["outputs"]}
        self.let = stored["let"]
        self.rtplan, self.rtdose = foreign(stored["rtplan"]), foreign(stored["rtdose"])
        self.rtdose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = self.rtplan.SOPInstanceUID


def foreign(dataset: Dataset) -> Dataset:
    made = copy.deepcopy(dataset)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.SeriesInstanceUID, made.Manufacturer = generate_uid(), OTHER
    return made


@pytest.fixture(scope="module")
def planned(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    study = box(shape=(16, 56, 56), target_mm=24)
    return Planned(service, study, study.save(tmp_path_factory.mktemp("study")))


@pytest.fixture
def send(service: Service, tmp_path: Path) -> Callable[..., None]:
    def store(*datasets: Dataset) -> None:
        files = []
        for n, dataset in enumerate(datasets):
            files.append(tmp_path / f"{n}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
        service.send(files, aet="TPS")

    return store


def arrival(service: Service, dataset: Dataset, *states: str) -> dict[str, Any]:
    """The arrival of an object, when it is in one of the states."""

    def found() -> dict[str, Any] | None:
        items = service.api("/arrivals", limit="200")["items"]
        same = [a for a in items if a["sop_instance_uid"] == dataset.SOPInstanceUID]
        return same[0] if same and same[0]["state"] in states else None

    return service.wait(found, f"the arrival is {' or '.join(states)}", within_s=120)


def result(service: Service, plan_id: str) -> tuple[dict[str, Any], dict[str, Dataset]]:
    plan = service.wait_for_end(plan_id)
    assert plan["state"] == "succeeded", f"{plan['error']}\n{service.log_of(plan_id)}"
    return plan, {o["kind"]: service.instance(o["orthanc_id"]) for o in plan["outputs"] if o["orthanc_id"]}


def test_let_is_stored_beside_the_dose_and_is_no_dose(planned: Planned, tmp_path: Path) -> None:
    assert planned.let.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    assert planned.let.Modality != "RTDOSE"
    assert planned.let.FrameOfReferenceUID == planned.study.images[0].FrameOfReferenceUID
    assert [line for line in findings(planned.let, tmp_path) if line.startswith("Error")] == []


def test_an_arriving_plan_is_computed_anew_and_compared(
    service: Service, planned: Planned, send: Callable[..., None], tmp_path: Path
) -> None:
    send(planned.rtplan, planned.rtdose)
    checked = arrival(service, planned.rtplan, "planned", "not_planned")
    assert (checked["state"], checked["kind"], checked["protocol_id"]) == ("planned", "rtplan", "second-check"), checked
    plan, stored = result(service, checked["plan_id"])
    assert plan["workflow_id"] == "recalculation"
    assert {i["kind"]: i["sop_instance_uid"] for i in plan["inputs"]} == {
        "rtplan": planned.rtplan.SOPInstanceUID,
        "reference_rtdose": planned.rtdose.SOPInstanceUID,
    }
    found = plan["comparison"]
    assert (found["scale"], found["scale_source"], found["rbe_weighted"]) == (1.0, "none", True)
    assert found["gamma"]["passed_percent"] > 80
    assert [b["number"] for b in found["beams"]]
    # of our beam data, but computed with few protons: a person has to look
    judged = {c["id"]: c["result"] for c in plan["verdict"]["criteria"]}
    assert (plan["outcome"] in ("look", "fail"), judged["uncertainty"], plan["machine_scale"]) == (True, "look", None)
    assert (judged["prescription.fractions"], judged["prescription.plan"]) == ("pass", "pass")
    assert plan["goals"][0]["status"] == "met"
    assert plan["metrics"]
    assert found["metrics"]
    assert set(stored) >= {"rtdose", "dose_difference", "let"}
    assert stored["rtdose"].ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == planned.rtplan.SOPInstanceUID
    difference = stored["dose_difference"]
    assert (difference.SOPClassUID, difference.DoseType) == (RTDoseStorage, "ERROR")
    for kind, dataset in stored.items():
        said = [line for line in findings(dataset, tmp_path) if line.startswith("Error")]
        # PS3.3 C.8.8.3.4.2 has signed pixels where Dose Type is ERROR, which dciodvfy does not know
        assert [line for line in said if "PixelRepresentation" not in line or kind != "dose_difference"] == [], kind


def test_an_arriving_dose_is_judged(service: Service, planned: Planned, send: Callable[..., None]) -> None:
    send(planned.rtdose)  # that it came before changes nothing
    judged = arrival(service, planned.rtdose, "planned", "not_planned")
    assert (judged["state"], judged["kind"], judged["protocol_id"]) == ("planned", "rtdose", "judged"), judged
    plan, stored = result(service, judged["plan_id"])
    assert "rtdose" not in stored
    assert [g["status"] for g in plan["goals"]] == ["met", "met"]
    own = {m["structure"]: m for m in planned.plan["metrics"]}
    for metrics in plan["metrics"]:
        assert metrics["d_mean_gy"] == pytest.approx(own[metrics["structure"]]["d_mean_gy"], rel=1e-3)
    assert service.api(f"/plans/{plan['id']}/dvh")["curves"]
    assert service.api(f"/evaluations/{plan['id']}")["id"] == plan["id"]


def test_a_dose_is_judged_when_it_is_asked_for(service: Service, planned: Planned) -> None:
    dose = next(o for o in planned.plan["outputs"] if o["kind"] == "rtdose")
    asked = service.http.post(
        "/radiarch/api/v1/evaluations",
        json={
            "rtdose_sop_instance_uid": dose["sop_instance_uid"],
            "reference_rtdose_sop_instance_uid": dose["sop_instance_uid"],
            "rtstruct_sop_instance_uid": str(planned.study.rtstruct.SOPInstanceUID),
            "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
            "goals": ["PTV: D95% >= 10%"],
        },
    )
    assert asked.status_code == 201, asked.text
    plan, stored = result(service, asked.json()["id"])
    assert plan["comparison"]["gamma"]["passed_percent"] == 100
    assert plan["dose_quantity"] == "RBE_WEIGHTED"
    assert plan["comparison"]["mean_difference_gy"] == pytest.approx(0, abs=1e-6)
    assert not stored["dose_difference"].pixel_array.any()


def test_an_rt_plan_without_beams_is_refused_by_name(
    service: Service, planned: Planned, send: Callable[..., None]
) -> None:
    photons = foreign(planned.rtplan)
    photons.SOPClassUID = photons.file_meta.MediaStorageSOPClassUID = RTPlanStorage
    del photons.IonBeamSequence
    send(photons)
    taken = arrival(service, photons, "planned", "not_planned")
    assert taken["state"] == "planned", taken
    refused = service.wait_for_end(taken["plan_id"])
    assert (refused["state"], refused["error"]["code"]) == ("failed", "unreadable_rtplan"), refused["error"]
    assert refused["error"]["remedy"]


def test_results_start_nothing(service: Service, planned: Planned) -> None:
    """A dose and plan of our own arrive too: they are in nobody's list."""
    seen = {a["sop_instance_uid"] for a in service.api("/arrivals", limit="200")["items"]}
    plans = service.api("/plans", limit="100")["items"]
    own = {o["sop_instance_uid"] for p in plans for o in service.plan(p["id"])["outputs"]}
    assert len(own) >= 6
    assert not seen & own
