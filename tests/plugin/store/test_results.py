"""Results go into Orthanc for the attempt that counts, whatever a late one does, and whenever: on a real Orthanc."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from radiarch_contract.errors import ConflictError, ErrorCode, RadiarchError, ServiceError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.job import Output
from radiarch_contract.states import OutputKind, PlanState
from radiarch_plugin.jobs.inputs import Inputs
from radiarch_plugin.jobs.results import Results
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.store import Store, open_database

from phantoms import PhantomStudy, box, file_bytes
from tests.plugin.sessions.conftest import result
from tests.plugin.store.samples import failure, new_plan, outputs, success
from tests.system.processes import FRESH, Server

KIND = OutputKind.RTDOSE


class World:
    """Orthanc with a study, and a plan on it whose first attempt has begun."""

    def __init__(self, url: str, store: Store) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, verify=False, limits=FRESH)
        self.rest = HttpRest(url)
        self.orthanc = OrthancClient(self.rest)
        self.store = store
        self.now = 0.0
        self.inputs = Inputs(store, self.orthanc, lambda: self.now)
        self.results = Results(store, self.orthanc, inputs=self.inputs)
        self.study = box(shape=(3, 12, 12), patient_id="RESULTS")
        for dataset in self.study.datasets:
            self.put(file_bytes(dataset))
        self.plan_id = self.new_plan(self.study)

    def new_plan(self, study: PhantomStudy) -> str:
        plan, _ = self.store.plans.create(
            new_plan(
                patient_id=str(study.rtstruct.PatientID),
                rtstruct_sop_instance_uid=str(study.rtstruct.SOPInstanceUID),
                image_uids=tuple(str(i.SOPInstanceUID) for i in study.images),
            )
        )
        assert self.store.attempts.begin(plan.id) is not None
        return plan.id

    def put(self, data: bytes) -> str:
        orthanc_id: str = self.http.post("/instances", content=data).raise_for_status().json()["ID"]
        return orthanc_id

    def dose(self, of: str, kind: OutputKind = KIND) -> bytes:
        """A result with the plan's identity, and a content by which it is told."""
        made: Dataset = result(self.plan_id, kind, self.study)
        made.SeriesDescription = of
        return file_bytes(made)

    def stored(self, kind: OutputKind = KIND) -> list[str]:
        """Contents under the result's UID."""
        uid = next(o.sop_instance_uid for o in outputs(self.plan_id) if o.kind is kind)
        ids = self.orthanc.find_instances([uid]).get(uid, ())
        return [pydicom.dcmread(BytesIO(self.orthanc.instance_file(i))).SeriesDescription for i in ids]

    def next_attempt(self) -> None:
        assert self.store.attempts.retry(self.plan_id, 1, error=failure())
        assert self.store.attempts.begin(self.plan_id) is not None

    def output(self, orthanc_id: str, data: bytes) -> Output:
        (made,) = [o for o in outputs(self.plan_id) if o.kind is KIND]
        sha256 = dataset_sha256(pydicom.dcmread(BytesIO(data)))
        return made.model_copy(update={"orthanc_id": orthanc_id, "sha256": sha256})

    def close(self) -> None:
        self.http.close()
        self.rest.close()


@pytest.fixture(params=["overwriting", "keeping"])
def url(request: pytest.FixtureRequest) -> str:
    """Of an Orthanc that replaces what is sent again, or of one that keeps what it has."""
    name = {"overwriting": "orthanc_server", "keeping": "keeping_orthanc_server"}[request.param]
    server: tuple[Server, str] = request.getfixturevalue(name)
    return server[1]


@pytest.fixture
def world(url: str, sqlite_store: Store) -> Iterator[World]:
    made = World(url, sqlite_store)
    yield made
    for patient in made.http.get("/patients").json():
        made.http.delete(f"/patients/{patient}")
    made.close()


def refused(call: Any) -> RadiarchError:
    with pytest.raises(RadiarchError) as caught:
        call()
    return caught.value


class Held:
    """Storing that waits, between the look at the attempt and Orthanc, until it is let go."""

    def __init__(self, world: World, *, after: bool = False) -> None:
        self._world, self._after = world, after
        self.reached, self.go = threading.Event(), threading.Event()
        self.results = Results(world.store, world.orthanc, inputs=world.inputs, put=self._put)

    def _put(self, plan_id: str, data: bytes) -> str:
        orthanc_id = self._world.orthanc.store(data) if self._after else None
        self.reached.set()
        assert self.go.wait(30)
        return orthanc_id or self._world.orthanc.store(data)


class Caller(threading.Thread):
    """Stores in a thread of its own, and keeps the error."""

    def __init__(self, results: Results, plan_id: str, attempt: int, data: bytes) -> None:
        super().__init__(daemon=True)
        self.error: RadiarchError | None = None
        self._results, self._asked = results, (plan_id, attempt, data)
        self.start()

    def run(self) -> None:
        try:
            self._results.store(*self._asked)
        except RadiarchError as e:
            self.error = e


class TestStoring:
    def test_a_repeat_changes_nothing(self, world: World) -> None:
        first = world.results.store(world.plan_id, 1, world.dose("one"))
        changes = world.http.get("/changes?last").json()["Last"]
        assert world.results.store(world.plan_id, 1, world.dose("one")) == (first[0], False)
        assert world.http.get("/changes?last").json()["Last"] == changes
        assert first[1] is True

    def test_what_an_earlier_attempt_has_stored_is_replaced(self, world: World) -> None:
        world.results.store(world.plan_id, 1, world.dose("one"))
        world.next_attempt()
        world.results.store(world.plan_id, 2, world.dose("two"))
        assert world.stored() == ["two"]

    def test_a_stale_attempt_stores_nothing(self, world: World) -> None:
        world.next_attempt()
        world.results.store(world.plan_id, 2, world.dose("two"))
        error = refused(lambda: world.results.store(world.plan_id, 1, world.dose("one")))
        assert isinstance(error, ConflictError)
        assert error.code is ErrorCode.CANCELLED
        assert world.stored() == ["two"]

    @pytest.mark.parametrize("how", ["cancelled", "failed", "succeeded", "between attempts"])
    def test_nothing_is_stored_for_an_attempt_that_is_over(self, world: World, how: str) -> None:
        match how:
            case "cancelled":
                world.store.plans.cancel(world.plan_id)
            case "failed":
                world.store.attempts.fail(world.plan_id, 1, failure())
            case "succeeded":
                world.store.attempts.succeed(success(world.plan_id, 1))
            case _:
                world.store.attempts.retry(world.plan_id, 1, error=failure())
        assert refused(lambda: world.results.store(world.plan_id, 1, world.dose("late"))).code is ErrorCode.CANCELLED
        assert world.stored() == []

    def test_what_is_none_of_the_plans_results_is_refused(self, world: World) -> None:
        image = file_bytes(world.study.images[0])
        assert isinstance(refused(lambda: world.results.store(world.plan_id, 1, image)), ConflictError)
        foreign = next(iter(world.orthanc.find_instances([str(world.study.images[0].SOPInstanceUID)]).values()))[0]
        error = refused(lambda: world.results.attach(world.plan_id, 1, foreign, 1101, b"x"))
        assert isinstance(error, ConflictError)

    def test_a_picture_is_kept_beside_a_result_of_the_attempt_that_counts(self, world: World) -> None:
        orthanc_id, _ = world.results.store(world.plan_id, 1, world.dose("one"))
        world.results.attach(world.plan_id, 1, orthanc_id, 1101, b"a picture")
        assert world.orthanc.attachment(orthanc_id, 1101) == b"a picture"
        world.next_attempt()
        error = refused(lambda: world.results.attach(world.plan_id, 1, orthanc_id, 1101, b"another"))
        assert error.code is ErrorCode.CANCELLED


@pytest.mark.parametrize("after", [False, True], ids=["before Orthanc has it", "after Orthanc has it"])
class TestTheWindow:
    """The stale attempt was let through, and is held while everything else happens."""

    def test_another_attempt_stores_meanwhile(self, world: World, after: bool) -> None:
        held = Held(world, after=after)
        stale = Caller(held.results, world.plan_id, 1, world.dose("one"))
        assert held.reached.wait(30)
        world.next_attempt()
        newest = Caller(world.results, world.plan_id, 2, world.dose("two"))
        newest.join(0.5)
        assert newest.is_alive(), "it waits for the one before"
        held.go.set()
        stale.join(30)
        newest.join(30)
        assert stale.error is not None
        assert stale.error.code is ErrorCode.CANCELLED
        assert newest.error is None
        assert world.stored() == ["two"]

    def test_the_plan_ends_meanwhile(self, world: World, after: bool) -> None:
        held = Held(world, after=after)
        stale = Caller(held.results, world.plan_id, 1, world.dose("one"))
        assert held.reached.wait(30)
        world.store.plans.cancel(world.plan_id)
        removal = threading.Thread(target=world.results.remove, args=(world.plan_id,), daemon=True)
        removal.start()
        held.go.set()
        stale.join(30)
        removal.join(30)
        assert stale.error is not None
        assert world.stored() == []

    def test_the_study_is_deleted_meanwhile(self, world: World, after: bool) -> None:
        held = Held(world, after=after)
        stale = Caller(held.results, world.plan_id, 1, world.dose("one"))
        assert held.reached.wait(30)
        for patient in world.http.get("/patients").json():
            world.http.delete(f"/patients/{patient}").raise_for_status()
        held.go.set()
        stale.join(30)
        assert isinstance(stale.error, ServiceError), "what becomes of the plan is decided by whoever looks at inputs"
        assert world.http.get("/patients").json() == [], "nothing of it has come back"

    def test_orthanc_was_killed_meanwhile_and_the_plan_has_ended(self, world: World, after: bool) -> None:
        """The plugin ends with Orthanc, between storing and looking again: the end's own cleaning up is left."""
        if after:
            world.orthanc.store(world.dose("one"))
        world.store.plans.cancel(world.plan_id)
        assert [p.id for p in world.store.attempts.ended_unclean()] == [world.plan_id]
        world.results.remove(world.plan_id)
        assert world.stored() == []


class TestAsking:
    def test_what_is_there_as_it_was_stored(self, world: World) -> None:
        data = world.dose("one")
        orthanc_id, _ = world.results.store(world.plan_id, 1, data)
        assert world.results.missing([world.output(orthanc_id, data)]) == []

    @pytest.mark.parametrize("how", ["never stored", "deleted", "replaced", "moved to another patient", "twice"])
    def test_what_is_not(self, world: World, how: str) -> None:
        data = world.dose("one")
        output = world.output("0" * 8 + "-00000000" * 4, data)
        if how != "never stored":
            orthanc_id, _ = world.results.store(world.plan_id, 1, data)
            output = world.output(orthanc_id, data)
        if how in ("deleted", "replaced", "moved to another patient"):
            world.http.delete(f"/instances/{output.orthanc_id}").raise_for_status()
        if how == "replaced":
            world.put(world.dose("two"))
        elif how in ("moved to another patient", "twice"):
            copied = pydicom.dcmread(BytesIO(data))
            copied.PatientID = "SOMEBODY"
            world.put(file_bytes(copied))
        (wrong,) = world.results.missing([output])
        assert output.sop_instance_uid in wrong

    def test_nothing_of_a_plan_that_has_succeeded_is_removed(self, world: World) -> None:
        world.results.store(world.plan_id, 1, world.dose("one"))
        world.store.attempts.succeed(success(world.plan_id, 1))
        world.results.remove(world.plan_id)
        assert world.store.plans.get(world.plan_id).state is PlanState.SUCCEEDED
        assert world.stored() == ["one"]


class TestInputs:
    @pytest.mark.parametrize("what", ["the structure set", "one image", "the series", "the study", "the patient"])
    def test_what_was_deleted_is_told_and_sure_after_a_moment(self, world: World, what: str) -> None:
        assert world.inputs.gone(world.plan_id) is None
        rtstruct = world.orthanc.find_instance(str(world.study.rtstruct.SOPInstanceUID))
        image = world.orthanc.find_instance(str(world.study.images[-1].SOPInstanceUID))
        series = world.http.get(f"/instances/{image}").json()["ParentSeries"]
        study = world.http.get(f"/series/{series}").json()["ParentStudy"]
        patient = world.http.get(f"/studies/{study}").json()["ParentPatient"]
        path = {
            "the structure set": f"instances/{rtstruct}",
            "one image": f"instances/{image}",
            "the series": f"series/{series}",
            "the study": f"studies/{study}",
            "the patient": f"patients/{patient}",
        }[what]
        world.http.delete(f"/{path}").raise_for_status()
        gone = world.inputs.gone(world.plan_id)
        assert gone is not None
        assert not gone.sure
        world.now += 2
        gone = world.inputs.gone(world.plan_id)
        assert gone is not None
        assert gone.sure
        images_only = what in ("one image", "the series")
        assert gone.error.code is (ErrorCode.MISSING_INSTANCES if images_only else ErrorCode.INPUT_CHANGED)
        assert "deleted" in gone.error.message
        world.inputs.cancel(world.plan_id, gone)
        plan = world.store.plans.get(world.plan_id)
        assert (plan.state, plan.error) == (PlanState.CANCELLED, gone.error)
        assert world.inputs.gone(world.plan_id) is None, "it has ended"

    def test_what_is_back_after_a_moment_was_not_deleted(self, world: World) -> None:
        data = file_bytes(world.study.rtstruct)
        orthanc_id = world.orthanc.find_instance(str(world.study.rtstruct.SOPInstanceUID))
        world.http.delete(f"/instances/{orthanc_id}").raise_for_status()
        assert world.inputs.gone(world.plan_id) is not None
        world.put(data)
        assert world.inputs.gone(world.plan_id) is None
        world.now += 2
        world.http.delete(f"/instances/{orthanc_id}").raise_for_status()
        gone = world.inputs.gone(world.plan_id)
        assert gone is not None
        assert not gone.sure, "its time has begun anew"

    def test_another_patients_copy_is_not_it(self, world: World) -> None:
        for dataset in world.study.datasets:
            copied = dataset.copy()
            copied.PatientID = "SOMEBODY"
            world.put(file_bytes(copied))
        assert world.inputs.gone(world.plan_id) is None
        ours = [p for p in world.http.get("/patients?expand").json() if p["MainDicomTags"]["PatientID"] == "RESULTS"]
        world.http.delete(f"/patients/{ours[0]['ID']}").raise_for_status()
        assert world.inputs.gone(world.plan_id) is not None
        with pytest.raises(ServiceError):
            world.results.store(world.plan_id, 1, world.dose("one"))
        assert world.stored() == []

    @pytest.mark.parametrize("patient_id", ["A\\B", "Müller", " PADDED ", "x" * 64])
    def test_patient_ids_that_two_readers_may_write_in_two_ways_are_no_other_patients(
        self, world: World, patient_id: str
    ) -> None:
        study = box(shape=(3, 12, 12), patient_id="ODD")
        for dataset in study.datasets:
            dataset.SpecificCharacterSet = "ISO_IR 192"
            dataset.PatientID = patient_id
            world.put(file_bytes(dataset))
        assert world.inputs.gone(world.new_plan(study)) is None


def test_two_plugins_on_one_database_do_not_store_at_once(
    postgres_url: str, orthanc_server: tuple[Server, str]
) -> None:
    database = open_database(f"{postgres_url}/postgres")
    other = open_database(f"{postgres_url}/postgres")
    try:
        world = World(orthanc_server[1], Store(database))
        held = Held(world)
        stale = Caller(held.results, world.plan_id, 1, world.dose("one"))
        assert held.reached.wait(30)
        world.next_attempt()
        beside = Results(Store(other), world.orthanc)
        newest = Caller(beside, world.plan_id, 2, world.dose("two"))
        newest.join(0.5)
        assert newest.is_alive()
        held.go.set()
        for each in (stale, newest):
            each.join(30)
        assert world.stored() == ["two"]
        world.close()
    finally:
        database.dispose()
        other.dispose()
