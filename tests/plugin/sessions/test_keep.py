"""What is kept is in Orthanc and among everybody's plans, starts nothing, and replaces nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from pydicom.dataset import Dataset
from radiarch_contract import API_PREFIX
from radiarch_contract.uids import sop_instance_uid
from radiarch_plugin.intake.trigger import Trigger
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.store import Ownership

from phantoms import PhantomStudy, file_bytes
from tests.plugin.sessions.conftest import Owned, World, new_study


@pytest.fixture
def study() -> PhantomStudy:
    return new_study()


@pytest.fixture
def planned(world: World, study: PhantomStudy) -> tuple[Owned, str]:
    owned = world.open()
    owned.upload(*study.datasets)
    return owned, world.succeed(owned, study)


@pytest.fixture
def trigger(world: World) -> Iterator[Trigger]:
    """What makes plans of arrivals, from now on."""
    ownership = Ownership(world.store.database)
    protocols = world.runtime.protocols
    assert protocols is not None
    made = Trigger(world.store, OrthancClient(world.rest), ownership, lambda: protocols, lambda: None)
    made.turn()
    yield made
    ownership.release()


def test_results_and_inputs_are_kept_with_their_record(
    world: World, study: PhantomStudy, planned: tuple[Owned, str], trigger: Trigger
) -> None:
    owned, plan_id = planned
    answer = owned.ask("POST", "/keep", json={"inputs": True})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["plans"] == [plan_id]
    wanted = {str(d.SOPInstanceUID) for d in study.datasets} | {
        sop_instance_uid(plan_id, kind) for kind in ("rtdose", "rtplan")
    }
    assert {o["sop_instance_uid"] for o in told["objects"]} == wanted
    assert all(o["new"] for o in told["objects"])
    assert world.in_orthanc() == len(wanted)
    trigger.turn()
    (only,) = world.http.get(f"{API_PREFIX}/plans").json()["items"]
    assert only["id"] == plan_id, "what was kept has started a plan"
    (arrival,) = world.http.get(f"{API_PREFIX}/arrivals").json()["items"]
    assert (arrival["state"], arrival["plan_id"]) == ("planned", plan_id)
    assert owned.ask("DELETE").status_code == 204
    world.sessions.turn()
    plan = world.http.get(f"{API_PREFIX}/plans/{plan_id}").json()
    stored = {o["sop_instance_uid"]: o["orthanc_id"] for o in plan["outputs"]}
    assert stored == {
        o["sop_instance_uid"]: o["orthanc_id"] for o in told["objects"] if o["sop_instance_uid"] in stored
    }
    data = world.http.get(f"{API_PREFIX}/artifacts/{sop_instance_uid(plan_id, 'rtdose')}").content
    assert data == world.orthanc.get(f"/instances/{stored[sop_instance_uid(plan_id, 'rtdose')]}/file").content
    assert world.http.get(f"{API_PREFIX}/jobs/{plan_id}/log").json()["lines"] == ["a line of the log"]


def test_keeping_twice_changes_nothing(world: World, planned: tuple[Owned, str]) -> None:
    owned, plan_id = planned
    first = owned.ask("POST", "/keep", json={"plans": [plan_id]}).json()
    again = owned.ask("POST", "/keep", json={"plans": [plan_id]}).json()
    assert [o | {"new": True} for o in again["objects"]] == first["objects"]
    assert not any(o["new"] for o in again["objects"])
    assert len(first["objects"]) == 2
    assert len(world.http.get(f"{API_PREFIX}/plans").json()["items"]) == 1


def test_orthancs_objects_are_never_replaced(world: World, study: PhantomStudy, planned: tuple[Owned, str]) -> None:
    owned, _ = planned
    other = copy.deepcopy(study.images[1])
    other.PixelData = bytes(len(other.PixelData))
    store(world, other)
    before = world.in_orthanc()
    answer = owned.ask("POST", "/keep", json={"inputs": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert world.in_orthanc() == before
    assert world.http.get(f"{API_PREFIX}/plans").json()["items"] == []
    assert owned.ask("POST", "/keep", json={}).status_code == 200


def store(world: World, dataset: Dataset) -> None:
    world.orthanc.post("/instances", content=file_bytes(dataset)).raise_for_status()


class Failing(HttpRest):
    """An Orthanc that is away after some objects."""

    left = 2

    def post(self, path: str, body: bytes) -> bytes:
        if path == "/instances":
            self.left -= 1
            if self.left < 0:
                return json.dumps({"Status": "FilteredOut", "ID": ""}).encode()
        return super().post(path, body)


def test_what_cannot_be_kept_whole_is_not_kept_at_all(
    world: World, planned: tuple[Owned, str], orthanc_url: str
) -> None:
    owned, _ = planned
    services = world.runtime.services
    assert services is not None
    failing = Failing(orthanc_url)
    world.runtime.services = replace(services, orthanc=OrthancClient(failing))
    answer = owned.ask("POST", "/keep", json={"inputs": True})
    assert (answer.status_code, answer.json()["code"]) == (503, "store_failed")
    world.runtime.services = services
    failing.close()
    assert world.in_orthanc() == 0
    assert world.http.get(f"{API_PREFIX}/plans").json()["items"] == []
    assert world.http.get(f"{API_PREFIX}/arrivals").json()["items"] == []
    assert owned.ask("POST", "/keep", json={"inputs": True}).status_code == 200


def test_only_what_has_succeeded_can_be_kept(world: World, study: PhantomStudy) -> None:
    owned = world.open()
    owned.upload(*study.datasets)
    plan_id = owned.plan(study)
    assert owned.ask("POST", "/keep", json={}).status_code == 409
    assert owned.ask("POST", "/keep", json={"plans": [plan_id]}).status_code == 409
    assert owned.ask("POST", "/keep", json={"plans": ["0" * 32]}).status_code == 404


def test_a_session_names_objects_as_orthanc_does(world: World, study: PhantomStudy, orthanc: httpx.Client) -> None:
    owned = world.open()
    owned.upload(study.rtstruct)
    own = owned.get(f"/structure-sets/{study.rtstruct.SOPInstanceUID}")["orthanc_id"]
    assert orthanc.post("/instances", content=file_bytes(study.rtstruct)).json()["ID"] == own
