"""The clients against the real app: what the server answers is what the models say, sync and async alike."""

from __future__ import annotations

import inspect
import zipfile
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import radiarch_client
from pydantic import BaseModel
from pynetdicom.association import Association
from radiarch_client import AsyncOrthanc, AsyncRadiarch, AsyncSession, Orthanc, Radiarch, Session, _dicom, models
from radiarch_contract.errors import (
    ConflictError,
    EngineError,
    ErrorCode,
    InvalidRequestError,
    NotFoundError,
)
from radiarch_contract.states import PlanState
from radiarch_contract.workflows import WORKFLOWS, Prescription

from phantoms import box

from .conftest import Stored
from .served import Served

RX = Prescription(target="PTV", dose_gy=60, fractions=30)


def make(client: Radiarch, stored: Stored, **more: Any) -> models.Plan:
    return client.create_plan(stored.rtstruct_uid, protocol="test-box", **more)


def test_info_and_workers(client: Radiarch, served: Served) -> None:
    served.add_worker()
    info = client.info()
    assert info.ready
    assert info.engines["mcsquare"].available
    assert info.workers is not None
    assert info.workers.total == 1
    (worker,) = client.list_workers()
    assert (worker.name, worker.state, worker.engines["mcsquare"].available) == ("w1", "idle", True)


def test_workflows_are_those_of_the_contract(client: Radiarch) -> None:
    assert [w.id for w in client.list_workflows()] == list(WORKFLOWS)
    one = client.get_workflow("proton-impt-basic")
    assert one.defaults["seed"] == 1
    assert one.parameters["properties"]["seed"]["type"] == "integer"
    with pytest.raises(NotFoundError) as e:
        client.get_workflow("photon-magic")
    assert e.value.code == ErrorCode.UNKNOWN_WORKFLOW


def test_protocols(client: Radiarch) -> None:
    (listed,) = client.list_protocols()
    assert listed == client.get_protocol("test-box")
    assert listed.prescription is not None
    assert listed.prescription.dose_gy == 60
    with pytest.raises(NotFoundError):
        client.get_protocol("nothing")


def test_a_plan_from_request_to_result(client: Radiarch, served: Served, stored: Stored, tmp_path: Path) -> None:
    made = make(client, stored, label="CLIENT")
    assert (made.state, made.protocol_id, made.label) == (PlanState.QUEUED, "test-box", "CLIENT")
    assert made.prescription is not None
    assert made.prescription.target == "PTV"
    served.start(made.id, lines=("first line", "second line"))
    running = client.get_plan(made.id)
    assert (running.state, running.stage, running.progress, running.eta_s) == ("running", "optimizing", 0.25, 75.0)
    assert client.get_job(running.job_id).worker == "w1"
    served.succeed(made.id, dose_orthanc_id=stored.rtstruct_orthanc_id)

    done = client.poll_until_done(made.id, interval_s=0.01)
    assert done.succeeded
    assert done.uncertainty_percent == 1.5
    assert [b.spots for b in done.beams] == [120]
    assert [(g.status, g.value) for g in done.goals] == [("met", 96.5)]
    assert [m.structure for m in done.metrics] == ["PTV", "Organ"]
    curves = client.dvh(made.id).curves
    assert [c.structure for c in curves] == ["PTV", "Organ"]
    assert curves[0].volume_percent[0] == 100

    log = client.job_log(made.job_id)
    assert log.lines == ("first line", "second line")
    assert log.complete
    assert client.job_log(made.job_id, log.next_offset).lines == ()
    events = client.job_events(made.job_id)
    assert [e.data.get("state") for e in events.items if e.type == "state"] == ["queued", "running", "succeeded"]
    assert client.job_events(made.job_id, events.next).items == ()

    (path,) = client.download_outputs(made.id, tmp_path / "out")
    assert path.name == "rtdose.dcm"
    assert path.read_bytes() == client.get_artifact(done.outputs[0].sop_instance_uid)
    assert path.read_bytes() == client.orthanc.instance_file(stored.rtstruct_orthanc_id)


def test_the_same_key_makes_one_plan(client: Radiarch, stored: Stored) -> None:
    one = make(client, stored, idempotency_key="k1")
    assert make(client, stored, idempotency_key="k1").id == one.id
    assert make(client, stored).id != one.id
    with pytest.raises(ConflictError) as e:
        make(client, stored, idempotency_key="k1", label="OTHER")
    assert e.value.code == ErrorCode.IDEMPOTENCY_MISMATCH


def test_everything_of_a_request_arrives(client: Radiarch, stored: Stored) -> None:
    plan = client.create_plan(
        stored.rtstruct_uid,
        workflow="proton-impt-optimized",
        prescription=RX,
        beams=[{"gantry_deg": 90}, {"gantry_deg": 270, "couch_deg": 10}],
        objectives=[{"structure": "PTV", "metric": "DUniform", "dose_gy": 60, "weight": 10}],
        goals=["PTV: D95% >= 95%"],
        parameters={"seed": 7},
        structures={"PTV": "PTV"},
    )
    assert plan.parameters["seed"] == 7
    assert [(b["gantry_deg"], b["couch_deg"]) for b in plan.parameters["beams"]] == [(90, 0), (270, 10)]
    assert plan.objectives[0]["metric"] == "DUniform"
    assert [g.text for g in plan.goals] == ["PTV: D95% ≥ 95%"]
    assert plan.workflow_id == "proton-impt-optimized"


def test_what_is_refused_says_why(client: Radiarch, stored: Stored) -> None:
    with pytest.raises(InvalidRequestError) as e:
        client.create_plan(stored.rtstruct_uid, workflow="proton-impt-basic", prescription=RX, parameters={"seed": 0})
    assert [x["field"] for x in e.value.info.details["errors"]] == ["seed"]
    with pytest.raises(InvalidRequestError) as e:
        client.create_plan(
            stored.rtstruct_uid,
            workflow="proton-impt-basic",
            prescription=RX.model_copy(update={"target": "GTV"}),
        )
    assert e.value.code == ErrorCode.UNKNOWN_STRUCTURE
    assert e.value.info.details["unknown"] == ["GTV"]
    with pytest.raises(NotFoundError):
        client.create_plan("1.2.3", protocol="test-box")


def test_cancelling(client: Radiarch, stored: Stored) -> None:
    plan = make(client, stored)
    assert client.cancel_plan(plan.id).state == PlanState.CANCELLED
    assert client.cancel_plan(plan.id).state == PlanState.CANCELLED
    with pytest.raises(ConflictError):
        client.get_plan(plan.id).raise_for_failure()


def test_a_failed_plan_raises_its_own_error(client: Radiarch, served: Served, stored: Stored) -> None:
    plan = make(client, stored)
    served.start(plan.id)
    served.fail(plan.id)
    ended = client.poll_until_done(plan.id)
    assert ended.state == PlanState.FAILED
    with pytest.raises(EngineError, match="MCsquare ended with code 1"):
        ended.raise_for_failure()
    with pytest.raises(ConflictError):
        client.dvh(plan.id)
    with pytest.raises(NotFoundError, match="no outputs"):
        client.download_outputs(plan.id, ".")


def test_lists_are_paged_and_filtered(client: Radiarch, stored: Stored) -> None:
    made = [make(client, stored, label=f"PAGE {i}").id for i in range(5)]
    newest = [p.id for p in client.list_plans(page_size=2, q="PAGE")]
    assert newest == made[::-1]
    assert [p.id for p in client.list_plans(page_size=2, q="PAGE", sort="created_at")] == made
    client.cancel_plan(made[0])
    assert [p.id for p in client.list_plans(q="PAGE", state="cancelled")] == made[:1]
    assert len(list(client.list_plans(q="PAGE", state=["cancelled", "queued"], patient_id="CLIENT-BOX"))) == 5
    assert list(client.list_plans(patient_id="A&B=C d")) == []
    with pytest.raises(InvalidRequestError):
        list(client.list_plans(state="sleeping"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("reoptimize", ("a" * 32, [])), ("compare", ("a" * 32, "b" * 32)), ("create_evaluation", ("1.2", "1.3"))],
)
def test_what_the_server_does_not_offer_is_said(client: Radiarch, name: str, arguments: tuple[Any, ...]) -> None:
    if any(name.removeprefix("create_") in p for p in _openapi(client)["paths"]):
        pytest.skip(f"this server offers {name}")
    with pytest.raises(NotFoundError, match="does not offer"):
        getattr(client, name)(*arguments)


def _openapi(client: Radiarch) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(
        f"{client.settings.url}/radiarch/api/openapi.json", trust_env=False, timeout=60
    ).json()
    return found


def test_every_answer_of_the_schema_fits_a_model(client: Radiarch) -> None:
    """No field that the server documents for a plan is unknown to the client."""
    import httpx

    schemas = httpx.get(f"{client.settings.url}/radiarch/api/openapi.json", trust_env=False, timeout=60).json()[
        "components"
    ]["schemas"]
    pairs: list[tuple[str, type[BaseModel]]] = [
        ("InfoAnswer", models.Info),
        ("WorkflowAnswer", models.Workflow),
        ("ProtocolAnswer", models.Protocol),
        ("JobAnswer", models.Job),
        ("DvhAnswer", models.Dvh),
        ("LogAnswer", models.LogChunk),
        ("EventAnswer", models.Event),
        ("ArrivalAnswer", models.Arrival),
        ("WorkerAnswer", models.Worker),
    ]
    for name, model in pairs:
        promised = schemas[name]
        required = {n for n, f in model.model_fields.items() if f.is_required()}
        assert required <= set(promised["required"]) | set(promised["properties"]), name
        assert set(model.model_fields) <= set(promised["properties"]), name


def test_the_async_client_does_the_same(served: Served, stored: Stored, tmp_path: Path) -> None:
    async def all_of_it() -> None:
        async with AsyncRadiarch(served.url) as client:
            assert (await client.info()).ready
            plan = await client.create_plan(stored.rtstruct_uid, protocol="test-box", label="ASYNC")
            assert [p.id async for p in client.list_plans(q="ASYNC", page_size=1)] == [plan.id]
            served.start(plan.id)
            served.succeed(plan.id, dose_orthanc_id=stored.rtstruct_orthanc_id)
            done = await client.poll_until_done(plan.id, interval_s=0.01)
            assert done.succeeded
            (path,) = await client.download_outputs(plan.id, tmp_path)
            assert path.stat().st_size > 0
            report = await client.orthanc.send_folder(stored.folder)
            assert report.ok
            assert [r.tag("PatientID") async for r in client.orthanc.patients()] == ["CLIENT-BOX"]

    served.add_worker()
    anyio.run(all_of_it)


@pytest.mark.parametrize(
    ("sync", "asynchronous"), [(Radiarch, AsyncRadiarch), (Orthanc, AsyncOrthanc), (Session, AsyncSession)]
)
def test_both_clients_have_the_same_methods(sync: type, asynchronous: type) -> None:
    def methods(cls: type) -> dict[str, list[inspect.Parameter]]:
        found = inspect.getmembers(cls, callable)
        return {
            n: list(inspect.signature(m).parameters.values())
            for n, m in found
            if not n.startswith("_") and n != "close"
        }

    assert methods(sync) == methods(asynchronous)
    assert all(inspect.getdoc(getattr(sync, n)) for n in methods(sync))


def test_the_exported_names() -> None:
    assert sorted(radiarch_client.__all__) == radiarch_client.__all__
    public = {n for n in vars(radiarch_client) if not n.startswith("_")}
    assert set(radiarch_client.__all__) <= public
    assert public - set(radiarch_client.__all__) <= {"cli"}  # a module, once it is imported


def test_browsing_orthanc(client: Radiarch, stored: Stored) -> None:
    orthanc = client.orthanc
    assert orthanc.system().dicom_aet
    (study,) = orthanc.studies(StudyInstanceUID=stored.study_uid)
    assert study.tag("PatientID") == "CLIENT-BOX"
    modalities = [s.tag("Modality") for s in orthanc.series(StudyInstanceUID=stored.study_uid)]
    assert sorted(map(str, modalities)) == ["CT", "RTSTRUCT"]
    ct = list(orthanc.instances(StudyInstanceUID=stored.study_uid, Modality="CT"))
    assert {i.tag("SOPInstanceUID") for i in ct} == {str(d.SOPInstanceUID) for d in stored.study.images}
    assert len(list(orthanc.find("Instance", limit=3, StudyInstanceUID=stored.study_uid))) == 3
    assert orthanc.instance_tags(stored.rtstruct_orthanc_id)["Modality"] == "RTSTRUCT"
    assert orthanc.get_resource("Study", study.id) == study
    assert orthanc.lookup("1.2.3.4") == []
    with pytest.raises(NotFoundError):
        orthanc.get_resource("Study", "0" * 8)


def test_downloads(client: Radiarch, stored: Stored, tmp_path: Path) -> None:
    (study,) = client.orthanc.studies(StudyInstanceUID=stored.study_uid)
    path = client.orthanc.download("Study", study.id, tmp_path / "study.zip")
    assert len(zipfile.ZipFile(path).namelist()) == len(stored.study.datasets)
    with pytest.raises(NotFoundError):
        client.orthanc.download("Instance", "0" * 8, tmp_path / "none.dcm")
    assert [p.name for p in tmp_path.iterdir()] == ["study.zip"]


def test_sending_a_folder_names_what_was_not_stored(client: Radiarch, stored: Stored, tmp_path: Path) -> None:
    good = tmp_path / "a" / "ct.dcm"
    good.parent.mkdir()
    good.write_bytes((stored.folder / "CT" / "0001.dcm").read_bytes())
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1\2\3")
    (tmp_path / "notes.txt").write_text("no DICOM")
    seen: list[str] = []
    report = client.orthanc.send_folder(tmp_path, progress=lambda f: seen.append(f.path))
    assert {Path(f.path).name: f.status for f in report.files} == {"ct.dcm": "already_stored", "broken.dcm": "refused"}
    assert [Path(p).name for p in report.skipped] == ["notes.txt"]
    assert not report.ok
    assert len(seen) == 2
    with pytest.raises(InvalidRequestError, match="no DICOM file"):
        client.orthanc.send_folder(tmp_path / "notes.txt")


def test_sending_by_c_store(client: Radiarch, served: Served, tmp_path: Path) -> None:
    box(shape=(2, 8, 8), spacing_mm=(8.0, 8.0, 8.0), patient_id="C-STORE").save(tmp_path)
    report = client.orthanc.send_folder_dicom(tmp_path, host="127.0.0.1", port=served.dicom_port, called_aet="RADIARCH")
    assert report.ok
    assert len(report.files) == 3
    (patient,) = client.orthanc.patients(PatientID="C-STORE")
    assert patient.tag("PatientID") == "C-STORE"


def test_an_answer_that_the_reactor_takes_is_not_lost(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom's race at its worst: the reactor says that it is paused, and never is."""
    monkeypatch.setattr(Association, "_is_paused", property(lambda _: True, lambda _, __: None), raising=False)
    associate = _dicom._associate

    def never_pausing(*arguments: Any) -> Any:
        association = associate(*arguments)
        association._reactor_checkpoint.clear = lambda: None
        association.dimse_timeout = 2
        take = association.dimse.get_msg
        association.dimse.get_msg = lambda block=False: take(block=True)  # it waits first, so it is served first
        return association

    monkeypatch.setattr(_dicom, "_associate", never_pausing)
    assert len(_dicom.echo("127.0.0.1", served.dicom_port, "RADIARCH", repeats=20).times_s) == 20
