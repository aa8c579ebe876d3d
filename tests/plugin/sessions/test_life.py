"""Sessions end: when their time is over, when they are told to, and across restarts; then nothing of them is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from radiarch_contract import API_PREFIX, transport
from radiarch_contract.errors import ServiceError
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind
from radiarch_contract.uids import sop_instance_uid
from radiarch_plugin.sessions import Sessions
from radiarch_plugin.sessions.ended import WAIT
from radiarch_plugin.store.store import steady_clock

from phantoms import PhantomStudy, file_bytes
from tests.plugin.sessions.conftest import Owned, World, left_in, new_study, result, text_of

HOUR = timedelta(hours=1)


@pytest.fixture
def study() -> PhantomStudy:
    return new_study()


@pytest.fixture
def running(world: World, study: PhantomStudy) -> tuple[Owned, JobSpec]:
    """A session whose plan a worker has begun."""
    owned = world.open(ttl_s=600)
    owned.upload(*study.datasets)
    spec = world.spec(owned.plan(study))
    world.begin(spec)
    world.sessions.turn()
    assert owned.get(f"/plans/{spec.plan_id}")["state"] == "running"
    return owned, spec


def fence(world: World, plan_id: str) -> bytes | None:
    found = world.redis.get(transport.fence_key(plan_id))
    assert found is None or isinstance(found, bytes)
    return found


def assert_nothing_left(world: World, owned: Owned, spec: JobSpec) -> None:
    assert not owned.folder.exists()
    assert left_in(world.folder) == []
    held = text_of(world.redis)
    assert "SECRET-PATIENT" not in held
    assert "Secret" not in held
    assert fence(world, spec.plan_id) == b"cancelled", "a worker that comes late must find it shut"
    assert held.count(spec.plan_id) == 1
    assert world.in_orthanc() == 0


def test_a_session_expires_in_the_middle_of_a_plan(
    world: World, study: PhantomStudy, running: tuple[Owned, JobSpec]
) -> None:
    owned, spec = running
    assert fence(world, spec.plan_id) == b"1"
    world.ahead = timedelta(seconds=601)
    assert owned.ask("GET").status_code == 404, "before anybody has deleted anything"
    assert world.as_worker(spec, "POST", "/tools/find", json={}).status_code == 404
    world.sessions.turn()
    assert fence(world, spec.plan_id) == b"cancelled"
    assert left_in(world.folder) == [f"{owned.id}/ended.json"]
    assert "SECRET-PATIENT" not in (owned.folder / "ended.json").read_text()
    # the worker sees its fence, ends the engines and says so
    world.redis.set(
        transport.result_key(spec.plan_id, 1), f'{{"plan_id": "{spec.plan_id}", "attempt": 1, "error": null}}'
    )
    world.sessions.turn()
    assert_nothing_left(world, owned, spec)


def test_a_worker_that_never_answers_is_not_waited_for_long(world: World, running: tuple[Owned, JobSpec]) -> None:
    owned, spec = running
    assert owned.ask("DELETE").status_code == 204
    world.sessions.turn()
    assert owned.folder.exists()
    world.ahead = WAIT + timedelta(seconds=1)
    world.sessions.turn()
    assert_nothing_left(world, owned, spec)


def test_a_queued_plan_is_withdrawn_at_once(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(*study.datasets)
    spec = world.spec(owned.plan(study))
    assert "SECRET-PATIENT" in text_of(world.redis)
    assert owned.ask("DELETE").status_code == 204
    assert owned.ask("GET").status_code == 404
    world.sessions.turn()
    assert_nothing_left(world, owned, spec)


def test_results_leave_redis_with_their_session(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(*study.datasets)
    spec = world.spec(owned.plan(study))
    world.begin(spec)
    world.finish(spec, study)
    owned.ask("DELETE")
    world.sessions.turn()
    assert_nothing_left(world, owned, spec)


def test_a_restart_takes_sessions_up_again(world: World, study: PhantomStudy, running: tuple[Owned, JobSpec]) -> None:
    owned, spec = running
    world.restart()
    answer = owned.get()
    assert answer["instances"] == len(study.datasets)
    assert answer["plans"] == {"running": 1}
    world.finish(spec, study)
    assert owned.get(f"/plans/{spec.plan_id}")["state"] == "succeeded"
    dose = owned.ask("GET", f"/artifacts/{sop_instance_uid(spec.plan_id, 'rtdose')}")
    assert dose.content == file_bytes(result(spec.plan_id, OutputKind.RTDOSE, study))


def test_what_expired_while_orthanc_was_down_ends_at_its_start(world: World, running: tuple[Owned, JobSpec]) -> None:
    owned, spec = running
    world.sessions.close()
    world.ahead = HOUR
    world.start_sessions()
    assert owned.ask("GET").status_code == 404
    world.sessions.turn()
    assert fence(world, spec.plan_id) == b"cancelled"
    assert left_in(world.folder) == [f"{owned.id}/ended.json"]


def test_an_end_that_was_interrupted_goes_on_after_a_restart(world: World, running: tuple[Owned, JobSpec]) -> None:
    owned, spec = running
    owned.ask("DELETE")
    # as where the process was killed before it had deleted anything
    (owned.folder / "data").mkdir()
    (owned.folder / "data" / "left").write_text("SECRET-PATIENT")
    world.restart()
    assert left_in(world.folder) == [f"{owned.id}/ended.json"]
    world.sessions.turn()
    assert fence(world, spec.plan_id) == b"cancelled"
    world.ahead = HOUR
    world.sessions.turn()
    assert_nothing_left(world, owned, spec)


def test_half_written_files_do_not_survive_a_restart(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(*study.datasets)
    files = owned.folder / "data" / "instances"
    (files / "00000099").write_bytes(b"written, but not in the table")
    (files / "00000001").write_bytes(b"in the table, but not whole")
    (world.folder / "half-made").mkdir()
    world.restart()
    assert owned.get()["instances"] == len(study.datasets) - 1
    assert len(list(files.iterdir())) == len(study.datasets) - 1
    assert not (world.folder / "half-made").exists()
    assert owned.upload(*study.datasets)["stored"] == 1


def test_a_session_may_live_longer_or_less_long(world: World) -> None:
    owned = world.open(ttl_s=100)
    assert owned.ask("PUT", json={"ttl_s": 10_000}).status_code == 200
    world.restart()
    world.ahead = HOUR
    assert owned.ask("GET").status_code == 200
    too_long = owned.ask("PUT", json={"ttl_s": world.settings.max_ttl_s})
    assert too_long.status_code == 422, "counted from its creation"
    assert owned.ask("PUT", json={"ttl_s": 5}).status_code == 200
    world.ahead += timedelta(seconds=6)
    assert owned.ask("GET").status_code == 404


def test_a_cancelled_plan_leaves_no_result_in_the_session(
    world: World, study: PhantomStudy, running: tuple[Owned, JobSpec]
) -> None:
    owned, spec = running
    dose = file_bytes(result(spec.plan_id, OutputKind.RTDOSE, study))
    assert world.as_worker(spec, "POST", "/instances", content=dose).json()["Status"] == "Success"
    assert owned.ask("DELETE", f"/plans/{spec.plan_id}").json()["state"] == "cancelled"
    assert world.as_worker(spec, "POST", "/instances", content=dose).status_code == 404
    world.redis.set(
        transport.result_key(spec.plan_id, 1), f'{{"plan_id": "{spec.plan_id}", "attempt": 1, "error": null}}'
    )
    world.sessions.turn()
    assert owned.get("/results")["items"] == []
    assert {s["modality"] for s in owned.get()["series"]} == {"CT", "RTSTRUCT"}


def test_a_worker_reaches_its_own_plans_results_only(
    world: World, study: PhantomStudy, running: tuple[Owned, JobSpec]
) -> None:
    owned, spec = running
    uid = str(study.images[0].SOPInstanceUID)
    found = world.as_worker(
        spec, "POST", "/tools/find", json={"Level": "Instance", "Query": {"SOPInstanceUID": f"{uid}\\1.2"}}
    ).json()
    assert [f["MainDicomTags"]["SOPInstanceUID"] for f in found] == [uid]
    path = f"/instances/{found[0]['ID']}"
    assert world.as_worker(spec, "GET", f"{path}/file").content == file_bytes(study.images[0])
    assert world.as_worker(spec, "DELETE", path).status_code == 404, "a worker deletes nothing"
    assert world.as_worker(spec, "PUT", f"{path}/attachments/1101", content=b"x").status_code == 409
    foreign = file_bytes(new_study().images[0])
    assert world.as_worker(spec, "POST", "/instances", content=foreign).status_code == 409
    for query in ({}, {"PatientName": "*"}, {"SOPInstanceUID": uid, "Other": "x"}):
        asked = {"Level": "Instance", "Query": query}
        assert world.as_worker(spec, "POST", "/tools/find", json=asked).status_code == 422, query
    second = world.spec(owned.plan(study))
    assert second.session is not None
    assert spec.session is not None
    own = spec.session.token
    of_another_attempt = own.replace(".1.", ".2.", 1)
    for token in (
        second.session.token.replace(second.plan_id, spec.plan_id),
        of_another_attempt,
        spec.plan_id,
        "",
        owned.secret,
    ):
        stolen = spec.model_copy(update={"session": spec.session.model_copy(update={"token": token})})
        assert world.as_worker(stolen, "GET", f"{path}/file").status_code == 404


def test_two_orthancs_do_not_share_a_folder(world: World) -> None:
    with pytest.raises(ServiceError) as refused:
        Sessions(world.folder, world.settings, world.queue_redis).open()
    assert "another Orthanc" in refused.value.info.message


def test_sessions_that_are_switched_off_are_told(world: World) -> None:
    services = world.runtime.services
    assert services is not None
    world.runtime.services = replace(services, sessions=None)
    assert world.http.post(f"{API_PREFIX}/sessions", json={}).status_code == 503


@pytest.mark.parametrize("days", [1, -1, 400])
def test_a_wall_clock_that_is_set_ends_no_session_and_keeps_none(days: float) -> None:
    wall, monotonic = datetime(2026, 1, 1, tzinfo=UTC), 50.0
    now = steady_clock(lambda: wall, lambda: monotonic)
    began = now()
    wall += timedelta(days=days)
    assert now() == began
    monotonic += 3600.0
    assert now() == began + timedelta(hours=1)
