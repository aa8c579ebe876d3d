"""A session from end to end: real Orthanc, real worker, real engine; and nothing left of it."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import RTDoseStorage, RTIonPlanStorage
from radiarch_client import NotFoundError, Radiarch, Session
from radiarch_contract.pictures import Plane

from phantoms import PhantomStudy

from .processes import alive
from .service import Service

pytestmark = pytest.mark.system

NewStudy = Callable[[], PhantomStudy]
Save = Callable[[PhantomStudy], list[Path]]
STOP_S = 10.0


@pytest.fixture
def client(service: Service) -> Radiarch:
    return Radiarch(service.orthanc_url)


def sessions_folder(service: Service) -> Path:
    return service.folder / "orthanc" / "radiarch-sessions"


def files_with(folder: Path, word: bytes) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and word in p.read_bytes()]


def assert_no_trace(service: Service, study: PhantomStudy) -> None:
    """Neither in Orthanc, nor on the disk of Orthanc, Redis or the worker."""
    assert service.instances({"StudyInstanceUID": str(study.rtstruct.StudyInstanceUID)}) == []
    assert service.plans(str(study.rtstruct.SOPInstanceUID)) == []
    for word in (str(study.rtstruct.StudyInstanceUID).encode(), str(study.rtstruct.PatientID).encode()):
        assert files_with(service.folder, word) == []


def wait_until_gone(service: Service, session: Session) -> None:
    folder = sessions_folder(service) / session.access.id
    service.wait(lambda: not folder.exists(), "nothing of the session is left", within_s=150)


def upload(session: Session, study: PhantomStudy, save: Save) -> None:
    files = save(study)
    told = session.upload_folder(files[-1].parent)
    assert told.stored == len(files)
    for path in files:
        path.unlink()


def test_a_plan_is_made_in_a_session_and_nothing_of_it_stays(
    service: Service, client: Radiarch, new_study: NewStudy, save: Save
) -> None:
    study = new_study()
    with client, client.session(label="system test") as session:
        upload(session, study, save)
        plan = session.create_plan(session.structure_set(), protocol="test-box")
        plan = session.poll_until_done(plan.id, interval_s=0.3)
        plan.raise_for_failure()
        assert plan.goals
        results = {
            r.kind: pydicom.dcmread(BytesIO(session.get_artifact(r.sop_instance_uid))) for r in session.results()
        }
        dose, rtplan = results["rtdose"], results["rtplan"]
        assert (dose.SOPClassUID, rtplan.SOPClassUID) == (RTDoseStorage, RTIonPlanStorage)
        assert dose.PatientID == study.rtstruct.PatientID
        assert dose.FrameOfReferenceUID == study.images[0].FrameOfReferenceUID
        assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == rtplan.SOPInstanceUID
        assert dose.pixel_array.any()
        assert session.dvh(plan.id).curves
        assert session.get_report(plan.id).startswith(b"%PDF-")
        for plane in Plane:
            assert session.get_picture(plan.id, plane).startswith(b"\x89PNG")
        assert service.instances({"StudyInstanceUID": str(study.rtstruct.StudyInstanceUID)}) == []
        with pytest.raises(NotFoundError):
            client.get_plan(plan.id)
    wait_until_gone(service, session)
    assert_no_trace(service, study)


def test_a_session_that_expires_stops_its_engines(
    service: Service, client: Radiarch, new_study: NewStudy, save: Save
) -> None:
    study = new_study()
    session = client.session()
    upload(session, study, save)
    made = session.create_plan(session.structure_set(), protocol="test-box", parameters={"final_primaries": 50_000_000})
    (worker,) = service.workers
    service.wait(
        lambda: session.get_plan(made.id).stage == "final_dose" and service.engine_processes(worker),
        "the engine computes the final dose",
        within_s=120,
    )
    engines = service.engine_processes(worker)
    assert engines
    session.prolong(1)
    service.wait(lambda: not any(alive(p) for p in engines), "the engines have ended", within_s=STOP_S)
    with pytest.raises(NotFoundError):
        session.info()
    wait_until_gone(service, session)
    service.wait(lambda: service.job_process(worker) is None, "the job has ended")
    assert_no_trace(service, study)
    client.close()


def test_a_session_outlives_a_restart_of_orthanc_and_its_results_can_be_kept(
    service: Service, client: Radiarch, new_study: NewStudy, save: Save
) -> None:
    study = new_study()
    session = client.session()
    upload(session, study, save)
    made = session.create_plan(session.structure_set(), protocol="test-box")
    (worker,) = service.workers
    service.wait(lambda: service.job_process(worker), "the worker has begun", within_s=120)
    service.orthanc_server.kill()
    service.start_orthanc()
    plan = session.poll_until_done(made.id, interval_s=0.3)
    plan.raise_for_failure()
    kept = session.keep(inputs=True)
    assert kept.plans == (plan.id,)
    session.end()
    wait_until_gone(service, session)
    results = service.results(str(study.rtstruct.StudyInstanceUID))
    assert [len(results[m]) for m in ("RTDOSE", "RTPLAN")] == [1, 1]
    (listed,) = service.plans(str(study.rtstruct.SOPInstanceUID))
    assert listed["id"] == plan.id
    # an arrival after it has been looked at: so was everything that was kept
    other = new_study()
    service.send(save(other))
    begun = service.wait_for_plan(str(other.rtstruct.SOPInstanceUID))
    (listed,) = service.plans(str(study.rtstruct.SOPInstanceUID))
    assert listed["id"] == plan.id, "what was kept has started a plan"
    client.cancel_plan(begun["id"])
    log = "\n".join(s.log_path.read_text(errors="replace") for s in (service.orthanc_server, worker))
    assert str(study.rtstruct.PatientName) not in log
    client.close()
