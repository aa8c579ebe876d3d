"""Times the light page in headless Chromium, lists of 100,000 plans, and what 100 open pages cost the service."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from radiarch_contract import API_PREFIX
from radiarch_plugin.store import Store, open_database
from radiarch_plugin.store.database import SQLITE_NAME
from radiarch_plugin.store.plans import insert_plan
from radiarch_plugin.store.store import utc_now

from benchmarks.ingest import new_series, send
from phantoms import box
from tests.browser.browsing import Browser, chromium
from tests.plugin.store.samples import new_plan
from tests.system.processes import wait_for
from tests.system.service import Service

PAGES = 100
_BATCH = 2000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--plans", type=int, default=100_000, help="plans in the list")
    arguments.add_argument("--instances", type=int, default=1000, help="of a series that is sent")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--table", type=Path, default=None, help="also written to this file")
    arguments.add_argument("--poll", metavar="URL", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.poll:
        asyncio.run(_poll_all(options.poll))
        return
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as name:
        text = run(Path(name), options.plans, options.instances, options.rounds)
    print(text)
    if options.table is not None:
        options.table.write_text(text + "\n")


def run(folder: Path, plans: int, instances: int, rounds: int) -> str:
    """All measurements as a Markdown table; with and without open pages take turns."""
    rows: list[tuple[str, str]] = []
    with Service(folder / "service") as service:
        service.start()
        plan = _planned(service, folder)
        rows += _paints(service, plan, folder, rounds)
        rows += _busy(service, folder, instances, rounds)
        _fill(service, plans)
        rows += _lists(service, plans, rounds)
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def _planned(service: Service, folder: Path) -> str:
    """Plan a box; the plan's id."""
    study = box(shape=(16, 56, 56), target_mm=24)
    service.send(study.save(folder / str(study.rtstruct.SOPInstanceUID)[-12:]))
    plan = service.wait_for_plan(str(study.rtstruct.SOPInstanceUID), "succeeded", "failed")
    assert plan["state"] == "succeeded", plan["error"]
    plan_id: str = plan["id"]
    return plan_id


# -- the page ----------------------------------------------------------------------------------------------------------


def _paints(service: Service, plan: str, folder: Path, rounds: int) -> list[tuple[str, str]]:
    """First contentful paint of a plan's page, and when its DVH is drawn, from the navigation on."""
    found: dict[str, list[tuple[float, float]]] = {"empty cache": [], "warm cache": []}
    for i in range(rounds):
        with chromium(folder / f"chromium-{i}") as browser:
            for key in found:
                found[key].append(_paint(browser, f"{service.orthanc_url}/radiarch/ui/#/plans/{plan}"))
    rows = []
    for key, times in found.items():
        first, drawn = zip(*times, strict=True)
        rows.append((f"a plan's page, first paint, {key}", _seconds(first)))
        rows.append((f"a plan's page, DVH drawn, {key}", _seconds(drawn)))
    return rows


def _paint(browser: Browser, url: str) -> tuple[float, float]:
    browser.open(url)
    wait_for(lambda: browser.all("canvas"), "the DVH is drawn", within_s=60)
    script = """
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    const drawn = performance.getEntriesByName('radiarch-dvh')[0];
    return [paint.startTime / 1000, drawn.startTime / 1000];
    """
    first, drawn = browser.script(script)
    return first, drawn


# -- many open pages ---------------------------------------------------------------------------------------------------


def _busy(service: Service, folder: Path, instances: int, rounds: int) -> list[tuple[str, str]]:
    """C-STORE and planning with `PAGES` open pages and without, by turns."""
    stored: dict[bool, list[float]] = {True: [], False: []}
    planned: dict[bool, list[float]] = {True: [], False: []}
    cpu: list[float] = []
    for _ in range(rounds):
        for busy in (True, False):
            with _pages(service.orthanc_url, PAGES if busy else 0):
                if busy:
                    cpu.append(_cpu_share(service))
                stored[busy].append(send(new_series(folder, instances), service.dicom_port))
                began = time.monotonic()
                _planned(service, folder)
                planned[busy].append(time.monotonic() - began)
    return [
        (f"{PAGES} open pages: Orthanc's processor time", f"{100 * statistics.median(cpu):.1f} % of one core"),
        (f"C-STORE without ÷ with {PAGES} open pages", _ratio(stored)),
        (f"planning without ÷ with {PAGES} open pages", _ratio(planned)),
    ]


@contextmanager
def _pages(url: str, count: int) -> Iterator[None]:
    """Another process that asks what open pages ask, when they ask it."""
    if not count:
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.pages", "--poll", url])
    try:
        time.sleep(10)  # until all of them have their turn
        yield
    finally:
        process.terminate()
        process.wait()


async def _poll_all(url: str) -> None:
    limits = httpx.Limits(max_connections=PAGES, max_keepalive_connections=PAGES, keepalive_expiry=120)
    async with httpx.AsyncClient(base_url=url + API_PREFIX, trust_env=False, timeout=60, limits=limits) as client:
        await asyncio.gather(*(_poll(client) for _ in range(PAGES)))


async def _poll(client: httpx.AsyncClient) -> None:
    """What elements/core/live.js does in a page that is looked at."""
    await asyncio.sleep(random.uniform(0, 5))  # noqa: S311
    since: str | None = None
    while True:
        try:
            answer: dict[str, Any] = (await client.get("/changes", params={"since": since} if since else {})).json()
        except httpx.TransportError:
            await asyncio.sleep(2)
            continue
        since = answer["next"]
        await asyncio.sleep(answer["ask_again_s"])


def _cpu_share(service: Service, for_s: float = 10.0) -> float:
    """How much of one core Orthanc uses."""

    def used_s() -> float:
        fields = Path(f"/proc/{service.orthanc_server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used_s()
    time.sleep(for_s)
    return (used_s() - before) / for_s


# -- long lists --------------------------------------------------------------------------------------------------------


def _fill(service: Service, count: int) -> None:
    """Plans that have ended, of ``count / 10`` patients."""
    database = open_database(f"sqlite:///{service.folder / 'orthanc' / SQLITE_NAME}")
    for start in range(0, count, _BATCH):
        with database.write() as session:
            for i in range(start, min(start + _BATCH, count)):
                plan = new_plan(patient_id=f"PATIENT-{i // 10:06d}", study_instance_uid=f"1.2.3.{i // 10}")
                insert_plan(session, plan, utc_now()).state = "failed"
    assert Store(database).plans.counts()
    database.dispose()


def _lists(service: Service, count: int, rounds: int) -> list[tuple[str, str]]:
    """The service's time for what the list asks."""

    def asked(**query: str) -> tuple[float, dict[str, Any]]:
        began = time.perf_counter()
        answer: dict[str, Any] = service.api("/plans", **{"limit": "50", **query})
        return time.perf_counter() - began, answer

    cursor = ""
    for _ in range(max(1, count // 1000)):
        cursor = asked(**({"cursor": cursor} if cursor else {}), limit="500")[1]["next"]
    queries = {
        "first page": {},
        "a page in the middle": {"cursor": cursor},
        "search, one found": {"q": f"PATIENT-{count // 20:06d}"},
        "search, none found": {"q": "nobody at all"},
        "by patient, last changed": {"sort": "patient_id"},
    }
    return [
        (f"{count:,} plans: {name}", _seconds([asked(**query)[0] for _ in range(rounds)]))
        for name, query in queries.items()
    ]


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})"


def _ratio(times: dict[bool, list[float]]) -> str:
    ratios = [without / with_ for with_, without in zip(times[True], times[False], strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


if __name__ == "__main__":
    main()
