"""Sessions through both clients: asked under the session's own path, read back, kept or gone."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import anyio
import httpx
import pytest
from radiarch_client import AsyncRadiarch, ConflictError, InvalidRequestError, NotFoundError, Radiarch, RadiarchError
from radiarch_contract.uids import sop_instance_uid

from phantoms import PhantomStudy

from .served import Served


def play_worker(served: Served, session_id: str, plan_id: str) -> bytes:
    """Plan it; its dose."""
    session = next(s for s in served.live_sessions() if s.record.id == session_id)
    return served.plan_in(session, plan_id)


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
        dose = play_worker(served, session.access.id, made.id)
        done = session.poll_until_done(made.id, interval_s=0.01)
        assert done.succeeded
        assert [p.id for p in session.list_plans()] == [done.id]
        assert [c.structure for c in session.dvh(done.id).curves] == ["PTV", "Organ"]
        (result,) = session.results()
        assert (result.plan_id, result.kind) == (done.id, "rtdose")
        (path,) = session.download_outputs(done.id, tmp_path / "out")
        assert path.read_bytes() == session.get_artifact(result.sop_instance_uid) == dose
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
        play_worker(served, session.access.id, made.id)
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
                dose = await anyio.to_thread.run_sync(play_worker, served, session.access.id, made.id)
                assert (await session.poll_until_done(made.id, interval_s=0.01)).succeeded
                assert [p.id async for p in session.list_plans()] == [made.id]
                (path,) = await session.download_outputs(made.id, tmp_path / "out")
                assert path.read_bytes() == dose
                assert (await session.prolong(60)).expires_at < (session.opened or await session.info()).expires_at
            with pytest.raises(NotFoundError):
                await client.resume_session(session.access.id, session.access.secret).info()

    anyio.run(all_of_it)
    assert seen[-1] == len(study.datasets)
