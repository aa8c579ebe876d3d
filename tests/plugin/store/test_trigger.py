"""Arrivals at a real Orthanc: whatever is sent, in whatever order, how often, from how many senders."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ImplicitVRLittleEndian, generate_uid
from radiarch_contract.errors import ErrorCode, ServiceError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.states import ArrivalState, Origin, PlanState
from radiarch_contract.uids import sop_instance_uid
from radiarch_plugin.dicom.rtstruct import read_rtstruct
from radiarch_plugin.intake import admission as arrivals
from radiarch_plugin.intake import trigger as trigger_module
from radiarch_plugin.intake.admission import consider
from radiarch_plugin.intake.trigger import CURSOR_FACT, Trigger
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.store import NewArrival, Ownership

from phantoms import PhantomStudy, box, faults, file_bytes
from tests.plugin.store.arriving import PROTOCOL, World
from tests.plugin.store.samples import new_plan, running, success
from tests.system.processes import wait_for


@pytest.fixture
def study() -> PhantomStudy:
    """A fresh one, stored nowhere."""
    return box(shape=(6, 12, 12))


def relabelled(study: PhantomStudy) -> Dataset:
    """The same SOP Instance UID with other content."""
    changed = study.copy().rtstruct
    changed.StructureSetLabel = f"{changed.StructureSetLabel}2"[-16:]
    return changed


class TestBeginning:
    @pytest.mark.parametrize("order", ["images first", "structures first", "structures in between"])
    def test_when_everything_is_stored_in_any_order(self, world: World, study: PhantomStudy, order: str) -> None:
        at = {"images first": 6, "structures first": 0, "structures in between": 3}[order]
        for n, ds in enumerate([*study.images[:at], study.rtstruct, *study.images[at:]]):
            world.send(ds)
            world.turn()
            world.turn()
            if n < at:
                assert world.plans() == []
            elif n < len(study.images):
                plan = world.plan(study)
                assert (plan.state, plan.missing_count) == (PlanState.WAITING, len(study.images) - n)
                assert world.arrival(study).state is ArrivalState.WAITING
                assert world.arrival(study).missing_count == plan.missing_count
                assert plan.missing_uids == world.arrival(study).missing_uids
                assert set(plan.missing_uids) == {i.SOPInstanceUID for i in study.images[n:]}
        plan = world.plan(study)
        assert (plan.state, plan.missing_count, plan.origin) == (PlanState.QUEUED, 0, Origin.ARRIVAL)
        assert world.arrival(study).state is ArrivalState.PLANNED
        assert world.queued == 1

    def test_one_turn_is_enough(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        world.turn()
        assert world.plan(study).state is PlanState.QUEUED

    def test_the_plan_is_the_protocols(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        world.turn()
        plan = world.plan(study)
        assert plan.rtstruct_sha256 == dataset_sha256(study.rtstruct)
        assert (plan.protocol_id, plan.protocol_sha256, plan.workflow_id) == ("box", "b" * 64, PROTOCOL.workflow)
        assert plan.prescription == PROTOCOL.prescription
        assert plan.parameters["beam_count"] == 2
        assert "spot_spacing_mm" in plan.parameters, "defaults are filled in"
        assert [s.name for s in plan.structures] == ["PTV"]
        assert plan.missing_structures == ("Rectum",)
        assert plan.goal_texts == PROTOCOL.goals
        assert plan.patient_id == study.rtstruct.PatientID
        arrival = world.arrival(study)
        assert (arrival.protocol_id, arrival.referenced_count, arrival.contents) == ("box", 6, 1)
        assert arrival.structures == ("BODY", "PTV", "OAR")

    def test_several_senders_at_once(self, world: World) -> None:
        studies = [box(shape=(5, 8, 8), patient_id=f"P{n}") for n in range(4)]
        everything = [ds for study in studies for ds in study.datasets]
        random.Random(7).shuffle(everything)
        world.trigger.start()
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(world.send, everything):
                world.trigger.wake()
        wait_for(lambda: world.queued >= len(studies), "all are queued", within_s=30)
        world.trigger.stop()
        assert sorted(p.patient_id for p in world.plans()) == [f"P{n}" for n in range(4)]
        assert all(p.state is PlanState.QUEUED for p in world.plans())

    def test_two_structure_sets_on_one_ct(self, world: World, study: PhantomStudy) -> None:
        second = study.copy().rtstruct
        second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        world.send(*study.datasets, second)
        world.turn()
        assert [p.rtstruct_sop_instance_uid for p in world.plans()] == [
            study.rtstruct.SOPInstanceUID,
            second.SOPInstanceUID,
        ]
        assert all(p.superseded_at is None for p in world.plans())

    def test_a_plan_that_was_asked_for_waits_for_its_images_too(self, world: World, study: PhantomStudy) -> None:
        world.protocols = ProtocolSet()
        world.send(study.rtstruct, *study.images[:-1])
        world.turn()
        uids = tuple(str(ds.SOPInstanceUID) for ds in study.images)
        plan, _ = world.store.plans.create(
            new_plan(
                patient_id=str(study.rtstruct.PatientID),
                rtstruct_sop_instance_uid=str(study.rtstruct.SOPInstanceUID),
                image_uids=uids,
                complete=False,
            )
        )
        world.turn()
        assert world.store.plans.get(plan.id).missing_count == 1
        world.send(study.images[-1])
        world.turn()
        assert world.store.plans.get(plan.id).state is PlanState.QUEUED


class TestAgain:
    @pytest.mark.parametrize("when", ["waiting", "queued", "succeeded"])
    def test_an_identical_one_starts_nothing(self, world: World, study: PhantomStudy, when: str) -> None:
        world.send(*(study.datasets[1:] if when == "waiting" else study.datasets))
        world.turn()
        before = world.plan(study)
        assert before.state is (PlanState.WAITING if when == "waiting" else PlanState.QUEUED)
        for _ in range(2):
            world.send(study.rtstruct, *study.images[1:])
            world.turn()
            world.turn()
        assert world.plans() == [before]
        assert world.arrival(study).contents == 1

    def test_identical_in_another_transfer_syntax_too(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        world.turn()
        before = world.plan(study)
        again = faults.transcoded(study, ImplicitVRLittleEndian).rtstruct
        world.send(again)
        world.turn()
        assert world.plans() == [before]

    def test_deleted_and_sent_again_unchanged(self, world: World, study: PhantomStudy) -> None:
        *_, last = world.send(*study.datasets)
        world.turn()
        before = world.plan(study)
        world.delete(last)
        world.trigger.deleted()
        world.turn()
        world.send(study.rtstruct)
        world.turn()
        assert world.plans() == [before]

    @pytest.mark.parametrize("way", ["over it", "deleted first"])
    @pytest.mark.parametrize("state", ["waiting", "queued", "succeeded"])
    def test_new_content_makes_a_new_plan_and_supersedes_the_old(
        self, world: World, study: PhantomStudy, way: str, state: str
    ) -> None:
        *_, last = world.send(*(study.datasets[1:] if state == "waiting" else study.datasets))
        world.turn()
        old = world.plan(study)
        if state == "succeeded":
            world.store.attempts.begin(old.id)
            world.store.attempts.succeed(success(old.id, 1))
        if way == "deleted first":
            world.delete(last)
        world.send(relabelled(study))
        world.turn()
        new = world.plan(study)
        old = world.store.plans.get(old.id)
        assert [p.id for p in world.plans()] == [old.id, new.id]
        assert (old.superseded_by, new.supersedes) == (new.id, old.id)
        assert new.state is (PlanState.WAITING if state == "waiting" else PlanState.QUEUED)
        if state == "succeeded":
            assert (old.state, old.error) == (PlanState.SUCCEEDED, None)
        else:
            assert old.state is PlanState.CANCELLED
            assert old.error is not None
            assert old.error.code is ErrorCode.INPUT_CHANGED
        assert world.arrival(study).contents == 2

    def test_the_first_content_once_more_is_new_again(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        world.turn()
        world.send(relabelled(study))
        world.turn()
        world.send(study.rtstruct)
        world.turn()
        one, two, three = world.plans()
        assert (one.superseded_by, two.superseded_by, three.superseded_by) == (two.id, three.id, None)
        assert one.rtstruct_sha256 == three.rtstruct_sha256 != two.rtstruct_sha256

    def test_new_content_that_is_not_planned_ends_the_old_plan_all_the_same(
        self, world: World, study: PhantomStudy
    ) -> None:
        world.send(*study.datasets)
        world.turn()
        old = world.plan(study)
        world.send(faults.renamed(study, {"PTV": "Something"}).rtstruct)
        world.turn()
        arrival = world.arrival(study)
        assert (arrival.state, arrival.plan_id) == (ArrivalState.NOT_PLANNED, None)
        old = world.store.plans.get(old.id)
        assert old.superseded_at is not None
        assert (old.state, old.superseded_by) == (PlanState.CANCELLED, None)

    def test_a_plan_that_was_asked_for_is_superseded_too(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        world.turn()
        asked, _ = world.store.plans.create(
            new_plan(
                patient_id=str(study.rtstruct.PatientID),
                study_instance_uid=str(study.rtstruct.StudyInstanceUID),
                rtstruct_sop_instance_uid=str(study.rtstruct.SOPInstanceUID),
            )
        )
        world.send(relabelled(study))
        world.turn()
        assert world.store.plans.get(asked.id).superseded_by == world.plan(study).id

    def test_what_no_protocol_fitted_is_planned_when_it_comes_again_and_one_fits(
        self, world: World, study: PhantomStudy
    ) -> None:
        protocols, world.protocols = world.protocols, ProtocolSet()
        world.send(*study.datasets)
        world.turn()
        assert world.arrival(study).state is ArrivalState.NOT_PLANNED
        world.protocols = protocols
        world.send(study.rtstruct)
        world.turn()
        assert world.plan(study).state is PlanState.QUEUED
        assert world.arrival(study).contents == 1


class TestNotPlanned:
    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (faults.mr, ErrorCode.NOT_CT),
            (lambda s: faults.without_roi(s, "PTV"), ErrorCode.NO_TARGET),
            (lambda s: faults.renamed(s, {"PTV": "X"}), ErrorCode.NO_TARGET),
        ],
    )
    def test_the_reason_is_on_record(self, world: World, study: PhantomStudy, fault: Any, code: ErrorCode) -> None:
        bad: PhantomStudy = fault(study)
        world.send(*bad.datasets)
        world.turn()
        arrival = world.arrival(bad)
        assert (arrival.state, arrival.plan_id) == (ArrivalState.NOT_PLANNED, None)
        assert arrival.error is not None
        assert arrival.error.code is code
        assert world.plans() == []

    def test_no_protocol(self, world: World, study: PhantomStudy) -> None:
        world.protocols = ProtocolSet()
        world.send(*study.datasets)
        world.turn()
        error = world.arrival(study).error
        assert error is not None
        assert error.code is ErrorCode.NO_PROTOCOL

    def test_no_reference_to_images(self, world: World, study: PhantomStudy) -> None:
        del study.rtstruct.ReferencedFrameOfReferenceSequence
        for roi in study.rtstruct.ROIContourSequence:
            for contour in roi.ContourSequence:
                del contour.ContourImageSequence
        world.send(*study.datasets)
        world.turn()
        error = world.arrival(study).error
        assert error is not None
        assert error.code is ErrorCode.NO_IMAGE_REFERENCE

    def test_what_cannot_be_understood_is_on_record_under_its_uid(self, world: World, study: PhantomStudy) -> None:
        for roi in study.rtstruct.StructureSetROISequence:
            roi.ROINumber = 1
        world.send(*study.datasets)
        world.turn()
        (arrival,) = world.store.arrivals.page().items
        assert arrival.error is not None
        assert arrival.error.code is ErrorCode.UNREADABLE_RTSTRUCT
        assert arrival.sop_instance_uid == study.rtstruct.SOPInstanceUID

    def test_images_that_turn_out_to_be_no_ct(self, world: World, study: PhantomStudy) -> None:
        """The references say CT, the images are MR."""
        bad = faults.mr(study)
        for ref in _image_references(bad.rtstruct):
            ref.ReferencedSOPClassUID = CTImageStorage
        world.send(*bad.datasets)
        world.turn()
        arrival = world.arrival(bad)
        assert arrival.state is ArrivalState.NOT_PLANNED
        assert arrival.error is not None
        assert arrival.error.code is ErrorCode.NOT_CT
        assert world.plan(bad).state is PlanState.FAILED

    def test_too_large_a_file_is_not_even_fetched(
        self, world: World, study: PhantomStudy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("radiarch_plugin.intake.trigger.MAX_BYTES", 1000)
        world.send(study.rtstruct)
        world.turn()
        error = world.arrival(study).error
        assert error is not None
        assert error.code is ErrorCode.UNREADABLE_RTSTRUCT
        assert "file" not in world.orthanc.asked

    def test_results_of_our_own_start_nothing(self, world: World, study: PhantomStudy) -> None:
        plan, _ = world.store.plans.create(new_plan())
        for ds in (study.rtstruct, *study.images):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid(plan.id, "rtdose"))
            world.send(ds)
            world.turn()
        assert world.store.arrivals.page().items == ()
        assert [p.id for p in world.plans()] == [plan.id]

    def test_a_defect_of_ours_is_on_record_and_the_next_one_is_planned(
        self, world: World, study: PhantomStudy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = box(shape=(3, 8, 8))

        def defect(facts: Any, protocols: Any) -> Any:
            if facts.sop_instance_uid == study.rtstruct.SOPInstanceUID:
                raise RuntimeError("a defect")
            return real(facts, protocols)

        real = arrivals.plan_for
        monkeypatch.setattr(arrivals, "plan_for", defect)
        world.send(*study.datasets, *other.datasets)
        world.turn()
        error = world.arrival(study).error
        assert error is not None
        assert error.code is ErrorCode.INTERNAL
        assert world.plan(other).state is PlanState.QUEUED

    def test_a_file_that_orthanc_cannot_give_does_not_stop_the_others_for_ever(
        self, world: World, study: PhantomStudy
    ) -> None:
        world.send(*study.datasets)
        world.orthanc.broken.add("file")
        for _ in range(4):
            with pytest.raises(ServiceError):
                world.turn()
            assert world.store.arrivals.page().items == (), "it may work the next time"
        world.turn()
        error = world.arrival(study).error
        assert error is not None
        assert error.code is ErrorCode.ORTHANC_UNAVAILABLE
        world.orthanc.broken.clear()
        world.send(study.rtstruct)
        world.turn()
        assert world.plan(study).state is PlanState.QUEUED


def _image_references(rtstruct: Dataset) -> Iterator[Dataset]:
    for frame in rtstruct.ReferencedFrameOfReferenceSequence:
        for ref_study in frame.RTReferencedStudySequence:
            for series in ref_study.RTReferencedSeriesSequence:
                yield from series.ContourImageSequence
    for roi in rtstruct.ROIContourSequence:
        for contour in roi.ContourSequence:
            yield from contour.ContourImageSequence


class TestLarge:
    """Structure sets that take long to read."""

    @pytest.fixture
    def held(self, world: World, study: PhantomStudy, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
        """Every file is large, and the study's is not read before the event is set."""
        monkeypatch.setattr(trigger_module, "LARGE_BYTES", 0)
        go = threading.Event()

        def slowly(*args: Any, **kwargs: Any) -> NewArrival:
            if kwargs["sop_instance_uid"] == study.rtstruct.SOPInstanceUID:
                assert go.wait(30)
            return consider(*args, **kwargs)

        monkeypatch.setattr(trigger_module, "consider", slowly)
        yield go
        go.set()
        world.trigger.stop()

    def settle(self, world: World, study: PhantomStudy) -> None:
        def known() -> bool:
            world.turn()
            return world.store.arrivals.find(str(study.rtstruct.SOPInstanceUID)) is not None

        wait_for(known, "it is read")

    def test_what_comes_after_them_does_not_wait(
        self, world: World, study: PhantomStudy, held: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = box(shape=(5, 8, 8), patient_id="OTHER")
        world.send(*study.datasets)
        world.turn()
        monkeypatch.setattr(trigger_module, "LARGE_BYTES", 1 << 30)
        world.send(*other.datasets)
        world.turn()
        assert world.plan(other).state is PlanState.QUEUED
        assert world.store.arrivals.find(str(study.rtstruct.SOPInstanceUID)) is None
        held.set()
        self.settle(world, study)
        assert world.plan(study).state is PlanState.QUEUED

    def test_killed_meanwhile_they_are_read_again(
        self, world: World, study: PhantomStudy, held: threading.Event
    ) -> None:
        world.send(*study.datasets)
        world.turn()
        world.trigger._save(force=True)
        killed = world.trigger
        world.trigger = world.new_trigger()
        held.set()
        self.settle(world, study)
        killed.stop()
        assert [p.state for p in world.plans()] == [PlanState.QUEUED]

    def test_contents_under_one_uid_keep_their_order(
        self, world: World, study: PhantomStudy, held: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.send(*study.datasets)
        world.turn()
        monkeypatch.setattr(trigger_module, "LARGE_BYTES", 1 << 30)
        changed = study.copy()
        changed.rtstruct.StructureSetLabel = "CHANGED"
        world.send(changed.rtstruct)
        world.turn()
        held.set()
        self.settle(world, study)

        def all_read() -> bool:
            world.turn()
            return not world.trigger._reading.holds(world.arrival(study).orthanc_id)

        wait_for(all_read, "the second one is read too")
        newest = read_rtstruct(file_bytes(changed.rtstruct)).sha256
        assert world.arrival(study).sha256 == newest
        assert [p.rtstruct_sha256 for p in world.plans() if p.superseded_at is None] == [newest]

    def test_a_file_that_orthanc_cannot_give_is_asked_for_again(
        self, world: World, study: PhantomStudy, held: threading.Event
    ) -> None:
        held.set()
        world.orthanc.broken = {"file"}
        world.send(*study.datasets)

        def failed() -> bool:
            try:
                world.turn()
            except ServiceError:
                return True
            return False

        wait_for(failed, "it is seen that Orthanc does not give it")
        world.orthanc.broken = set()
        self.settle(world, study)
        assert world.plan(study).state is PlanState.QUEUED


class TestDeletion:
    def test_of_the_structure_set_while_it_waits(self, world: World, study: PhantomStudy) -> None:
        first, *_ = world.send(study.rtstruct, *study.images[:-1])
        world.turn()
        plan = world.plan(study)
        world.delete(first)
        world.trigger.deleted()
        world.turn()
        assert world.arrival(study).state is ArrivalState.DELETED
        assert world.store.plans.get(plan.id).state is PlanState.CANCELLED
        world.send(*study.datasets)
        world.turn()
        new = world.plan(study)
        assert new.id != plan.id
        assert new.state is PlanState.QUEUED

    def test_of_the_structure_set_just_before_the_last_image(self, world: World, study: PhantomStudy) -> None:
        first, *_ = world.send(study.rtstruct, *study.images[:-1])
        world.turn()
        world.delete(first)
        world.send(study.images[-1])
        world.turn()
        assert world.arrival(study).state is ArrivalState.DELETED
        assert world.queued == 0

    def test_of_an_image_while_others_are_awaited(self, world: World, study: PhantomStudy) -> None:
        _, first, *_ = world.send(study.rtstruct, *study.images[:-1])
        world.turn()
        assert world.plan(study).missing_count == 1
        world.delete(first)
        world.turn(61.0)
        assert world.plan(study).missing_count == 2
        world.send(study.images[-1])
        world.turn()
        assert world.plan(study).state is PlanState.WAITING
        world.send(study.images[0])
        world.turn()
        assert world.plan(study).state is PlanState.QUEUED

    @pytest.mark.parametrize("state", ["queued", "with a worker", "running"])
    @pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
    def test_of_what_a_plan_is_made_of(self, world: World, study: PhantomStudy, state: str, told: bool) -> None:
        *_, last = world.send(*study.datasets)
        world.turn()
        plan = world.plan(study)
        if state != "queued":
            world.store.attempts.begin(plan.id)
        if state == "running":
            world.store.attempts.progress([running(plan.id)])
        queued = world.queued
        world.delete(last)
        if told:
            world.trigger.deleted()
            world.turn()
            assert world.store.plans.get(plan.id).state is not PlanState.CANCELLED, "it may be back in a moment"
        world.turn(1.5 if told else 61.0)
        world.turn(2.0)
        found = world.store.plans.get(plan.id)
        assert found.state is PlanState.CANCELLED
        assert found.error is not None
        assert (found.error.code, "deleted" in found.error.message) == (ErrorCode.INPUT_CHANGED, True)
        assert world.arrival(study).state is ArrivalState.DELETED
        assert world.queued == queued + 1, "the reconcile loop is woken up to end its processes"
        world.send(study.rtstruct)
        world.turn()
        assert world.plan(study).id != plan.id, "sent again, it is new"

    def test_of_the_images_of_a_running_plan(self, world: World, study: PhantomStudy) -> None:
        first, *_ = world.send(*study.datasets)
        world.turn()
        plan = world.plan(study)
        world.store.attempts.begin(plan.id)
        world.store.attempts.progress([running(plan.id)])
        world.delete(first)
        world.trigger.deleted()
        world.turn()
        world.turn(1.5)
        found = world.store.plans.get(plan.id)
        assert found.state is PlanState.CANCELLED
        assert found.error is not None
        assert found.error.code is ErrorCode.MISSING_INSTANCES
        assert found.error.details["sop_instance_uids"] == [study.images[0].SOPInstanceUID]
        assert world.arrival(study).state is ArrivalState.NOT_PLANNED
        world.send(study.images[0], study.rtstruct)
        world.turn()
        assert world.plan(study).id != plan.id

    def test_of_the_inputs_of_a_plan_that_has_ended_changes_nothing(self, world: World, study: PhantomStudy) -> None:
        ids = world.send(*study.datasets)
        world.turn()
        plan = world.plan(study)
        world.store.attempts.begin(plan.id)
        world.store.attempts.succeed(success(plan.id, 1))
        for orthanc_id in ids:
            world.delete(orthanc_id)
        world.trigger.deleted()
        world.turn()
        world.turn(2.0)
        assert world.plan(study).state is PlanState.SUCCEEDED

    def test_of_an_image_is_seen_when_the_last_one_comes(self, world: World, study: PhantomStudy) -> None:
        _, first, *_ = world.send(study.rtstruct, *study.images[:-1])
        world.turn()
        world.delete(first)
        world.send(study.images[-1])
        world.turn(20.0)
        assert world.plan(study).state is PlanState.WAITING


class TestRestart:
    def test_nothing_that_came_meanwhile_is_missed(self, world: World, study: PhantomStudy) -> None:
        world.send(study.rtstruct, *study.images[:2])
        world.turn()
        world.trigger.stop()
        other = box(shape=(3, 8, 8))
        world.send(*study.images[2:], *other.datasets)
        world.trigger = world.new_trigger()
        world.turn()
        assert [p.state for p in world.plans()] == [PlanState.QUEUED, PlanState.QUEUED]

    def test_killed_before_the_cursor_was_kept(self, world: World, study: PhantomStudy) -> None:
        before = world.orthanc.last_change()
        world.send(*study.datasets)
        world.turn()
        plans = world.plans()
        world.store.journal.set_fact(CURSOR_FACT, before)
        world.trigger = world.new_trigger()
        world.turn()
        assert world.plans() == plans

    def test_what_was_stored_before_radiarch_is_left_alone(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        world.store.journal.set_fact(CURSOR_FACT, None)
        world.trigger = world.new_trigger()
        world.turn()
        assert world.plans() == []

    def test_but_not_what_came_since_orthanc_started(self, world: World, study: PhantomStudy) -> None:
        first_cursor = world.orthanc.last_change()
        world.send(*study.datasets)
        world.store.journal.set_fact(CURSOR_FACT, None)
        world.trigger = world.new_trigger(first_cursor=first_cursor)
        world.turn()
        assert world.plan(study).state is PlanState.QUEUED

    def test_another_index_is_read_from_its_beginning(self, world: World, study: PhantomStudy) -> None:
        everything = world.http.get("/patients").json()
        world.http.post("/tools/bulk-delete", json={"Resources": everything}).raise_for_status()
        world.send(*study.datasets)
        world.store.journal.set_fact(CURSOR_FACT, 1 << 40)
        world.trigger = world.new_trigger()
        world.turn()
        assert world.plan(study).state is PlanState.QUEUED

    def test_only_the_owner_reads(self, world: World, study: PhantomStudy) -> None:
        world.send(*study.datasets)
        other = Ownership(world.store.database)
        standby = Trigger(world.store, world.orthanc, other, lambda: world.protocols, lambda: None)
        standby.turn()
        assert world.plans() == []
        world.owner.release()
        standby.turn()
        assert len(world.plans()) == 1
        world.turn()
        assert len(world.plans()) == 1
        other.release()


class TestCost:
    def test_of_images_that_nobody_waits_for(self, world: World) -> None:
        images = [ds for _ in range(4) for ds in box(shape=(10, 4, 4)).images]
        world.send(*images)
        world.orthanc.asked.clear()
        world.turn()
        assert world.orthanc.asked == ["metadata"] * len(images)

    @pytest.mark.parametrize("order", ["sent in order", "backwards", "shuffled"])
    def test_of_a_waiting_plan_while_its_images_stream_in(self, world: World, order: str) -> None:
        study = box(shape=(30, 4, 4))
        images = list(study.images)
        if order == "backwards":
            images.reverse()
        elif order == "shuffled":
            random.Random(3).shuffle(images)
        world.send(study.rtstruct)
        world.turn()
        world.orthanc.asked.clear()
        for ds in images:
            world.send(ds)
            world.turn(after_s=0.01)
        assert world.plan(study).state is PlanState.QUEUED
        finds = world.orthanc.asked.count("find")
        assert finds <= (2 if order == "backwards" else 1) * len(images) + 20, "one look for one UID, seldom more"

    def test_of_many_that_wait_for_something_else(self, world: World, study: PhantomStudy) -> None:
        for n in range(40):
            world.store.plans.create(new_plan(complete=False, image_uids=(f"9.{n}.1", f"9.{n}.2")))
        world.send(*study.datasets)
        world.turn()
        world.orthanc.asked.clear()
        other = box(shape=(3, 8, 8))
        world.send(*other.datasets)
        world.turn(after_s=0.01)
        assert world.plan(other).state is PlanState.QUEUED
        assert world.orthanc.asked.count("find") < 10
