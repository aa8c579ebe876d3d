from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from radiarch_contract.errors import ErrorCode, ServiceError
from radiarch_contract.goals import GoalResult
from radiarch_contract.states import ArrivalState, GoalStatus, Origin, Priority
from radiarch_contract.verdict import Criterion, Verdict
from radiarch_plugin import migrations
from radiarch_plugin.store import (
    ArrivalFilter,
    Database,
    GoalCounts,
    LogPosition,
    Ownership,
    PlanFilter,
    Store,
    default_url,
    open_database,
)
from radiarch_plugin.store.tables import Base
from sqlalchemy import text

from tests.plugin.store.samples import new_arrival, new_plan, success


def test_migrations_give_the_tables_that_the_code_uses(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_opening_again_keeps_everything(database_url: str) -> None:
    first = open_database(database_url)
    plan, _ = Store(first).plans.create(new_plan())
    first.dispose()
    second = open_database(database_url)
    assert Store(second).plans.get(plan.id) == plan
    second.dispose()


def _downgrade(database: Database, revision: str) -> None:
    with database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    database.dispose()


def test_goals_of_results_that_an_older_version_has_stored_are_counted(database_url: str) -> None:
    made = open_database(database_url)
    store = Store(made)
    planned = [store.plans.create(new_plan(complete=True))[0].id for _ in range(3)]
    judged = [("PTV", GoalStatus.MET), ("Rectum", GoalStatus.MISSED), ("Lens", None)]
    goals = tuple(
        GoalResult(text=f"{s}: Dmean <= 1 Gy", structure=s, value=1.0, unit="Gy", status=status) for s, status in judged
    )
    verdict = Verdict.of([Criterion.unjudged("target", "Target", "no target is known")])
    given: list[dict[str, object]] = [{"goals": goals}, {"verdict": verdict}, {}]
    for plan_id, more in zip(planned, given, strict=True):
        store.attempts.begin(plan_id)
        assert store.attempts.succeed(success(plan_id, 1).model_copy(update=more))
    before = store.plans.page().items
    assert before[2].goal_counts == GoalCounts(met=1, missed=1, unjudged=1)
    assert before[1].outcome is verdict.result
    _downgrade(made, "0008")
    again = open_database(database_url)
    assert Store(again).plans.page().items == before
    again.dispose()


def test_what_an_older_version_has_stored_gets_a_priority_and_is_found(database_url: str) -> None:
    made = open_database(database_url)
    store = Store(made)
    asked, _ = store.plans.create(new_plan(plan_label="A,B"))
    arrived, _ = store.plans.create(new_plan(origin=Origin.ARRIVAL))
    store.arrivals.admit(new_arrival("1.2.3", "a" * 64, plan=False))
    with made.engine.begin() as connection:
        connection.execute(text("UPDATE plans SET search = lower(id || ' A,B')"))
    _downgrade(made, "0004")
    again = open_database(database_url)
    store = Store(again)
    assert store.plans.get(asked.id).priority is Priority.INTERACTIVE
    assert store.plans.get(arrived.id).priority is Priority.BATCH
    assert store.plans.get(asked.id).patient_name is None
    assert len(store.plans.page(PlanFilter(q="a,b")).items) == 2
    assert [a.sop_instance_uid for a in store.arrivals.page(ArrivalFilter(q="p1")).items] == ["1.2.3"]
    again.dispose()


def test_copies_that_shared_a_record_get_their_own(database_url: str) -> None:
    """Until 0.2.0 there was one for each SOP Instance UID: it was of the copy that came last."""
    made = open_database(database_url)
    store = Store(made)
    first = store.arrivals.admit(new_arrival("1.2.3", "a" * 64)).plan_id
    copy = new_arrival("1.2.3", "b" * 64)
    assert copy.plan is not None
    planned = copy.plan.model_copy(update={"patient_id": "P2"})
    of_other = copy.model_copy(update={"patient_id": "P2", "orthanc_id": "1-1", "plan": planned})
    second = store.arrivals.admit(of_other).plan_id
    with made.engine.connect() as connection:
        contents = [dict(c) for c in connection.execute(text("SELECT * FROM arrival_contents ORDER BY id")).mappings()]
    _downgrade(made, "0009")
    with made.engine.begin() as connection:
        connection.execute(text("DELETE FROM arrival_contents"))
        connection.execute(text("UPDATE arrivals SET contents = 2"))
        connection.execute(
            text(
                "INSERT INTO arrival_contents (arrival_seq, sha256, orthanc_id, seen_at, plan_id) VALUES "
                "((SELECT seq FROM arrivals), :sha256, :orthanc_id, :seen_at, :plan_id)"
            ),
            contents,
        )
    made.dispose()
    again = open_database(database_url)
    store = Store(again)
    assert [(a.patient_id, a.plan_id, a.contents) for a in store.arrivals.copies("1.2.3")] == [
        ("P2", second, 1),
        ("P1", first, 1),
    ]
    assert store.arrivals.get("1.2.3", patient_id="P1").state is ArrivalState.WAITING
    for uid, sha256, patient in (("1.2.3", "a" * 64, "P1"), ("1.2.3", "b" * 64, "P2")):
        known = new_arrival(uid, sha256).model_copy(update={"patient_id": patient, "orthanc_id": "x"})
        assert store.arrivals.admit(known).plan_id is None
    assert len(store.plans.page().items) == 2
    again.dispose()


def test_several_that_open_at_once_migrate_once(database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for opened in pool.map(open_database, [database_url] * 4):
            assert Store(opened).plans.page().items == ()
            opened.dispose()


def test_a_newer_database_is_refused_and_left_alone(database_url: str) -> None:
    made = open_database(database_url)
    with made.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    made.dispose()
    with pytest.raises(ServiceError, match="another version") as e:
        open_database(database_url)
    assert e.value.code is ErrorCode.NOT_READY


@pytest.mark.parametrize(
    "url", ["mysql://root@localhost/x", "nonsense", "sqlite://", "sqlite:///:memory:", "oracle://x", ""]
)
def test_only_what_is_supported_is_opened(url: str) -> None:
    with pytest.raises(ServiceError, match="DatabaseUrl"):
        open_database(url)


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all/x.db", "postgresql://u:secret@127.0.0.1:1/x"])
def test_what_cannot_be_reached_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ServiceError, match="cannot be used") as e:
        open_database(url)
    assert "secret" not in str(e.value)


def test_the_default_is_a_file_in_the_storage_folder_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "with space % and ?"
    folder.mkdir()
    open_database(default_url(folder)).dispose()
    path = folder / "radiarch.sqlite3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == os.geteuid()


def test_writers_in_many_threads_lose_nothing(store: Store) -> None:
    plan, _ = store.plans.create(new_plan())
    lines = [[f"{t}-{n}" for n in range(3)] for t in range(8)]
    barrier = threading.Barrier(8)
    store.attempts.begin(plan.id)

    def write(mine: list[str]) -> None:
        barrier.wait(10)
        position = LogPosition()
        for line in mine:
            position = store.journal.append_log(plan.id, 1, position, [line])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, lines))
    kept = store.journal.log_since(plan.id).lines
    assert sorted(kept) == sorted(line for mine in lines for line in mine)
    for mine in lines:
        assert [line for line in kept if line in mine] == mine


def test_one_owner_at_a_time(database_url: str) -> None:
    first, second = open_database(database_url), open_database(database_url)
    one, other = Ownership(first), Ownership(second)
    assert one.acquire()
    assert one.acquire(), "asked again, it still has it"
    assert not other.acquire()
    one.release()
    assert other.acquire()
    assert not one.acquire()
    other.release()
    first.dispose()
    second.dispose()
