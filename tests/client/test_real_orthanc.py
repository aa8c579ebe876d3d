"""The clients through Orthanc's own port and bridge, which changes queries, headers and some status codes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from radiarch_client import AsyncRadiarch, Radiarch
from radiarch_client.cli._base import Cli
from radiarch_client.cli._doctor import Level, examine
from radiarch_contract.errors import ConflictError, ErrorCode, InvalidRequestError, NotFoundError
from radiarch_contract.states import PlanState

from tests.system.service import Service

from .conftest import Stored
from .served import forget_workers

pytestmark = pytest.mark.system


@pytest.fixture
def orthanc(real: Service) -> Iterator[Radiarch]:
    with Radiarch(real.orthanc_url) as client:
        yield client


def test_asking_listing_cancelling(orthanc: Radiarch, stored: Stored) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    made = orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", label="A & B = 100% + C")
    again = list(orthanc.list_plans(q="A & B = 100% + C", state=["queued", "running"], created_from=before))
    assert [p.id for p in again] == [made.id]
    assert list(orthanc.list_plans(q="A & B = 100% + Zebra")) == []
    assert orthanc.cancel_plan(made.id).state == PlanState.CANCELLED
    assert orthanc.get_job(made.job_id).state == PlanState.CANCELLED
    events = orthanc.job_events(made.job_id).items
    assert [e.data["state"] for e in events if e.type == "state"] == ["queued", "cancelled"]


def test_pages(orthanc: Radiarch, stored: Stored) -> None:
    made = [orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", label="PAGED").id for _ in range(3)]
    assert [p.id for p in orthanc.list_plans(q="PAGED", page_size=1)] == made[::-1]
    for plan in made:
        orthanc.cancel_plan(plan)


def test_the_key_of_a_request_arrives(orthanc: Radiarch, stored: Stored) -> None:
    one = orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", idempotency_key="through Orthanc")
    two = orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", idempotency_key="through Orthanc")
    assert one.id == two.id
    with pytest.raises(ConflictError) as e:
        orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", idempotency_key="through Orthanc", label="X")
    assert e.value.code == ErrorCode.IDEMPOTENCY_MISMATCH
    orthanc.cancel_plan(one.id)


def test_errors_keep_their_words(orthanc: Radiarch, stored: Stored) -> None:
    with pytest.raises(InvalidRequestError) as invalid:
        orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", parameters={"seed": 0})
    assert invalid.value.info.details["errors"][0]["field"] == "seed"
    with pytest.raises(NotFoundError) as missing:
        orthanc.get_plan("0" * 32)
    assert missing.value.info.remedy
    with pytest.raises(InvalidRequestError, match="ü"):
        orthanc.create_plan(stored.rtstruct_uid, protocol="test-box", prescription={"target": "Prüfkörper ü"})


def test_the_async_client(real: Service, stored: Stored) -> None:
    async def ask() -> None:
        async with AsyncRadiarch(real.orthanc_url) as client:
            assert (await client.info()).version
            plan = await client.create_plan(stored.rtstruct_uid, protocol="test-box")
            assert (await client.cancel_plan(plan.id)).ended
            assert plan.id in [p.id async for p in client.list_plans(state="cancelled")]

    anyio.run(ask)


def test_what_the_doctor_sees(real: Service) -> None:
    forget_workers(real.redis)
    findings = list(examine(Cli(connection={"url": real.orthanc_url})))
    problems = [f.found for f in findings if f.level == Level.PROBLEM]
    assert len(problems) == 1  # the one thing that is not there
    assert "no worker" in problems[0]
    (dicom,) = [f for f in findings if f.check == "DICOM"]
    assert "C-ECHO" in dicom.found
    assert {"database", "Redis", "sessions"} <= {f.check for f in findings if f.level == Level.OK}
    assert "disk" in {f.check for f in findings}
