"""Sessions through both clients: asked under the session's own path, read back, kept or gone."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import anyio
import httpx
import pytest
from pydicom.uid import UID
from radiarch_client import AsyncRadiarch, ConflictError, InvalidRequestError, NotFoundError, Radiarch, RadiarchError
from radiarch_contract.states import OutputKind, PlanState
from radiarch_contract.uids import SOP_CLASS_UIDS, series_instance_uid, sop_instance_uid
from radiarch_plugin.sessions.header import read_header

from tests.phantoms import PhantomStudy, box

from .served import Served


@pytest.fixture
def study(tmp_path: Path) -> PhantomStudy:
    made = box(shape=(6, 16, 16), spacing_mm=(8.0, 8.0, 8.0), patient_id="SESSION-BOX")
    made.save(tmp_path / "case")
    (tmp_path / "case" / "notes.txt").write_text("no DICOM")
    return made


def dose_of(plan_id: str, study: PhantomStudy) -> bytes:
    """An object with the identity of a plan's dose."""
    made = study.images[0].copy()
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(SOP_CLASS_UIDS[OutputKind.RTDOSE])
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid(plan_id, "rtdose"))
    made.SeriesInstanceUID, made.Modality = series_instance_uid(plan_id, "rtdose"), "RTDOSE"
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def play_worker(served: Served, session_id: str, plan_id: str, study: PhantomStudy) -> None:
    """Plan it, with one result."""
    session = next(s for s in served.live_sessions() if s.record.id == session_id)
    served.sessions.turn()
    assert session.store.plans.get(plan_id).state == PlanState.QUEUED
    inside = served.within(session)
    inside.start(plan_id)
    data = dose_of(plan_id, study)
    with session.catalog.adding(plan_id) as batch:
        batch.add(read_header(data), data)
    inside.succeed(plan_id, dose_orthanc_id=read_header(data).orthanc_id)


def uids_in_orthanc(client: Radiarch, study: PhantomStudy) -> set[str | None]:
    found = client.orthanc.instances(StudyInstanceUID=str(study.rtstruct.StudyInstanceUID))
    return {r.tag("SOPInstanceUID") for r in found}


def test_a_session_from_folder_to_result(client: Radiarch, served: Served, study: PhantomStudy, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with client.session(ttl_s=600, label="one") as session:
        assert session.opened is not None
        assert session.opened.limits.max_plans == 4
        told = session.upload_folder(tmp_path / "case", progress=lambda done, all_: seen.append((done, all_)))
        assert (told.stored, told.unchanged) == (len(study.datasets), 0)
        assert seen[-1] == (len(study.datasets), len(study.datasets))
        assert session.upload_folder(tmp_path / "case").unchanged == len(study.datasets)
        assert session.structure_set() == str(study.rtstruct.SOPInstanceUID)
        made = session.create_plan(session.structure_set(), protocol="test-box", idempotency_key="once")
        assert session.create_plan(session.structure_set(), protocol="test-box", idempotency_key="once").id == made.id
        play_worker(served, session.access.id, made.id, study)
        done = session.poll_until_done(made.id, interval_s=0.01)
        assert done.succeeded
        assert [p.id for p in session.list_plans()] == [done.id]
        assert [c.structure for c in session.dvh(done.id).curves] == ["PTV", "Organ"]
        (result,) = session.results()
        assert (result.plan_id, result.kind) == (done.id, "rtdose")
        (path,) = session.download_outputs(done.id, tmp_path / "out")
        assert path.read_bytes() == session.get_artifact(result.sop_instance_uid) == dose_of(done.id, study)
        assert session.info().plans == {"succeeded": 1}
        with pytest.raises(NotFoundError):
            client.get_plan(done.id)
        assert done.id not in {p.id for p in client.list_plans()}
        assert uids_in_orthanc(client, study) == set()
    with pytest.raises(NotFoundError, match="session"):
        session.info()
    session.end()  # again is no error
    assert uids_in_orthanc(client, study) == set()


def test_what_is_kept_stays(client: Radiarch, served: Served, study: PhantomStudy, tmp_path: Path) -> None:
    with client.session() as session:
        session.upload_folder(tmp_path / "case")
        made = session.create_plan(session.structure_set(), protocol="test-box")
        with pytest.raises(ConflictError):
            session.keep()
        play_worker(served, session.access.id, made.id, study)
        kept = session.keep()
        assert kept.plans == (made.id,)
        assert [(k.sop_instance_uid, k.new) for k in kept.objects] == [(sop_instance_uid(made.id, "rtdose"), True)]
        assert not session.keep([made.id]).objects[0].new
    assert client.get_plan(made.id).succeeded
    assert uids_in_orthanc(client, study) == {sop_instance_uid(made.id, "rtdose")}
    (patient,) = client.orthanc.patients(PatientID="SESSION-BOX")
    httpx.delete(f"{served.orthanc_url}/patients/{patient.id}", trust_env=False).raise_for_status()


def test_only_the_secret_opens_it(client: Radiarch) -> None:
    session = client.session()
    access = session.access
    assert access.secret not in repr(access)
    assert client.resume_session(access.id, access.secret).info().id == access.id
    stranger = client.resume_session(access.id, "guess")
    for asked in (stranger.info, stranger.results, lambda: list(stranger.list_plans())):
        with pytest.raises(NotFoundError):
            asked()
    stranger.end()  # says nothing of whether there is one, and ends nothing
    assert session.info().id == access.id
    session.end()


def test_what_is_refused_of_a_folder_is_named_by_its_file(
    client: Radiarch, study: PhantomStudy, tmp_path: Path
) -> None:
    bad = tmp_path / "case" / "broken.dcm"
    bad.write_bytes(b"\0" * 128 + b"DICM" + b"\1\2\3")
    with client.session() as session, pytest.raises(InvalidRequestError, match=r"broken\.dcm"):
        session.upload_folder(tmp_path / "case")
    with client.session() as session, pytest.raises(InvalidRequestError, match="0 structure sets"):
        session.structure_set()


def test_an_archive_of_ones_own(client: Radiarch, study: PhantomStudy, tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in (tmp_path / "case").rglob("*.dcm"):
            archive.write(path)
    with client.session() as session:
        assert session.upload(buffer.getvalue()).stored == len(study.datasets)


def _broken(_: httpx.Request) -> httpx.Response:
    return httpx.Response(500)


def test_an_error_in_the_block_is_told_before_one_of_its_end(served: Served) -> None:
    class OwnError(Exception):
        pass

    lost = Radiarch(served.url, transport=httpx.MockTransport(_broken)).resume_session("a" * 32, "s")
    with pytest.raises(OwnError), lost:
        raise OwnError
    with pytest.raises(RadiarchError), lost:
        pass


def test_the_async_client_does_the_same(served: Served, study: PhantomStudy, tmp_path: Path) -> None:
    seen: list[int] = []

    async def note(done: int, _: int) -> None:
        seen.append(done)

    async def all_of_it() -> None:
        async with AsyncRadiarch(served.url) as client:
            async with await client.session() as session:
                await session.upload_folder(tmp_path / "case", progress=note)
                made = await session.create_plan(await session.structure_set(), protocol="test-box")
                await anyio.to_thread.run_sync(play_worker, served, session.access.id, made.id, study)
                assert (await session.poll_until_done(made.id, interval_s=0.01)).succeeded
                assert [p.id async for p in session.list_plans()] == [made.id]
                (path,) = await session.download_outputs(made.id, tmp_path / "out")
                assert path.read_bytes() == dose_of(made.id, study)
                assert (await session.prolong(60)).expires_at < (session.opened or await session.info()).expires_at
            with pytest.raises(NotFoundError):
                await client.resume_session(session.access.id, session.access.secret).info()

    anyio.run(all_of_it)
    assert seen[-1] == len(study.datasets)
