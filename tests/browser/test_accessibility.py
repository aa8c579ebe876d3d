"""axe-core finds nothing serious on any page and in no panel of the viewer, whatever theme, width and names.

`RADIARCH_SCREENSHOTS` names a folder for a picture of each, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from radiarch_contract.structures import StructureRef
from radiarch_plugin.web.static_files import WEB_FOLDER
from radiarch_plugin.web.viewer import PACKAGE

from tests.client.conftest import Stored
from tests.client.served import Served, look_at_studies
from tests.plugin.store.samples import new_plan
from tests.system.processes import wait_for

from .browsing import SETTLE_S, Browser
from .test_ohif import VIEWS, Viewer
from .test_ohif_choice import Shown, address, opened, shown, viewer

__all__ = ["address", "shown", "viewer"]

AXE = WEB_FOLDER / "node_modules/axe-core/axe.min.js"
SIZES = {"wide": (1366, 900), "narrow": (400, 900)}
RUN = """
const done = given[given.length - 1];
const where = (n) => `${n.target.flat().join(' ')}: ${n.failureSummary}`;
const text = (v) => [v.id, v.help, ...v.nodes.slice(0, 4).map(where)].join(' | ');
const parts = given.length > 1 ? {include: given[0].map((e) => [e])} : document;
axe.run(parts, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(
  (found) => done(found.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map(text)),
  (e) => done([String(e)]));
"""


@pytest.fixture(scope="module")
def places(served: Served, stored: Stored) -> Iterator[dict[str, str]]:
    """Each page's address, with what it waits for."""
    made: list[str] = []

    def plan(**changes: Any) -> str:
        made.append(served.store.plans.create(new_plan(**changes))[0].id)
        return made[-1]

    target = StructureRef(name="PTV", roi_number=1, roi_name="PTV")
    ours = {"rtstruct_sop_instance_uid": stored.rtstruct_uid, "structures": (target,)}
    done, other = (plan(**ours, patient_id="A-1", patient_name="Qabbani^Nizar=نزار^قباني") for _ in range(2))
    for plan_id in (done, other):
        served.start(plan_id, lines=("optimizing",))
        served.succeed(plan_id)
    failed, running = (
        plan(patient_id="C-1", patient_name="Wang^XiaoDong=王^小東"),
        plan(patient_id="R-1", patient_name="Иванов^Пётр"),
    )
    served.start(failed)
    served.fail(failed)
    served.start(running)
    look_at_studies(served)
    yield {
        "plans": "/plans",
        "plan": f"/plans/{done}",
        "failed": f"/plans/{failed}",
        "running": f"/plans/{running}",
        "again": f"/plans/{done}/again",
        "compare": f"/compare/{done},{other}",
        "new": f"/new/{stored.rtstruct_uid}",
        "check": f"/check/{stored.study_uid}",
        "studies": "/record",
        "study": f"/record/{stored.study_uid}/{stored.study.rtstruct.PatientID}",
        "arrivals": "/arrivals",
        "protocols": "/protocols",
        "workers": "/workers",
        "missing": "/nothing",
    }
    for plan_id in made:
        if not served.store.plans.state(plan_id).ended:
            served.store.plans.cancel(plan_id)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_finding(
    browser: Browser, served: Served, places: dict[str, str], theme: str, size: str
) -> None:
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    found = {}
    try:
        browser.open(f"{served.url}/radiarch/ui/")
        browser.script("localStorage.setItem('radiarch-theme', given[0])", theme)
        for name, place in places.items():
            browser.open(f"{served.url}/radiarch/ui/#{place}")
            browser.settle()
            _picture(browser, f"{name}-{theme}-{size}")
            browser.driver.execute_script(AXE.read_text())  # type: ignore[no-untyped-call]
            found[name] = browser.driver.execute_async_script(f"const given = arguments;{RUN}")
            wide = browser.script("return document.documentElement.scrollWidth")
            if wide > width:
                found[name].append(f"the page is {wide} px wide in a window of {width}")
    finally:
        browser.script("localStorage.removeItem('radiarch-theme')")
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "width": 1366})
    assert {k: v for k, v in found.items() if v} == {}


@pytest.mark.skipif(not (WEB_FOLDER / PACKAGE / "dist/index.html").is_file(), reason="OHIF is not installed")
def test_no_panel_of_the_viewer_has_a_serious_finding(viewer: Viewer, shown: Shown, address: str) -> None:
    """Of ours, each one open once: with two plans, a profile, and notes."""
    browser = viewer.browser
    opened(viewer, address, plan=shown.plans[0])
    viewer.session("session.combine('beside', {kind: 'plan', id: given[0]})", shown.plans[1])
    viewer.wait(f"{VIEWS}.length === 4", "two plans are beside each other")
    viewer.session("session.setProfile([[-20, 0, 0], [20, 0, 0]])")
    browser.find("radiarch-viewer-profile canvas, canvas")
    browser.driver.execute_script(AXE.read_text())  # type: ignore[no-untyped-call]
    found = {}
    for panel in ("dose", "runs", "dvh", "goals", "plan"):
        browser.click(browser.find(f'[data-cy="{panel}-btn"]'))
        browser.find(f"radiarch-viewer-{panel}")
        wait_for(lambda: not browser.all(".bones"), "all has loaded", within_s=SETTLE_S, describe=browser.text)
        _picture(browser, f"ohif-{panel}")
        ours = [f"radiarch-viewer-{panel}", "radiarch-viewer-banner", "radiarch-viewer-profile"]
        found[panel] = browser.driver.execute_async_script(f"const given = arguments;{RUN}", ours)
    assert {k: v for k, v in found.items() if v} == {}


def _picture(browser: Browser, name: str) -> None:
    if folder := os.environ.get("RADIARCH_SCREENSHOTS"):
        height = browser.script("return document.documentElement.scrollHeight")
        width = browser.script("return innerWidth")
        metrics = {"width": width, "height": min(height, 3000), "deviceScaleFactor": 1, "mobile": False}
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.driver.save_screenshot(str(Path(folder) / f"{name}.png"))
