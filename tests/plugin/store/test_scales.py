"""What checks tell of scales: remembered once a check, told to checks of other plans, a person's word first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radiarch_contract.errors import NotFoundError
from radiarch_contract.job import JobInput, JobResult, KnownScale, MachineScale
from radiarch_contract.verdict import Criterion, Outcome, Verdict
from radiarch_plugin.store import Store
from radiarch_plugin.store.tables import Base

from tests.plugin.store.samples import new_plan, new_uid, success

GTR2 = {"machine": "GTR2 | Generic | ", "machine_sha256": "a" * 64, "calibration_sha256": "b" * 64}


def begin(store: Store, rtplan: str, workflow: str = "recalculation") -> tuple[str, tuple[KnownScale, ...]]:
    """A check of the plan that begins: its id, and what it is told."""
    inputs = (JobInput(kind="rtplan", sop_instance_uid=rtplan),)
    plan, _ = store.plans.create(new_plan(workflow_id=workflow, inputs=inputs, prescription=None, goals=()))
    spec = store.attempts.begin(plan.id)
    assert spec is not None
    return plan.id, spec.scales


def ended(plan_id: str, scale: float, *, counts: bool = True, attempt: int = 1, **machine: Any) -> JobResult:
    outcome = Outcome.LOOK if counts else Outcome.FAIL
    criterion = Criterion(id="scale", title="Scale", value=1.0, result=outcome)
    return success(plan_id, attempt).model_copy(
        update={
            "outputs": (),
            "verdict": Verdict.of([criterion]),
            "machine_scale": MachineScale(**{**GTR2, **machine}, scale=scale, counts=counts),
        }
    )


def check(store: Store, rtplan: str, scale: float, *, counts: bool = True, **machine: Any) -> str:
    plan_id, _ = begin(store, rtplan)
    assert store.attempts.succeed(ended(plan_id, scale, counts=counts, **machine))
    return plan_id


def told(store: Store, rtplan: str | None = None) -> tuple[KnownScale, ...]:
    plan_id, scales = begin(store, rtplan or new_uid())
    store.plans.cancel(plan_id)
    return scales


def test_nothing_is_known_at_first_and_of_no_other_plan(store: Store) -> None:
    first = new_uid()
    assert told(store, first) == ()
    plan_id = check(store, first, 0.89)
    assert told(store, first) == (), "a plan is not judged by itself"
    (known,) = told(store)
    assert (known.scale, known.plans, known.confirmed) == (0.89, 1, False)
    assert known.model_dump(include=set(GTR2)) == GTR2
    assert store.plans.get(plan_id).machine_scale == MachineScale(**GTR2, scale=0.89, counts=True)
    assert begin(store, new_uid(), "proton-impt-basic")[1] == (), "planning derives no scale"


def test_each_plan_counts_once_with_its_last_check(store: Store) -> None:
    often, other, third = new_uid(), new_uid(), new_uid()
    for scale in (0.5, 0.6, 0.90):
        check(store, often, scale)
    check(store, other, 0.88)
    check(store, third, 0.89)
    (known,) = told(store)
    assert (known.scale, known.plans) == (0.89, 3)
    (without,) = told(store, often)
    assert without.scale == pytest.approx(0.885)
    assert without.plans == 2


def test_what_failed_or_changed_does_not_count_until_a_person_says_so(store: Store) -> None:
    check(store, new_uid(), 0.89)
    check(store, new_uid(), 0.10, counts=False)
    (known,) = told(store)
    assert (known.scale, known.plans) == (0.89, 1)
    wrong, right = store.scales.page().items
    assert (wrong.scale, wrong.counts, wrong.verdict) == (0.10, False, "fail")
    confirmed = store.scales.confirm(wrong.id, "physicist")
    assert (confirmed.confirmed_by, confirmed.confirmed_at is not None) == ("physicist", True)
    (known,) = told(store)
    assert (known.scale, known.confirmed) == (0.10, True)
    store.scales.confirm(right.id, "physicist")
    assert told(store)[0].scale == 0.89, "the last word counts"
    store.scales.delete(right.id)
    assert told(store)[0].scale == 0.10
    store.scales.delete(wrong.id)
    assert told(store) == ()
    for call in (store.scales.delete, lambda i: store.scales.confirm(i, None)):
        with pytest.raises(NotFoundError):
            call(wrong.id)


def test_other_beam_data_and_calibrations_are_another_history(store: Store) -> None:
    check(store, new_uid(), 0.89)
    check(store, new_uid(), 0.95, machine_sha256="c" * 64)
    check(store, new_uid(), 0.91, calibration_sha256="d" * 64)
    check(store, new_uid(), 1.30, machine="GTR3 | Generic | ")
    assert {(k.machine[:4], k.machine_sha256[0], k.calibration_sha256[0]): k.scale for k in told(store)} == {
        ("GTR2", "a", "b"): 0.89,
        ("GTR2", "c", "b"): 0.95,
        ("GTR2", "a", "d"): 0.91,
        ("GTR3", "a", "b"): 1.30,
    }


def test_a_check_is_remembered_once_however_often_its_attempts_end(store: Store) -> None:
    """Late attempts, repeated answers, and a check that was cancelled leave nothing."""
    plan_id, _ = begin(store, new_uid())
    assert store.attempts.retry(plan_id, 1, error=None)
    assert store.attempts.begin(plan_id) is not None
    assert not store.attempts.succeed(ended(plan_id, 0.5))
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: store.attempts.succeed(ended(plan_id, 0.89, attempt=2)), range(8)))
    assert sum(taken) == 1
    cancelled, _ = begin(store, new_uid())
    store.plans.cancel(cancelled)
    assert not store.attempts.succeed(ended(cancelled, 0.7))
    assert [(e.plan_id, e.scale) for e in store.scales.page().items] == [(plan_id, 0.89)]


def test_first_checks_of_one_machine_at_the_same_time_know_nothing_of_each_other(store: Store) -> None:
    jobs = [begin(store, new_uid()) for _ in range(3)]
    assert all(scales == () for _, scales in jobs)
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(lambda job: store.attempts.succeed(ended(job[0], 0.9)), jobs))
    assert told(store)[0].plans == 3


def test_pages_go_on_where_the_last_one_ended(store: Store) -> None:
    for n in range(5):
        check(store, new_uid(), 1 + n / 10, machine="even" if n % 2 == 0 else "odd")
    first = store.scales.page(limit=2)
    second = store.scales.page(limit=2, cursor=first.next)
    last = store.scales.page(limit=2, cursor=second.next)
    assert [e.scale for page in (first, second, last) for e in page.items] == pytest.approx([1.4, 1.3, 1.2, 1.1, 1.0])
    assert last.next is None
    assert [e.scale for e in store.scales.page(machine="odd").items] == pytest.approx([1.3, 1.1])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.5, 2.0), st.booleans()), max_size=8))
def test_what_is_told_lies_among_what_counts(sqlite_store: Store, checks: list[tuple[int, float, bool]]) -> None:
    with sqlite_store.database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    plans = [f"1.2.{n}" for n in range(4)]
    for n, scale, counts in checks:
        check(sqlite_store, plans[n], scale, counts=counts)
    for n, own in enumerate(plans):
        counted = [s for m, s, counts in checks if counts and m != n]
        known = told(sqlite_store, own)
        assert bool(known) == bool(counted)
        if known:
            assert min(counted) <= known[0].scale <= max(counted)
            assert known[0].plans == len({m for m, _, counts in checks if counts and m != n})
