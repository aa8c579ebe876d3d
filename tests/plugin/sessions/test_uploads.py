"""What may be uploaded, how much of it, and what becomes of hostile bodies."""

from __future__ import annotations

import copy
import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import InvalidRequestError, RadiarchError
from radiarch_contract.images import wanted_images
from radiarch_plugin.dicom import images
from radiarch_plugin.dicom.header import read_header
from radiarch_plugin.sessions import MAX_UPLOAD_BYTES, unpack
from radiarch_plugin.settings import SessionSettings

from phantoms import PhantomStudy, box, faults, file_bytes
from tests.plugin.sessions.conftest import Owned, World, left_in, new_study, zipped
from tests.plugin.store.samples import success
from tests.system.processes import wait_for

BOUNDS = unpack.Bounds(files=10, total_bytes=1_000_000, file_bytes=500_000)


@pytest.fixture
def study() -> PhantomStudy:
    return new_study()


def test_files_come_one_by_one_or_zipped_and_twice_is_once(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    first = owned.ask("POST", "/instances", content=file_bytes(study.images[0]))
    assert first.json() == {"stored": 1, "unchanged": 0, "refused": []}
    told = owned.upload(*study.datasets)
    assert told == {"stored": len(study.datasets) - 1, "unchanged": 1, "refused": []}
    answer = owned.get()
    assert answer["instances"] == len(study.datasets)
    assert answer["bytes"] == sum(len(file_bytes(d)) for d in study.datasets)
    assert answer["structure_sets"] == [str(study.rtstruct.SOPInstanceUID)]
    assert {s["modality"]: s["instances"] for s in answer["series"]} == {"CT": len(study.images), "RTSTRUCT": 1}
    assert world.in_orthanc() == 0


def test_another_content_under_the_same_uid_is_refused(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(*study.datasets)
    changed = copy.deepcopy(study.rtstruct)
    changed.StructureSetLabel = "changed"
    answer = owned.ask("POST", "/instances", content=file_bytes(changed))
    assert answer.status_code == 409
    assert str(changed.SOPInstanceUID) in answer.json()["message"]
    assert owned.get()["instances"] == len(study.datasets)


def test_what_is_no_dicom_is_told_and_the_rest_is_stored(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    no_uid = copy.deepcopy(study.images[1])
    del no_uid.SeriesInstanceUID
    broken = file_bytes(study.images[2])[:200]
    body = zipped(b"read me", file_bytes(study.images[0]), file_bytes(no_uid), broken)
    answer = owned.ask("POST", "/instances", content=body).json()
    assert (answer["stored"], [r["file"] for r in answer["refused"]]) == (1, [0, 2, 3])
    assert owned.ask("POST", "/instances", content=zipped(b"read me")).status_code == 422


def test_names_in_an_archive_are_no_paths(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    names = ("../../../../evil", "/etc/evil", "a\\..\\..\\evil", "evil\x01", "..")[: len(study.images)]
    body = zipped(*map(file_bytes, study.images), names=names)
    outside = left_in(world.folder.parent)
    assert owned.ask("POST", "/instances", content=body).json()["stored"] == len(study.images)
    written = set(left_in(world.folder.parent)) - set(outside)
    assert written
    assert all(w.startswith(f"sessions/{owned.id}/data/") for w in written)
    assert not any("evil" in w for w in written)


def bomb() -> bytes:
    """10 MB of zeros in some kilobytes."""
    return zipped(bytes(10_000_000))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(world: World) -> None:
    owned = world.open()
    answer = owned.ask("POST", "/instances", content=bomb())
    assert answer.status_code == 413
    assert owned.get()["instances"] == 0


def test_an_archive_that_lies_about_sizes_gives_no_more_than_it_says() -> None:
    body = bytearray(bomb())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = body.index(signature)
        body[start + at : start + at + 4] = struct.pack("<L", 100)
    (found,) = unpack.unpack(bytes(body), BOUNDS)
    assert isinstance(found[1], InvalidRequestError)


def many_entries() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(1000):
            archive.writestr(str(n), b"")
    return buffer.getvalue()


def with_comment() -> bytes:
    buffer = io.BytesIO(zipped(b"x"))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"comment"
    return buffer.getvalue()


def encrypted() -> bytes:
    body = bytearray(zipped(b"x" * 10))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + at] |= 1
    return bytes(body)


def overlapping() -> bytes:
    """Two entries of the directory for one file."""
    body = zipped(b"x" * 50_000, b"y")
    start = body.index(b"PK\x01\x02")
    entry = body[start : body.index(b"PK\x01\x02", start + 4)]
    directory = entry * 2
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), start, 0)
    return body[:start] + directory + tail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no archive",
        b"PK\x03\x04" + bytes(100),
        zipped(b"x")[:-5],
        many_entries(),
        with_comment(),
        encrypted(),
        overlapping(),
        zipped(b"x" * 50_000)[:60] + b"\xff" * 20 + zipped(b"x" * 50_000)[80:],
        zipped(bytes(600_000)),
    ],
)
def test_hostile_archives_give_refusals(body: bytes) -> None:
    try:
        found = [one for _, one in unpack.unpack(body, BOUNDS)]
    except InvalidRequestError:
        return
    assert all(isinstance(one, InvalidRequestError) for one in found)


def test_the_body_is_bounded_before_it_is_looked_at(world: World) -> None:
    owned = world.open()
    assert owned.ask("POST", "/instances", content=bytes(MAX_UPLOAD_BYTES + 1)).status_code == 413


def test_other_routes_keep_their_own_smaller_bound(world: World) -> None:
    body = b'{"label": "' + b"x" * 9_000_000 + b'"}'
    assert world.http.post(f"{API_PREFIX}/sessions", content=body).status_code == 413


def test_a_deflated_object_is_not_inflated(study: PhantomStudy) -> None:
    ds = copy.deepcopy(study.images[0])
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(RadiarchError) as refused:
        read_header(file_bytes(ds))
    assert refused.value.code == "unsupported_transfer_syntax"


@pytest.mark.parametrize("uid", ["../../x", "1.2.3/4", "1" * 65, "", "١.٢"])
def test_what_is_no_uid_is_refused(study: PhantomStudy, uid: str) -> None:
    ds = copy.deepcopy(study.images[0])
    plain = file_bytes(ds)
    own = str(ds.SOPInstanceUID).encode()
    hostile = plain.replace(own, uid.encode()[: len(own)].ljust(len(own), b"\0"))
    if len(uid) <= 64 and hostile != plain:
        with pytest.raises(InvalidRequestError):
            read_header(hostile)


def test_bounds_hold_for_instances_bytes_and_all_sessions(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    large = copy.deepcopy(study.images[0])

    def sized(megabytes: float) -> bytes:
        large.SOPInstanceUID = large.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        large.PixelData = bytes(int(megabytes * 2**20))
        return file_bytes(large)

    def send(to: Any, data: bytes) -> int:
        status: int = to.ask("POST", "/instances", content=data).status_code
        return status

    assert send(owned, sized(3.5)) == 200
    assert send(owned, zipped(file_bytes(study.images[1]), sized(0.7))) == 413
    assert owned.get()["instances"] == 1, "a request that passes a bound leaves nothing"
    many = []
    for _ in range(world.settings.max_instances):
        many.append(sized(0.0001))
    assert send(owned, zipped(*many)) == 413
    other = world.open()
    assert send(other, sized(3.5)) == 413, "together they would hold more than all sessions may"
    assert owned.ask("DELETE").status_code == 204
    assert send(other, sized(3.5)) == 200


@pytest.mark.parametrize("settings", [SessionSettings(min_free_megabytes=1 << 40)])
def test_the_disk_is_never_filled(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    answer = owned.ask("POST", "/instances", content=file_bytes(study.images[0]))
    assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")


def test_sessions_and_plans_are_bounded_and_labels_plain(world: World, study: PhantomStudy) -> None:
    owned = world.open(label="night run", ttl_s=60)
    assert owned.get()["label"] == "night run"
    owned.upload(*study.datasets)
    for _ in range(world.settings.max_plans):
        owned.plan(study)
    body = {"rtstruct_sop_instance_uid": str(study.rtstruct.SOPInstanceUID), "protocol_id": "box"}
    assert owned.ask("POST", "/plans", json=body).status_code == 409
    for _ in range(world.settings.max_sessions - 1):
        world.open()
    assert world.http.post(f"{API_PREFIX}/sessions", json={}).status_code == 409
    for wrong in (
        {"ttl_s": 0},
        {"ttl_s": True},
        {"ttl_s": "60"},
        {"ttl_s": 1e9},
        {"ttl_s": "NaN"},
        {"label": "é" * 3},
        {"label": "x" * 65},
        {"x": 1},
    ):
        assert world.http.post(f"{API_PREFIX}/sessions", json=wrong).status_code == 422, wrong


def test_a_plan_waits_for_images_that_come_later(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(study.rtstruct, *study.images[1:])
    plan_id = owned.plan(study)
    world.sessions.turn()
    waiting = owned.get(f"/plans/{plan_id}")
    assert (waiting["state"], waiting["missing_instances"]) == ("waiting", 1)
    owned.upload(study.images[0])
    world.sessions.turn()
    assert owned.get(f"/plans/{plan_id}")["state"] == "queued"


@pytest.fixture
def some(monkeypatch: pytest.MonkeyPatch) -> PhantomStudy:
    """A structure set that names only some images of its series; what follows them is waited for a little."""
    monkeypatch.setattr(images, "SETTLE_S", 0.2)
    return faults.naming_only_contoured(box(shape=(10, 12, 12)), "PTV")


def turned(world: World, owned: Owned, plan_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The plan once the condition holds, as sessions' own thread gets there."""

    def seen() -> dict[str, Any] | None:
        world.sessions.turn()
        plan: dict[str, Any] = owned.get(f"/plans/{plan_id}")
        return plan if condition(plan) else None

    return wait_for(seen, "the plan gets there", within_s=20)


def test_images_that_come_after_those_that_are_named_are_planned_on_too(world: World, some: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(some.rtstruct, *some.images)
    plan_id = owned.plan(some)
    assert owned.get(f"/plans/{plan_id}")["state"] == "waiting"  # more of the series may come
    turned(world, owned, plan_id, lambda p: p["state"] == "queued")


@pytest.mark.parametrize("ended", [False, True])
def test_a_series_that_grows_ends_or_marks_its_plan(world: World, some: PhantomStudy, ended: bool) -> None:
    """As outside of sessions: what has not ended is made again, what has is marked."""
    owned = world.open()
    named = wanted_images(some.rtstruct).images
    owned.upload(some.rtstruct, *(i for i in some.images if i.SOPInstanceUID in named))
    plan_id = owned.plan(some)
    turned(world, owned, plan_id, lambda p: p["state"] == "queued")
    session = world.sessions.find(owned.id, owned.secret)
    if ended:
        session.store.attempts.begin(plan_id)
        session.store.attempts.succeed(success(plan_id, session.store.plans.get(plan_id).attempt))
    owned.upload(*(i for i in some.images if i.SOPInstanceUID not in named))
    old = turned(world, owned, plan_id, lambda p: p["superseded_at"] is not None)
    if ended:
        assert (old["state"], old["superseded_by"]) == ("succeeded", None)
    else:
        assert (old["state"], old["error"]["code"]) == ("cancelled", "input_changed")
        turned(world, owned, old["superseded_by"], lambda p: p["state"] == "queued")
    assert len(owned.get("/plans")["items"]) == (1 if ended else 2)
