"""Names and dates in lists, typed metrics, structures that are chosen, checks that are asked for: in a real browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from radiarch_client import Radiarch
from radiarch_contract import API_PREFIX

from phantoms import PhantomStudy, box
from tests.client.conftest import Stored
from tests.client.served import Served
from tests.plugin.store.samples import new_plan
from tests.system.processes import wait_for
from tests.system.service import Service

from .browsing import SETTLE_S, Browser


def test_a_list_shows_names_and_is_searched_by_them_and_by_dates(browser: Browser, served: Served) -> None:
    chinese, _ = served.store.plans.create(new_plan(patient_id="NAMED-1", patient_name="Wang^XiaoDong=王^小東"))
    arabic, _ = served.store.plans.create(new_plan(patient_id="NAMED-2", patient_name="Qabbani^Nizar=نزار^قباني"))
    browser.open(f"{served.url}/radiarch/ui/#/plans")
    browser.wait_text("王小東 (Wang, XiaoDong)", "radiarch-runs tbody, tbody")
    browser.wait_text("in the queue", "tbody")
    browser.type(browser.find("input[type=search]"), "xiaodong")
    wait_for(lambda: "NAMED-2" not in browser.text("tbody"), "only one is found", within_s=SETTLE_S)
    assert "NAMED-1" in browser.text("tbody")
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    dated = "given[0].value = given[1]; given[0].dispatchEvent(new Event('change'))"
    browser.script(dated, browser.find(".dates input"), tomorrow)
    browser.wait_text("No plan fits")
    browser.click(browser.button("Show all plans"))
    browser.wait_text("NAMED-2", "tbody")
    for plan in (chinese, arabic):
        served.store.plans.cancel(plan.id)


def test_any_metric_of_the_grammar_is_read_from_the_curves(browser: Browser, served: Served) -> None:
    plan, _ = served.store.plans.create(new_plan())
    served.start(plan.id)
    served.succeed(plan.id)
    browser.open(f"{served.url}/radiarch/ui/#/plans/{plan.id}")
    field = browser.find("#metric")
    for typed, said in (("V20", "a number and unit after V"), ("CI", "cannot be read"), ("D95% x", "nothing more")):
        browser.type(field, typed)
        browser.click(browser.button("Add", "radiarch-metrics button, .button"))
        browser.wait_text(said, "radiarch-metrics")
    for typed in ("V20Gy", "D2cc", "D95%", "V50%"):
        browser.type(field, typed)
        browser.click(browser.button("Add", ".button"))
        browser.wait_text(typed, "radiarch-metrics thead, thead")
    # falls from 100 % at 10 Gy to nothing at 30 Gy; 2 cm³ of 32 are 6.25 %; half of the prescription is 30 Gy
    wait_for(lambda: "≈ 50.0" in browser.text("radiarch-metrics"), "V20Gy", within_s=SETTLE_S, describe=browser.text)
    cells = browser.script(
        "return [...given[0].querySelectorAll('td')].map((c) => c.textContent)", _row(browser, "Organ")
    )
    assert cells[-4:] == ["≈ 50.0", "≈ 28.8", "20.0", "≈ 0.0"]
    cells = browser.script(
        "return [...given[0].querySelectorAll('td')].map((c) => c.textContent)", _row(browser, "PTV")
    )
    assert cells[-4:] == ["≈ 100.0", "≈ 60.9", "60.0", "≈ 100.0"]
    browser.click(browser.find("[aria-label='Remove V20Gy']"))
    wait_for(lambda: "≈ 50.0" not in browser.text("radiarch-metrics"), "it is removed", within_s=SETTLE_S)
    browser.script("localStorage.removeItem('radiarch-metrics')")


def _row(browser: Browser, structure: str) -> object:
    """The table's line of a structure."""
    rows = browser.all("tr")
    return next(
        r for r in rows if browser.script("return given[0].querySelector('.link')?.textContent", r) == structure
    )


@pytest.fixture
def renamed(real: Service, tmp_path: Path) -> PhantomStudy:
    """A structure set with a target that no protocol knows."""
    study = box(
        shape=(6, 16, 16), spacing_mm=(8.0, 8.0, 8.0), target_name="靶区 1", patient_id="RENAMED", seed="renamed"
    )
    study.save(tmp_path)
    with Radiarch(real.orthanc_url) as client:
        assert client.orthanc.send_folder(tmp_path).ok
    return study


def test_a_target_with_another_name_is_chosen_not_typed(
    browser: Browser, served: Served, renamed: PhantomStudy
) -> None:
    uid = str(renamed.rtstruct.SOPInstanceUID)
    browser.open(f"{served.url}/radiarch/ui/#/new/{uid}")
    source = browser.find("#source")
    browser.script("given[0].value = 'protocol test-box'; given[0].dispatchEvent(new Event('change'))", source)
    choice = browser.find("#roi-PTV")
    found = httpx.get(f"{served.url}{API_PREFIX}/structure-sets/{uid}").json()["structures"]
    number = next(s["number"] for s in found if s["name"] == "靶区 1")
    browser.script("given[0].value = String(given[1]); given[0].dispatchEvent(new Event('change'))", choice, number)
    target = "given[0].value = 'PTV'; given[0].dispatchEvent(new Event('change'))"
    browser.script(target, browser.find("#target"))
    browser.click(browser.find("button[type=submit]"))
    page = browser.find("radiarch-plan-page")
    plan = served.store.plans.get(str(page.get_attribute("plan-id")))
    assert [(s.name, s.roi_name) for s in plan.structures if s.name == "PTV"] == [("PTV", "靶区 1")]
    assert plan.goal_texts == ("PTV: D95% >= 80%",)
    served.store.plans.cancel(plan.id)


def test_a_check_is_asked_for_from_what_orthanc_has_of_a_study(
    browser: Browser, served: Served, stored: Stored
) -> None:
    browser.open(f"{served.url}/radiarch/ui/#/check/{stored.study_uid}")
    browser.wait_text("This study has no RT Dose in Orthanc", "radiarch-check-form")
    browser.click(browser.button("Recalculation"))
    browser.wait_text("This study has no RT Plan in Orthanc", "radiarch-check-form")


def test_planning_again_keeps_the_plan_in_view(browser: Browser, served: Served, stored: Stored) -> None:
    plan, _ = served.store.plans.create(new_plan(rtstruct_sop_instance_uid=stored.rtstruct_uid))
    served.start(plan.id)
    served.succeed(plan.id)
    browser.open(f"{served.url}/radiarch/ui/#/plans/{plan.id}/again")
    browser.wait_text("96.5", "radiarch-goals")
    browser.find("canvas")
    assert browser.find("#dose").get_attribute("value") == "60"
