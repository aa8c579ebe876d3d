"""Structure sets wait for the images that they name, whatever copies there are, and for all of their series."""

from __future__ import annotations

import copy

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from radiarch_contract.errors import ErrorCode, InputRefusedError
from radiarch_contract.states import ArrivalState, PlanState
from radiarch_plugin.dicom.images import GAP_S, SETTLE_S, structure_set_fields
from radiarch_plugin.dicom.rtstruct import read_rtstruct
from radiarch_plugin.intake.trigger import CURSOR_FACT
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.store import NewPlan
from radiarch_plugin.store.tables import PlanRow

from phantoms import PhantomStudy, box, faults, file_bytes
from tests.plugin.store.arriving import World
from tests.plugin.store.samples import new_plan, running, success


@pytest.fixture
def study() -> PhantomStudy:
    """A fresh one, stored nowhere."""
    return box(shape=(10, 12, 12), target_mm=16, patient_id=f"P-{generate_uid()[-12:]}")


def series_of(world: World, study: PhantomStudy) -> str:
    """Patient's ID and Series Instance UID of the series that the plan was queued with."""
    with world.store.database.read() as session:
        row = session.query(PlanRow).filter(PlanRow.id == world.plan(study).id).one()
    assert row.image_series is not None
    key = world.orthanc.series_key(row.image_series)
    assert key.patient_id == study.rtstruct.PatientID
    assert key.study_instance_uid == study.rtstruct.StudyInstanceUID
    return key.series_instance_uid


def settle(world: World, seconds: float = SETTLE_S + 2) -> None:
    for _ in range(int(seconds / 0.5)):
        world.turn(after_s=0.5)


@pytest.mark.parametrize("kind", faults.COPIES)
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_copies_of_the_images_change_nothing(world: World, study: PhantomStudy, kind: str, when: str) -> None:
    copied = faults.copies(study, kind)
    own: list[Dataset] = list(study.images)
    batches = {
        "before": [copied, [study.rtstruct], own],
        "between": [[study.rtstruct], own[:5], copied, own[5:]],
        "after": [[study.rtstruct], own, copied],
    }[when]
    for batch in batches:
        if world.plans():
            queued = when == "after" and batch is copied
            assert world.plan(study).state is (PlanState.QUEUED if queued else PlanState.WAITING)
        world.send(*batch)
        world.turn()
        world.turn(after_s=0.3)
    plan = world.plan(study)
    assert (plan.state, plan.error) == (PlanState.QUEUED, None)
    assert series_of(world, study) == study.images[0].SeriesInstanceUID
    settle(world)
    assert [p.id for p in world.plans()] == [plan.id]


@pytest.mark.parametrize("kind", faults.COPIES)
def test_copies_alone_are_waited_beside_and_said(world: World, study: PhantomStudy, kind: str) -> None:
    world.send(*faults.copies(study, kind), study.rtstruct)
    settle(world)
    plan = world.plan(study)
    assert (plan.state, plan.missing_count) == (PlanState.WAITING, 10)
    assert (
        plan.message == f"Of the missing images 10 are stored {_where(kind)}: not those that the structure set names."
    )
    assert "SOMEBODY" not in plan.message


def _where(kind: str) -> str:
    return (
        "for another patient" if "patient" in kind else "in another study" if "study" in kind else "in another series"
    )


@pytest.mark.parametrize("kind", faults.COPIES)
@pytest.mark.parametrize("first", [True, False])
def test_a_structure_set_that_names_no_series(world: World, study: PhantomStudy, kind: str, first: bool) -> None:
    """Its own patient and study count; two series of them are refused."""
    silent = faults.naming_no_series(study)
    copied = faults.copies(study, kind)
    world.send(*(copied if first else study.images))
    world.send(*(study.images if first else copied))
    world.send(silent.rtstruct)
    settle(world)
    plan = world.plan(silent)
    if kind == "another series":
        assert plan.error is not None
        assert (plan.state, plan.error.code) == (PlanState.FAILED, ErrorCode.AMBIGUOUS_INSTANCES)
        assert "2 series" in plan.error.message
        assert world.arrival(silent).state is ArrivalState.NOT_PLANNED
    else:
        assert plan.state is PlanState.QUEUED
        assert series_of(world, silent) == study.images[0].SeriesInstanceUID


def test_the_frame_of_reference_decides_between_two_series(world: World, study: PhantomStudy) -> None:
    silent = faults.naming_no_series(study)
    copied = faults.copies(study, "another series")
    frame = generate_uid()
    for image in copied:
        image.FrameOfReferenceUID = frame
    world.send(*copied, *study.images, silent.rtstruct)
    settle(world)
    assert world.plan(silent).state is PlanState.QUEUED
    assert series_of(world, silent) == study.images[0].SeriesInstanceUID


def test_a_pet_that_is_merely_listed_is_not_waited_for(world: World, study: PhantomStudy) -> None:
    listing = faults.listing_pet(study)
    world.send(listing.rtstruct, *study.images)
    world.turn()
    assert world.plan(listing).state is PlanState.QUEUED
    assert world.arrival(listing).referenced_count == 10


def test_contours_on_two_series_are_not_planned(world: World, study: PhantomStudy) -> None:
    bad = faults.listing_pet(study)
    pet = bad.rtstruct.ReferencedFrameOfReferenceSequence[1].RTReferencedStudySequence[0]
    image = pet.RTReferencedSeriesSequence[0].ContourImageSequence[0]
    bad.rtstruct.ROIContourSequence[2].ContourSequence[0].ContourImageSequence = [image]
    world.send(*bad.datasets)
    world.turn()
    arrival = world.arrival(bad)
    assert arrival.error is not None
    assert (arrival.state, arrival.error.code) == (ArrivalState.NOT_PLANNED, ErrorCode.NOT_CT)


class TestNamingSome:
    """Only the contoured slices are named: 4 of 10, in the middle."""

    @pytest.fixture
    def some(self, study: PhantomStudy) -> PhantomStudy:
        return faults.naming_only_contoured(study, "PTV")

    def test_all_there_is_waited_for_a_little(self, world: World, some: PhantomStudy) -> None:
        world.send(*some.datasets)
        world.turn()
        plan = world.plan(some)
        assert (plan.state, plan.missing_count) == (PlanState.WAITING, 0)
        assert "All 4 images that the structure set names are stored, 10 of their series" in plan.message
        settle(world)
        assert world.plan(some).state is PlanState.QUEUED
        assert self.count(world, some) == 10

    def test_a_stream_is_waited_for_to_its_end(self, world: World, some: PhantomStudy) -> None:
        world.send(some.rtstruct)
        for image in some.images:
            world.send(image)
            settle(world, SETTLE_S - 1)
            assert world.plan(some).state is PlanState.WAITING
        settle(world)
        assert world.plan(some).state is PlanState.QUEUED
        assert self.count(world, some) == 10

    @pytest.mark.parametrize("order", [[0, 9, 3, 4, 5, 6], [3, 4, 5, 6, 9, 0], [9, 0, 6, 5, 4, 3]])
    def test_a_gap_is_waited_for_longer(self, world: World, some: PhantomStudy, order: list[int]) -> None:
        world.send(some.rtstruct, *(some.images[i] for i in order))
        settle(world, GAP_S - 1)
        assert world.plan(some).state is PlanState.WAITING
        world.send(*(some.images[i] for i in range(10) if i not in order))
        settle(world, SETTLE_S - 1)
        assert world.plan(some).state is PlanState.WAITING
        settle(world)
        assert world.plan(some).state is PlanState.QUEUED
        assert self.count(world, some) == 10

    def test_a_gap_for_good_is_told_by_the_worker(self, world: World, some: PhantomStudy) -> None:
        world.send(some.rtstruct, *some.images[:8], some.images[9])
        settle(world, GAP_S + 2)
        assert world.plan(some).state is PlanState.QUEUED

    def test_a_localizer_is_no_gap(self, world: World, study: PhantomStudy) -> None:
        extra = copy.deepcopy(study.images[0])
        extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        extra.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        extra.ImagePositionPatient = [0, 0, 500]
        world.send(*study.images, extra, study.rtstruct)
        settle(world)
        assert world.plan(study).state is PlanState.QUEUED

    def count(self, world: World, some: PhantomStudy) -> int | None:
        with world.store.database.read() as session:
            return session.query(PlanRow).filter(PlanRow.id == world.plan(some).id).one().image_count


class TestGrown:
    """More images of the series come when the plan was queued already."""

    @pytest.fixture
    def some(self, study: PhantomStudy) -> PhantomStudy:
        return faults.naming_only_contoured(study, "PTV")

    @pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed"])
    def test_the_plan_is_made_again_on_the_whole_series(self, world: World, some: PhantomStudy, state: str) -> None:
        named = some.images[3:7]  # contoured slices first: nothing tells yet that there are more
        world.send(some.rtstruct, *named)
        settle(world)
        first = world.plan(some)
        assert first.state is PlanState.QUEUED
        if state != "queued":
            world.store.attempts.begin(first.id)
        if state == "running":
            world.store.attempts.progress([running(first.id)])
        if state == "succeeded":
            world.store.attempts.succeed(success(first.id, 1))
        if state == "failed":
            error = InputRefusedError("a gap", remedy="send more", code=ErrorCode.NON_UNIFORM_SLICES).info
            world.store.attempts.fail(first.id, 1, error)
        world.send(*some.images[:3], *some.images[7:])
        settle(world)
        second, old = world.plan(some), world.store.plans.get(first.id)
        assert second.id != first.id
        assert (old.superseded_by, second.supersedes) == (second.id, first.id)
        assert second.state is PlanState.QUEUED
        assert TestNamingSome().count(world, some) == 10
        if state in ("queued", "running"):
            assert old.error is not None
            assert (old.state, old.error.code) == (PlanState.CANCELLED, ErrorCode.INPUT_CHANGED)
            assert "10 images now, it had 4" in old.error.message
        else:
            assert old.state.value == state
        settle(world)
        assert len(world.plans()) == 2

    def test_what_was_asked_for_and_has_ended_is_marked_and_not_made_again(
        self, world: World, some: PhantomStudy
    ) -> None:
        world.protocols = ProtocolSet()
        world.send(some.rtstruct, *some.images[3:7])
        world.turn()
        asked, _ = world.store.plans.create(wanted(world, some))
        settle(world)
        world.store.attempts.begin(asked.id)
        world.store.attempts.succeed(success(asked.id, 1))
        world.send(*some.images[:3])
        settle(world)
        old = world.store.plans.get(asked.id)
        assert old.superseded_at is not None
        assert (old.state, old.superseded_by) == (PlanState.SUCCEEDED, None)
        assert len(world.plans()) == 1

    def test_the_same_images_again_and_others_of_the_series_change_nothing(
        self, world: World, study: PhantomStudy
    ) -> None:
        world.send(*study.datasets)
        world.turn()
        plan = world.plan(study)
        localizer = copy.deepcopy(study.images[0])
        localizer.SOPInstanceUID = localizer.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        localizer.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        world.send(*study.images, localizer, *faults.copies(study, "another series"))
        settle(world)
        assert world.plans() == [plan]

    def test_seen_after_a_restart(self, world: World, some: PhantomStudy) -> None:
        world.send(some.rtstruct, *some.images[3:7])
        settle(world)
        first = world.plan(some)
        world.send(*some.images[:3], *some.images[7:])
        world.store.journal.set_fact(CURSOR_FACT, world.orthanc.last_change())  # read, and not yet acted upon
        world.trigger = world.new_trigger()
        settle(world)
        assert world.store.plans.get(first.id).superseded_by == world.plan(some).id


def wanted(world: World, study: PhantomStudy) -> NewPlan:
    facts = read_rtstruct(file_bytes(study.rtstruct))
    return new_plan(
        **{
            "patient_id": facts.patient_id,
            "study_instance_uid": facts.study_instance_uid,
            "rtstruct_sop_instance_uid": facts.sop_instance_uid,
            "rtstruct_sha256": facts.sha256,
            "complete": False,
            **structure_set_fields(facts, world.orthanc),
        }
    )


class TestCopiesOfTheStructureSet:
    """Whole studies for another patient, or in another study, under the same SOP Instance UIDs."""

    CHANGES = ({"PatientID": "SOMEBODY-ELSE"}, {"StudyInstanceUID": "new"})

    def copied(self, study: PhantomStudy, changes: dict[str, str]) -> PhantomStudy:
        other = study.copy()
        fresh = {keyword: generate_uid() if value == "new" else value for keyword, value in changes.items()}
        for dataset in other.datasets:
            for keyword, value in fresh.items():
                setattr(dataset, keyword, value)
        frame = other.rtstruct.ReferencedFrameOfReferenceSequence[0]
        frame.RTReferencedStudySequence[0].ReferencedSOPInstanceUID = other.rtstruct.StudyInstanceUID
        return other

    @pytest.mark.parametrize("changes", CHANGES)
    def test_each_is_planned_and_neither_ends_the_other(
        self, world: World, study: PhantomStudy, changes: dict[str, str]
    ) -> None:
        other = self.copied(study, changes)
        world.send(*study.datasets)
        world.turn()
        first = world.plan(study)
        world.send(*other.datasets)
        world.turn()
        plans = world.plans()
        assert [p.state for p in plans] == [PlanState.QUEUED, PlanState.QUEUED]
        assert [p.superseded_at for p in plans] == [None, None]
        assert [(p.patient_id, p.study_instance_uid) for p in plans] == [
            (s.rtstruct.PatientID, s.rtstruct.StudyInstanceUID) for s in (study, other)
        ]
        assert (plans[0].id, plans[1].supersedes) == (first.id, None)
        # the first one once more is known already
        world.send(study.rtstruct)
        world.turn()
        assert len(world.plans()) == 2
        assert world.plan(study).id == first.id

    @pytest.mark.parametrize("changes", CHANGES)
    def test_each_waits_with_a_record_of_its_own(
        self, world: World, study: PhantomStudy, changes: dict[str, str]
    ) -> None:
        other = self.copied(study, changes)
        world.send(study.rtstruct, *study.images[:2])
        world.turn()
        first = world.plan(study)
        world.send(other.rtstruct, *other.images)
        world.turn()
        assert (world.arrival(study).state, world.arrival(study).plan_id) == (ArrivalState.WAITING, first.id)
        assert world.arrival(study).missing_count == len(study.images) - 2
        assert world.arrival(other).state is ArrivalState.PLANNED
        assert world.arrival(study).first_seen_at == first.created_at
        uid = str(study.rtstruct.SOPInstanceUID)
        assert [a.plan_id for a in world.store.arrivals.copies(uid)] == [world.plan(other).id, first.id]
        world.send(*study.images[2:])
        world.turn()
        assert world.arrival(study).state is ArrivalState.PLANNED
        assert [p.state for p in world.plans()] == [PlanState.QUEUED, PlanState.QUEUED]

    def test_a_changed_one_supersedes_its_own_alone(self, world: World, study: PhantomStudy) -> None:
        other = self.copied(study, {"PatientID": "SOMEBODY-ELSE"})
        world.send(*study.datasets)
        world.turn()
        world.send(*other.datasets)
        world.turn()
        changed = study.copy()
        changed.rtstruct.StructureSetLabel = "CHANGED"
        world.send(changed.rtstruct)
        world.turn()
        first, second, third = world.plans()
        assert (first.superseded_by, second.superseded_by, third.superseded_by) == (third.id, None, None)
        assert second.state is PlanState.QUEUED
