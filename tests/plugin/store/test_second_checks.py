"""Plans and doses that arrive at a real Orthanc and are checked: in any order, once, and only where it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTIonPlanStorage, generate_uid
from radiarch_contract.errors import ErrorCode
from radiarch_contract.protocol import Protocol
from radiarch_contract.states import ArrivalState, Origin, PlanState
from radiarch_contract.uids import sop_instance_uid
from radiarch_plugin.protocols.loaded import LoadedProtocol, ProtocolSet
from radiarch_plugin.store import ArrivalView

from phantoms import PhantomStudy, box
from phantoms.rtdose import rtdose
from tests.plugin.store.arriving import World

CHECK = Protocol.model_validate({
    "id": "second-check",
    "title": "Every plan again",
    "match": {"manufacturer": "^Other$"},
    "workflow": "recalculation",
    "goals": ["PTV: Dmean >= 20 Gy"],
})  # fmt: skip
JUDGE = Protocol.model_validate({"id": "judge", "title": "Every dose", "workflow": "evaluation"})


def loaded(*protocols: Protocol) -> ProtocolSet:
    return ProtocolSet(tuple(LoadedProtocol(p, f"{p.id}.yaml", "b" * 64) for p in protocols))


@pytest.fixture
def world(world: World) -> World:
    """With a protocol that checks plans."""
    world.protocols = loaded(CHECK)
    return world


@pytest.fixture
def study() -> PhantomStudy:
    return box(shape=(4, 12, 12))


def dose_of(study: PhantomStudy, plan: Dataset, **changes: Any) -> Dataset:
    values = np.linspace(0, 60, 3 * 6 * 6, dtype=np.float32).reshape(3, 6, 6)
    uid = str(plan.SOPInstanceUID)
    return rtdose(study, values, origin_mm=(-10, -10, -4), spacing_mm=(4, 4, 4), rtplan_uid=uid, **changes)


def plan_of(study: PhantomStudy, **changes: Any) -> Dataset:
    """What the plugin reads of a plan of another system."""
    plan = dose_of(study, study.rtstruct)
    for keyword in ("PixelData", "ReferencedRTPlanSequence", "DoseUnits", "GridFrameOffsetVector"):
        delattr(plan, keyword)
    plan.SOPClassUID = plan.file_meta.MediaStorageSOPClassUID = RTIonPlanStorage
    plan.Modality, plan.RTPlanLabel = "RTPLAN", "PLAN"
    for keyword, value in changes.items():
        setattr(plan, keyword, value)
    return plan


def arrival(world: World, dataset: Dataset) -> ArrivalView:
    return world.store.arrivals.get(str(dataset.SOPInstanceUID), patient_id=str(dataset.PatientID))


def settle(world: World) -> None:
    for _ in range(3):
        world.turn(after_s=20.0)


@pytest.mark.parametrize("order", ["as exported", "backwards", "plan first"])
def test_a_plan_is_checked_when_all_it_needs_is_there(world: World, study: PhantomStudy, order: str) -> None:
    plan = plan_of(study)
    dose = dose_of(study, plan)
    everything = [*study.images, study.rtstruct, plan, dose]
    if order == "backwards":
        everything.reverse()
    elif order == "plan first":
        everything = [plan, study.rtstruct, dose, *study.images]
    for dataset in everything[:-1]:
        world.send(dataset)
        world.turn()
        assert world.plans() == []
    world.send(everything[-1])
    world.turn()
    (job,) = world.plans()
    assert (job.workflow_id, job.protocol_id, job.state) == ("recalculation", "second-check", PlanState.QUEUED)
    assert (job.origin, job.prescription, job.goal_texts) == (Origin.ARRIVAL, None, CHECK.goals)
    assert {i.kind: i.sop_instance_uid for i in job.inputs} == {
        "rtplan": plan.SOPInstanceUID,
        "reference_rtdose": dose.SOPInstanceUID,
    }
    assert all(i.sha256 for i in job.inputs)
    assert (job.rtstruct_sop_instance_uid, len(job.structures)) == (study.rtstruct.SOPInstanceUID, 1)
    seen = arrival(world, plan)
    assert (seen.kind, seen.state, seen.plan_id) == ("rtplan", ArrivalState.PLANNED, job.id)
    assert world.queued == 1
    settle(world)
    assert len(world.plans()) == 1


def test_what_is_missing_is_shown(world: World, study: PhantomStudy) -> None:
    plan = plan_of(study)
    world.send(plan, study.rtstruct, study.images[0])
    world.turn()
    settle(world)
    seen = arrival(world, plan)
    assert (seen.state, seen.referenced_count, seen.missing_count) == (ArrivalState.WAITING, 4, 3)


def test_without_a_dose_it_begins_after_a_while(world: World, study: PhantomStudy) -> None:
    world.trigger = world.new_trigger(dose_wait_s=0.0)
    plan = plan_of(study)
    world.send(*study.datasets, plan)
    world.turn()
    (job,) = world.plans()
    assert [i.kind for i in job.inputs] == ["rtplan"]


def test_a_dose_that_comes_late_has_the_check_made_once_more(world: World, study: PhantomStudy) -> None:
    world.trigger = world.new_trigger(dose_wait_s=0.0)
    plan = plan_of(study)
    world.send(*study.datasets, plan)
    world.turn()
    (alone,) = world.plans()
    dose = dose_of(study, plan)
    for _ in range(2):
        world.send(dose)
        world.turn()
        settle(world)
    before, again = world.plans()
    assert (before.id, before.state, before.superseded_by) == (alone.id, PlanState.CANCELLED, again.id)
    assert [i.kind for i in again.inputs] == ["rtplan", "reference_rtdose"]
    assert (again.supersedes, arrival(world, plan).plan_id) == (alone.id, again.id)


def test_a_copy_for_another_patient_has_a_check_of_its_own(world: World, study: PhantomStudy) -> None:
    world.trigger = world.new_trigger(dose_wait_s=0.0)
    everything = [*study.datasets, plan_of(study)]
    world.send(*everything)
    world.turn()
    (first,) = world.plans()
    for dataset in everything:
        dataset.PatientID = f"{dataset.PatientID}-copy"
    world.send(*everything)
    world.turn()
    settle(world)
    before, copied = world.plans()
    assert (before.id, before.state, before.superseded_at) == (first.id, PlanState.QUEUED, None)
    assert before.superseded_by is None
    assert (copied.patient_id, copied.supersedes) == (f"{first.patient_id}-copy", None)


def test_nothing_is_lost_by_a_restart(world: World, study: PhantomStudy) -> None:
    plan = plan_of(study)
    world.send(plan, study.rtstruct)
    world.turn()
    world.trigger = world.new_trigger(dose_wait_s=0.0)
    world.send(dose_of(study, plan), *study.images)
    world.turn()
    assert [j.protocol_id for j in world.plans()] == ["second-check"]


def test_the_same_again_starts_nothing_and_new_content_a_new_check(world: World, study: PhantomStudy) -> None:
    plan = plan_of(study)
    dose = dose_of(study, plan)
    for _ in range(2):
        world.send(*study.datasets, plan, dose)
        world.turn()
    (first,) = world.plans()
    plan.RTPlanName = "changed"
    world.send(plan)
    world.turn()
    old, new = world.plans()
    assert (old.id, old.superseded_by, old.state) == (first.id, new.id, PlanState.CANCELLED)
    assert (new.supersedes, arrival(world, plan).contents) == (old.id, 2)


def test_a_dose_is_judged_where_a_protocol_says_so(world: World, study: PhantomStudy) -> None:
    world.protocols = loaded(JUDGE)
    plan = plan_of(study)
    whole = dose_of(study, plan)
    bare = dose_of(study, plan)  # names its structure set through its plan only
    del bare.ReferencedStructureSetSequence
    world.send(bare, whole, *study.datasets)
    world.turn()
    (job,) = world.plans()
    assert [(i.kind, i.sop_instance_uid) for i in job.inputs] == [("rtdose", whole.SOPInstanceUID)]
    assert arrival(world, bare).state is ArrivalState.WAITING
    world.send(plan)
    world.turn()
    assert {j.inputs[0].sop_instance_uid for j in world.plans()} == {whole.SOPInstanceUID, bare.SOPInstanceUID}


def test_a_beams_dose_is_neither_judged_nor_taken_for_the_plans(world: World, study: PhantomStudy) -> None:
    world.protocols = loaded(CHECK, JUDGE)
    plan = plan_of(study)
    whole, beam = dose_of(study, plan), dose_of(study, plan, DoseSummationType="BEAM")
    world.send(*study.datasets, whole, plan, beam)  # the beam's is the newest
    world.turn()
    settle(world)
    checked, judged = sorted(world.plans(), key=lambda p: p.workflow_id, reverse=True)
    assert [i.sop_instance_uid for i in checked.inputs] == [plan.SOPInstanceUID, whole.SOPInstanceUID]
    assert [i.sop_instance_uid for i in judged.inputs] == [whole.SOPInstanceUID]
    refused = arrival(world, beam)
    assert refused.error is not None
    assert (refused.state, refused.error.code) == (ArrivalState.NOT_PLANNED, ErrorCode.UNSUPPORTED_DOSE)


@pytest.mark.parametrize("overview_last", [True, False])
def test_a_plan_is_compared_with_its_own_dose_not_with_an_overview(
    world: World, study: PhantomStudy, overview_last: bool
) -> None:
    """PLAN_OVERVIEW and MULTI_PLAN doses name the plan too, and are not what it is computed for."""
    plan = plan_of(study)
    whole = dose_of(study, plan)
    others = [dose_of(study, plan, DoseSummationType=s) for s in ("PLAN_OVERVIEW", "MULTI_PLAN", "FRACTION")]
    world.send(*study.datasets, *([whole, *others] if overview_last else [*others, whole]), plan)
    world.turn()
    settle(world)
    (job,) = world.plans()
    reference = job.inputs[1]
    assert (reference.sop_instance_uid, reference.alternatives) == (whole.SOPInstanceUID, ())


def test_an_overview_that_comes_late_changes_nothing(world: World, study: PhantomStudy) -> None:
    world.trigger = world.new_trigger(dose_wait_s=0.0)
    plan = plan_of(study)
    world.send(*study.datasets, plan)
    world.turn()
    world.send(dose_of(study, plan, DoseSummationType="PLAN_OVERVIEW"))
    settle(world)
    (alone,) = world.plans()
    assert [i.kind for i in alone.inputs] == ["rtplan"]


def test_of_several_doses_one_is_taken_and_the_others_are_named(world: World, study: PhantomStudy) -> None:
    plan = plan_of(study)
    made = [("PHYSICAL", "20260303"), ("EFFECTIVE", "20260101"), ("EFFECTIVE", "20260202")]
    physical, old, new = (dose_of(study, plan, DoseType=t, InstanceCreationDate=d) for t, d in made)
    world.send(*study.datasets, new, old, physical, plan)
    world.turn()
    (job,) = world.plans()
    reference = job.inputs[1]
    assert reference.sop_instance_uid == new.SOPInstanceUID
    assert set(reference.alternatives) == {old.SOPInstanceUID, physical.SOPInstanceUID}


def test_a_structure_set_is_not_planned_with_a_protocol_that_checks(world: World, study: PhantomStudy) -> None:
    world.send(*study.datasets)
    world.turn()
    found = world.arrival(study)
    assert found.error is not None
    assert (found.state, found.error.code) == (ArrivalState.NOT_PLANNED, ErrorCode.NO_PROTOCOL)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Manufacturer": "Ours"}, ErrorCode.NO_PROTOCOL),
        ({"FrameOfReferenceUID": "1.2.3"}, ErrorCode.FRAME_OF_REFERENCE_MISMATCH),
        ({"ReferencedStructureSetSequence": []}, ErrorCode.NO_IMAGE_REFERENCE),
    ],
)
def test_what_cannot_be_checked_says_why(
    world: World, study: PhantomStudy, changes: dict[str, Any], code: ErrorCode
) -> None:
    plan = plan_of(study, **changes)
    plan.file_meta.MediaStorageSOPClassUID = plan.SOPClassUID
    world.send(*study.datasets, plan, dose_of(study, plan))
    settle(world)
    seen = arrival(world, plan)
    assert seen.error is not None
    assert (seen.state, seen.error.code) == (ArrivalState.NOT_PLANNED, code), seen.error
    assert seen.error.remedy
    assert world.plans() == []


def test_plans_are_nobodys_business_without_a_protocol_for_them(world: World, study: PhantomStudy) -> None:
    world.protocols = loaded(JUDGE)
    plan = plan_of(study)
    world.send(*study.datasets, plan)
    settle(world)
    assert world.store.arrivals.find(str(plan.SOPInstanceUID)) is None


def test_own_results_start_nothing(world: World, study: PhantomStudy) -> None:
    world.protocols = loaded(CHECK, JUDGE)
    world.trigger = world.new_trigger(dose_wait_s=0.0)
    plan = plan_of(study)
    world.send(*study.datasets, plan)
    world.turn()
    (job,) = world.plans()
    own = dose_of(study, plan, SOPInstanceUID=sop_instance_uid(job.id, "rtdose"))
    own.file_meta.MediaStorageSOPInstanceUID = own.SOPInstanceUID
    world.send(own)
    settle(world)
    assert len(world.plans()) == 1
    assert world.store.arrivals.find(str(own.SOPInstanceUID)) is None


def test_deleted_while_it_waits_it_is_new_when_it_comes_again(world: World, study: PhantomStudy) -> None:
    plan = plan_of(study, SOPInstanceUID=generate_uid())
    plan.file_meta.MediaStorageSOPInstanceUID = plan.SOPInstanceUID
    (orthanc_id,) = world.send(plan)
    world.turn()
    world.delete(orthanc_id)
    world.trigger = world.new_trigger(dose_wait_s=0.0)  # which has to read it again
    world.send(*study.datasets)
    settle(world)
    assert arrival(world, plan).state is ArrivalState.DELETED
    world.send(plan)
    settle(world)
    assert [j.protocol_id for j in world.plans()] == ["second-check"]
