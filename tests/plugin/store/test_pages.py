"""Lists of plans: filters, orders and pages; on plans that are made once."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from radiarch_contract.errors import InvalidRequestError
from radiarch_contract.states import Origin, PlanState
from radiarch_plugin.store import Database, PlanBrief, PlanFilter, PlanSort, PlanView, Store
from sqlalchemy import event, text

from tests.plugin.store.samples import new_plan


def make(store: Store, **changes: Any) -> PlanView:
    return store.plans.create(new_plan(**changes))[0]


@pytest.fixture(scope="module")
def filled(database: Database) -> Store:
    store = Store(database)
    made = [make(store, patient_id=f"P{n % 5}", protocol_id=f"proto_{n % 2}", parameters={"n": n}) for n in range(23)]
    for plan in made[::3]:
        store.plans.cancel(plan.id)
    return store


@pytest.fixture(scope="module")
def plans(filled: Store) -> list[PlanBrief]:
    """All of them, oldest first."""
    return list(reversed(filled.plans.page(limit=100).items))


@pytest.mark.parametrize("sort", get_args(PlanSort))
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_in_a_row_are_the_whole_list_in_order(
    filled: Store, plans: list[PlanBrief], sort: PlanSort, limit: int
) -> None:
    found: list[PlanBrief] = []
    cursor = None
    while True:
        page = filled.plans.page(sort=sort, cursor=cursor, limit=limit)
        assert len(page.items) == limit or page.next is None
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert sorted(found, key=lambda p: p.id) == sorted(plans, key=lambda p: p.id)
    keys = [getattr(p, sort.removeprefix("-")) for p in found]
    assert keys == sorted(keys, reverse=sort.startswith("-"))


def test_a_list_shows_of_each_plan_what_the_plan_has(filled: Store, plans: list[PlanBrief]) -> None:
    for plan in plans:
        whole = filled.plans.get(plan.id)
        assert plan == PlanBrief(**{name: getattr(whole, name) for name in PlanBrief.model_fields})


def test_what_comes_meanwhile_neither_repeats_nor_hides_anything(filled: Store, plans: list[PlanBrief]) -> None:
    first = filled.plans.page(limit=10)
    extra = make(filled)
    rest = filled.plans.page(limit=100, cursor=first.next)
    with filled.database.write() as session:
        session.execute(text("DELETE FROM plans WHERE id = :id"), {"id": extra.id})
    assert [p.id for p in (*first.items, *rest.items)] == [p.id for p in reversed(plans)]


@pytest.mark.parametrize(
    ("where", "keeps"),
    [
        (PlanFilter(patient_id="P1"), lambda p: p.patient_id == "P1"),
        (PlanFilter(states=(PlanState.CANCELLED,)), lambda p: p.state is PlanState.CANCELLED),
        (PlanFilter(states=(PlanState.CANCELLED, PlanState.QUEUED)), lambda p: True),
        (PlanFilter(protocol_id="proto_1", q="P2"), lambda p: (p.protocol_id, p.patient_id) == ("proto_1", "P2")),
        (PlanFilter(q="ROTO_1"), lambda p: p.protocol_id == "proto_1"),
        (PlanFilter(q="proto%"), lambda p: False),
        (PlanFilter(q="protoX1"), lambda p: False),
        (PlanFilter(origin=Origin.ARRIVAL), lambda p: False),
        (PlanFilter(workflow_id="proton-impt-basic"), lambda p: True),
    ],
)  # fmt: skip
def test_filters_keep_what_they_say(filled: Store, plans: list[PlanBrief], where: PlanFilter, keeps: Any) -> None:
    assert [p.id for p in filled.plans.page(where, limit=100).items] == [p.id for p in reversed(plans) if keeps(p)]


def test_dates_are_from_inclusive_to_exclusive(filled: Store, plans: list[PlanBrief]) -> None:
    middle = plans[11].created_at
    older = filled.plans.page(PlanFilter(created_to=middle), limit=100).items
    newer = filled.plans.page(PlanFilter(created_from=middle), limit=100).items
    assert [p.id for p in (*newer, *older)] == [p.id for p in reversed(plans)]
    assert plans[11] in newer


def test_one_plan_is_found_by_any_of_its_names(filled: Store, plans: list[PlanBrief]) -> None:
    plan = plans[4]
    for where in (
        PlanFilter(rtstruct_sop_instance_uid=plan.rtstruct_sop_instance_uid),
        PlanFilter(q=plan.id[4:20].upper()),
        PlanFilter(q=plan.rtstruct_sop_instance_uid),
    ):
        assert filled.plans.page(where).items == (plan,)


@pytest.mark.parametrize("cursor", ["", "x", "e30", "WyJhIiwxLDJd", "\0", "W10", "ä", "bnVsbA"])
def test_a_foreign_cursor_is_refused(filled: Store, cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="cursor"):
        filled.plans.page(cursor=cursor)


def test_a_cursor_of_another_order_is_refused(filled: Store, plans: list[PlanBrief]) -> None:
    cursor = filled.plans.page(limit=1).next
    with pytest.raises(InvalidRequestError, match="sorted by patient_id"):
        filled.plans.page(sort="patient_id", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_has_bounds(filled: Store, limit: int) -> None:
    with pytest.raises(InvalidRequestError, match="limit"):
        filled.plans.page(limit=limit)


@pytest.mark.parametrize("sort", get_args(PlanSort))
def test_no_page_needs_to_sort_or_to_read_from_the_start(filled: Store, sort: PlanSort) -> None:
    """What keeps the thousandth page as quick as the first: an index gives both order and beginning."""
    if not filled.database.is_sqlite:
        pytest.skip("PostgreSQL chooses by the table's size")
    cursor = filled.plans.page(sort=sort, limit=5).next
    statements: list[tuple[str, Any]] = []
    engine = filled.database.engine

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    assert len(filled.plans.page(sort=sort, cursor=cursor, limit=5).items) == 5
    event.remove(engine, "before_cursor_execute", note)
    query, parameters = next(s for s in statements if "FROM plans" in s[0])
    with engine.connect() as connection:
        steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)]
    assert len(steps) == 1, steps
    assert steps[0].startswith("SEARCH plans USING"), steps


def test_counts_add_up(filled: Store, plans: list[PlanBrief]) -> None:
    counts = filled.plans.counts()
    assert set(counts) == set(PlanState)
    assert counts[PlanState.CANCELLED] == len(plans[::3])
    assert sum(counts.values()) == len(plans)
