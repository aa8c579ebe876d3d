from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from radiarch_contract.errors import ConflictError, ErrorCode, InvalidRequestError, NotFoundError
from radiarch_contract.states import PlanState
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_contract.workflows import get_workflow
from radiarch_plugin.store import MAX_MISSING, Curves, EventKind, LogPosition, PlanFilter, PlanView, Store
from sqlalchemy import text

from tests.plugin.store.samples import failure, new_plan, success

ABSENT = "f" * 32


def make(store: Store, **changes: Any) -> PlanView:
    plan, created = store.plans.create(new_plan(**changes))
    assert created
    return plan


def test_a_plan_is_given_back_as_it_was_made(store: Store) -> None:
    wanted = new_plan(
        patient_id="Ä\u4e2d",
        parent_id="0" * 32,
        requested_by="me",
        protocol_id="prostate",
        missing_structures=("Bowel",),
    )
    plan, _ = store.plans.create(wanted)
    for name in type(wanted).model_fields:
        if name not in ("complete", "goals", "idempotency_key") and not name.startswith("image_"):
            assert getattr(plan, name) == getattr(wanted, name), name
    assert plan.goal_texts == wanted.goals
    assert plan.state is PlanState.QUEUED
    assert plan.created_at == plan.updated_at == plan.queued_at
    assert plan.created_at.utcoffset() == timedelta(0)
    assert store.plans.curves(plan.id) == Curves()


def test_results_uids_are_known_before_anything_ran(store: Store) -> None:
    plan = make(store)
    assert {o.kind: (o.sop_instance_uid, o.series_instance_uid) for o in plan.outputs} == {
        kind: (sop_instance_uid(plan.id, kind.value), series_instance_uid(plan.id, kind.value))
        for kind in get_workflow(plan.workflow_id).possible_outputs
    }
    assert all(o.orthanc_id is None for o in plan.outputs)
    assert store.plans.plan_of_output(sop_instance_uid(plan.id, "rtdose")) == plan.id
    assert store.plans.plan_of_output("1.2.3") is None


@pytest.mark.parametrize("hostile", ["nul\0inside", "lone \ud800 surrogate", "x" * 10_000, "'; DROP TABLE plans; --"])
def test_no_text_from_outside_breaks_the_store(store: Store, hostile: str) -> None:
    plan = make(store, patient_id=hostile, requested_by=hostile, parameters={"note": hostile}, request={"a": hostile})
    assert plan.parameters["note"] == hostile
    assert len(plan.patient_id) <= 256
    for where in (PlanFilter(patient_id=hostile), PlanFilter(q=hostile.encode(errors="replace").decode()[:50])):
        assert [p.id for p in store.plans.page(where).items] == [plan.id]
    store.journal.append_log(plan.id, 0, LogPosition(), [hostile])
    assert store.journal.log_since(plan.id).next == 1


def test_unknown_plans_are_told(store: Store) -> None:
    for ask in (store.plans.get, store.plans.state, store.plans.curves, store.plans.cancel, store.attempts.begin):
        with pytest.raises(NotFoundError, match=ABSENT):
            ask(ABSENT)
    with pytest.raises(NotFoundError):
        store.journal.events_since(ABSENT)
    with pytest.raises(NotFoundError):
        store.journal.log_since(ABSENT)
    assert store.plans.get_many([ABSENT]) == {}


class TestIdempotency:
    def test_a_repeated_request_makes_one_plan(self, store: Store) -> None:
        wanted = new_plan(idempotency_key="k")
        first, created = store.plans.create(wanted)
        again, created_again = store.plans.create(wanted)
        assert (created, created_again) == (True, False)
        assert again == first
        assert store.plans.find_by_idempotency_key("k") == first
        assert len(store.plans.page().items) == 1

    def test_the_key_with_another_request_is_a_conflict(self, store: Store) -> None:
        wanted = new_plan(idempotency_key="k")
        store.plans.create(wanted)
        with pytest.raises(ConflictError) as e:
            store.plans.create(wanted.model_copy(update={"request": {"n": 2}}))
        assert e.value.code is ErrorCode.IDEMPOTENCY_MISMATCH

    def test_at_the_same_time_too(self, store: Store) -> None:
        wanted = new_plan(idempotency_key="k")
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: store.plans.create(wanted), range(16)))
        assert len({plan.id for plan, _ in made}) == 1
        assert sum(created for _, created in made) == 1

    def test_without_a_key_each_request_makes_a_plan(self, store: Store) -> None:
        wanted = new_plan()
        assert store.plans.create(wanted)[0].id != store.plans.create(wanted)[0].id


class TestCancel:
    def test_it_is_said_at_once_and_once(self, store: Store) -> None:
        plan = make(store)
        cancelled = store.plans.cancel(plan.id)
        assert cancelled.state is PlanState.CANCELLED
        assert cancelled.ended_at is not None
        assert store.plans.cancel(plan.id) == cancelled

    @pytest.mark.parametrize("end", ["succeeded", "failed"])
    def test_what_has_ended_stays(self, store: Store, end: str) -> None:
        plan = make(store)
        store.attempts.begin(plan.id)
        if end == "succeeded":
            assert store.attempts.succeed(success(plan.id, 1))
        else:
            assert store.attempts.fail(plan.id, 1, failure())
        before = store.plans.get(plan.id)
        with pytest.raises(ConflictError, match=end):
            store.plans.cancel(plan.id)
        assert store.plans.get(plan.id) == before

    def test_nothing_that_comes_late_changes_it(self, store: Store) -> None:
        plan = make(store)
        store.attempts.begin(plan.id)
        cancelled = store.plans.cancel(plan.id)
        assert not store.attempts.succeed(success(plan.id, 1))
        assert not store.attempts.fail(plan.id, 1, failure())
        assert not store.attempts.retry(plan.id, 1, error=failure())
        assert store.attempts.begin(plan.id) is None
        assert store.plans.get(plan.id) == cancelled

    def test_a_waiting_plan_too(self, store: Store) -> None:
        plan = make(store, complete=False)
        assert store.plans.waiting_ids() == {plan.id}
        store.plans.cancel(plan.id)
        assert store.plans.waiting() == []
        assert not store.plans.promote(plan.id)


def test_waiting_is_over_when_all_is_there(store: Store) -> None:
    plan = make(store, complete=False)
    assert plan.state is PlanState.WAITING
    assert plan.missing_count == 3
    uids = store.plans.waiting()[0].image_uids
    assert plan.missing_uids == uids
    store.plans.set_missing({plan.id: uids[1:]})
    store.plans.set_missing({plan.id: uids[1:]})
    assert store.plans.waiting()[0].missing_count == 2
    assert store.plans.get(plan.id).missing_uids == uids[1:]
    assert store.plans.promote(plan.id)
    assert not store.plans.promote(plan.id)
    store.plans.set_missing({plan.id: uids})
    queued = store.plans.get(plan.id)
    assert (queued.state, queued.missing_count, queued.missing_uids) == (PlanState.QUEUED, 0, ())
    kinds = [(e.kind, e.data.get("state") or e.data.get("missing")) for e in store.journal.events_since(plan.id).items]
    assert kinds == [(EventKind.STATE, "waiting"), (EventKind.MISSING, 2), (EventKind.STATE, "queued")]


def test_a_list_of_missing_images_is_bounded_and_their_number_is_not(store: Store) -> None:
    uids = tuple(f"1.2.{i}" for i in range(5_000))
    plan = make(store, complete=False, image_uids=uids)
    assert (plan.missing_count, plan.missing_uids) == (5_000, uids[:MAX_MISSING])
    store.plans.set_missing({plan.id: uids[10:]})
    plan = store.plans.get(plan.id)
    assert (plan.missing_count, plan.missing_uids) == (4_990, uids[10 : 10 + MAX_MISSING])


def test_a_result_is_kept_whole(store: Store) -> None:
    plan = make(store)
    store.attempts.begin(plan.id)
    result = success(plan.id, 1)
    assert store.attempts.succeed(result)
    found = store.plans.get(plan.id)
    assert found.state is PlanState.SUCCEEDED
    assert found.progress == 1.0
    assert {o.orthanc_id for o in found.outputs if o.orthanc_id} == {o.orthanc_id for o in result.outputs}
    assert (found.notes, found.uncertainty_percent, found.timings_s) == (("a note",), 1.5, {"total": 2.0})
    assert store.plans.curves(plan.id).dvh == result.dvh


class TestJournal:
    def test_events_since_a_cursor_are_each_told_once(self, store: Store) -> None:
        plan, other = make(store), make(store)
        store.attempts.begin(plan.id)
        store.attempts.begin(other.id)
        first = store.journal.events_since(plan.id, limit=1)
        rest = store.journal.events_since(plan.id, first.next)
        assert [e.kind for e in (*first.items, *rest.items)] == [EventKind.STATE, EventKind.ATTEMPT]
        nothing = store.journal.events_since(plan.id, rest.next)
        assert (nothing.items, nothing.next) == ((), rest.next)
        assert all(a.cursor < b.cursor for a, b in pairwise((*first.items, *rest.items)))

    def test_lines_are_read_from_any_offset(self, store: Store) -> None:
        plan = make(store)
        store.attempts.begin(plan.id)
        written: list[str] = []
        position = LogPosition()
        for size in (3, 1, 5, 2):
            lines = [f"line {len(written) + n}\r\n" for n in range(size)]
            position = store.journal.append_log(plan.id, 1, position, lines)
            written += [line.replace("\r", " ").replace("\n", " ") for line in lines]
        assert position.taken == len(written)
        for start in range(len(written) + 2):
            for limit in (1, 4, 100):
                page = store.journal.log_since(plan.id, start, limit=limit)
                assert list(page.lines) == written[start : start + limit]
                assert page.next == start + len(page.lines)
                assert not page.complete
        store.attempts.succeed(success(plan.id, 1))
        assert not store.journal.log_since(plan.id, 0, limit=3).complete
        assert store.journal.log_since(plan.id).complete

    @pytest.mark.parametrize("offset", [-1, 1 << 63])
    def test_offsets_have_bounds(self, store: Store, offset: int) -> None:
        plan = make(store)
        with pytest.raises(InvalidRequestError):
            store.journal.log_since(plan.id, offset)
        with pytest.raises(InvalidRequestError):
            store.journal.events_since(plan.id, offset)

    def test_a_log_is_bounded_and_says_so(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("radiarch_plugin.store.journal.MAX_PLAN_LINES", 5)
        plan = make(store)
        store.attempts.begin(plan.id)
        position = store.journal.append_log(plan.id, 1, LogPosition(), ["a", "b", "c"])
        position = store.journal.append_log(plan.id, 1, position, ["d", "e", "f"])
        position = store.journal.append_log(plan.id, 1, position, ["g"])
        assert position.taken == 7
        lines = store.journal.log_since(plan.id).lines
        assert lines[:4] == ("a", "b", "c", "d")
        assert "log ends here" in lines[4]
        assert len(lines) == 5

    def test_facts_are_kept(self, store: Store) -> None:
        assert store.journal.get_fact("x") is None
        for value in (1, {"a": [None]}, "ü"):
            store.journal.set_fact("x", value)
            assert store.journal.get_fact("x") == value


def test_rows_are_gone_with_their_plan(store: Store) -> None:
    plan = make(store, complete=False)
    with store.database.write() as session:
        session.execute(text("DELETE FROM plans WHERE id = :id"), {"id": plan.id})
        for table in ("plan_documents", "outputs", "waits", "events"):
            assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 0
