"""The elements and the light page in a real browser, on a real service; tests play the worker on its store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from radiarch_contract import API_PREFIX
from radiarch_contract.errors import RadiarchError
from radiarch_contract.goals import Goal
from radiarch_contract.robustness import DvhBand, GoalBand, MetricBand, Robustness
from radiarch_contract.states import GoalStatus, Stage
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import WORKFLOWS, parse_parameters
from radiarch_plugin.store import ProgressUpdate
from selenium.webdriver.common.keys import Keys

from tests.client.conftest import Stored
from tests.client.served import Served
from tests.plugin.store.samples import new_plan
from tests.system.processes import wait_for
from tests.system.service import Service

from .browsing import SETTLE_S, Browser

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture
def make(served: Served) -> Iterator[Callable[..., str]]:
    """Makes plans; those that have not ended are cancelled afterwards."""
    made: list[str] = []

    def one(**changes: Any) -> str:
        plan, _ = served.store.plans.create(new_plan(**changes))
        made.append(plan.id)
        return plan.id

    yield one
    for plan_id in made:
        if not served.store.plans.state(plan_id).ended:
            served.store.plans.cancel(plan_id)


def _mount(browser: Browser, served: Served, html: str) -> None:
    """A page with nothing but elements, as another page would have them."""
    browser.open(f"{served.url}/radiarch/ui/#/nothing")
    browser.find("radiarch-missing-page")
    # the page's own frame goes on asking how the service is, and draws that
    browser.script("document.body.innerHTML = `<div id=app hidden></div>${given[0]}`", html)


def test_a_plan_is_followed_from_the_queue_to_its_curves_without_reloading(
    browser: Browser, served: Served, make: Callable[..., str]
) -> None:
    plan_id = make(patient_id="FOLLOWED")
    browser.open(f"{served.url}/radiarch/ui/#/plans/{plan_id}")
    browser.wait_text("Queued", "radiarch-progress")
    browser.script("window.same = true")
    served.start(plan_id, progress=0.25, lines=("beamlets of beam 1",))
    browser.wait_text("Optimizing", "radiarch-progress")
    assert browser.find("[role=progressbar]").get_attribute("aria-valuenow") == "25"
    update = ProgressUpdate(
        plan_id=plan_id, attempt=1, stage=Stage.FINAL_DOSE, progress=0.8, eta_s=9, message="", worker="w1"
    )
    served.store.attempts.progress([update])
    wait_for(lambda: browser.find("[role=progressbar]").get_attribute("aria-valuenow") == "80", "it goes on")
    assert "yet" in browser.text("radiarch-dvh")
    served.succeed(plan_id)
    browser.wait_text("Done", "radiarch-progress")
    browser.wait_text("96.5", "radiarch-goals")
    browser.wait_text("Met", "radiarch-goals")
    browser.find(".toggle")
    curves = browser.script(
        "return given[0].data.curves[given[1]].curves.map((c) => c.structure)", _dvh(browser), plan_id
    )
    assert curves == ["PTV", "Organ"]
    # something is drawn: a canvas of one color has one value
    canvas = browser.find("canvas")
    drawn = "const c = given[0]; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
    assert browser.script(f"{drawn} return new Set(new Uint32Array(d.buffer)).size", canvas) > 20
    assert browser.script("return window.same") is True


def _dvh(browser: Browser) -> Any:
    return browser.find("radiarch-dvh")


def test_a_robust_plan_shows_what_its_scenarios_span(
    browser: Browser, served: Served, make: Callable[..., str]
) -> None:
    plan_id = make()
    served.start(plan_id)
    band = DvhBand(
        structure="PTV", roi_number=1, dose_gy=(0, 50, 65), low_percent=(100, 90, 0), high_percent=(100, 100, 5)
    )
    goal = GoalBand(
        text="PTV: D95% ≥ 95%", structure="PTV", unit="%", nominal=96.5, worst=91.25, worst_scenario="range +3 %",
        worst_status=GoalStatus.MISSED, met=7, scenarios=9,
    )  # fmt: skip
    metric = MetricBand(
        structure="PTV", roi_number=1, metric="D95%", nominal_gy=57.9, low_gy=54.75, high_gy=58.2,
        low_scenario="range +3 %", high_scenario="nominal",
    )  # fmt: skip
    robustness = Robustness(
        strategy="REDUCED_SET", setup_systematic_mm=(5, 5, 5), setup_random_mm=(0, 0, 0), range_percent=3,
        scenarios=(), bands=(band,), goals=(goal,), metrics=(metric,),
    )  # fmt: skip
    served.succeed(plan_id, robustness=robustness)
    browser.open(f"{served.url}/radiarch/ui/#/plans/{plan_id}")
    browser.wait_text("worst scenario 91.3 % missed", "radiarch-goals")
    browser.wait_text("met in 7 of 9", "radiarch-goals")
    browser.wait_text("all scenarios", "radiarch-dvh")
    browser.wait_text("54.8 range +3 %", "radiarch-plan-page")
    bands = browser.script(
        "return given[0].data.curves[given[1]].bands.map((b) => b.high_percent)", _dvh(browser), plan_id
    )
    assert bands == [[100, 100, 5]]


def test_another_plan_leaves_nothing_of_the_last_one(
    browser: Browser, served: Served, make: Callable[..., str]
) -> None:
    first, second = make(), make()
    for plan_id, scale in ((first, 1.0), (second, 0.9)):
        served.start(plan_id)
        served.succeed(plan_id, scale=scale)
    _mount(browser, served, f'<radiarch-goals plan-id="{first}"></radiarch-goals>')
    browser.wait_text("96.5")
    # in the same turn of the browser, before anything could be painted
    script = "const e = document.querySelector('radiarch-goals'); e.setAttribute('plan-id', given[0]);"
    left = browser.script(f"{script} return e.shadowRoot.textContent", second)
    assert "96.5" not in left
    browser.wait_text("86.9")
    # answers that come late are for another plan than the one that is shown by then
    browser.script(
        "const e = document.querySelector('radiarch-goals');for (const id of given[0]) e.setAttribute('plan-id', id);",
        [first, second, first, second, first],
    )
    browser.wait_text("96.5")
    assert "86.9" not in browser.text()
    browser.script("document.querySelector('radiarch-goals').removeAttribute('plan-id')")
    browser.wait_text("No plan is chosen")
    assert "96.5" not in browser.text()


def test_what_comes_from_outside_is_shown_and_never_run(
    browser: Browser, served: Served, make: Callable[..., str]
) -> None:
    plan_id = make(patient_id=HOSTILE, plan_label="<b>LABEL</b>", goals=(f"{HOSTILE[:50]}: Dmean <= 20 Gy",))
    for place in (f"#/plans/{plan_id}", f"#/plans/{'%3Cimg%20src=x%20onerror=window.hacked=1%3E'}", "#/plans"):
        browser.open(f"{served.url}/radiarch/ui/{place}")
        browser.find("radiarch-progress, .open, .notice")
        if place == f"#/plans/{plan_id}":
            browser.wait_text("<b>LABEL</b>")
            browser.wait_text('onerror="window.hacked=1">')
        assert browser.all("img[src=x], main b b") == []
        assert browser.script("return window.hacked ?? null") is None
        if "onerror" in place:
            browser.wait_text("no such plan")
            browser.complaints()  # it is not found, and the console says so


def test_a_list_is_searched_filtered_and_two_of_it_compared(
    browser: Browser, served: Served, make: Callable[..., str]
) -> None:
    ids = [make(patient_id="COMPARED", plan_label=label) for label in ("FIRST", "SECOND", "THIRD")]
    for plan_id, scale in zip(ids[:2], (1.0, 0.9), strict=True):
        served.start(plan_id)
        served.succeed(plan_id, scale=scale)
    browser.open(f"{served.url}/radiarch/ui/#/plans")
    search = browser.find("input[type=search]")
    browser.type(search, "compared")
    wait_for(lambda: len(browser.all("tbody tr")) == 3, "three are found", within_s=SETTLE_S, describe=browser.text)
    browser.click(browser.button("Done", ".segmented button"))
    wait_for(lambda: len(browser.all("tbody tr")) == 2, "two are done", within_s=SETTLE_S, describe=browser.text)
    # a plan that ends appears by itself
    served.start(ids[2])
    served.succeed(ids[2], scale=0.95)
    wait_for(lambda: len(browser.all("tbody tr")) == 3, "the third is there", within_s=SETTLE_S, describe=browser.text)
    for label in ("SECOND", "FIRST"):
        (box,) = browser.all(f"input[aria-label^='Compare plan {label}']")
        browser.click(box)
    browser.click(browser.button("Compare", "a.button"))
    browser.find("radiarch-compare")
    browser.wait_text("+9.6", "radiarch-goals")  # 96.5 % of the prescription is 86.9 % times 0.9
    browser.wait_text("+6.0", "radiarch-compare")  # 60 Gy beside 54 Gy
    assert "SECOND" in browser.text(".head")


def test_pages_of_a_list_go_there_and_back(browser: Browser, served: Served, make: Callable[..., str]) -> None:
    for i in range(53):
        make(patient_id=f"PAGED-{i:03d}", study_instance_uid="1.2.3.53")
    browser.open(f"{served.url}/radiarch/ui/#/studies/1.2.3.53")
    wait_for(lambda: len(browser.all("tbody tr")) == 50, "the first page", within_s=SETTLE_S)
    assert "PAGED-052" in browser.text("tbody")
    browser.click(browser.button("Next"))
    wait_for(lambda: len(browser.all("tbody tr")) == 3, "the last page", within_s=SETTLE_S)
    assert "PAGED-000" in browser.text("tbody")
    browser.click(browser.button("Previous"))
    wait_for(lambda: len(browser.all("tbody tr")) == 50, "the first page again", within_s=SETTLE_S)


def test_a_plan_is_asked_for_and_what_is_wrong_is_said_as_one_types(
    browser: Browser, served: Served, stored: Stored
) -> None:
    browser.open(f"{served.url}/radiarch/ui/#/new/{stored.rtstruct_uid}")
    dose = browser.find("#dose")
    browser.type(dose, "500")
    browser.wait_text("up to 120 Gy", "radiarch-plan-form")
    assert dose.get_attribute("aria-invalid") == "true"
    browser.type(dose, "48")
    wait_for(lambda: dose.get_attribute("aria-invalid") is None, "it is right now", within_s=SETTLE_S)
    browser.click(browser.button("Add a goal"))
    goal = browser.all("[aria-label^='Goal ']")[-1]
    browser.type(goal, "PTV: D95% 95%")
    browser.wait_text("expected ≥ or ≤", "radiarch-plan-form")
    browser.type(goal, "PTV: D95% >= 90%")
    wait_for(lambda: goal.get_attribute("aria-invalid") is None, "the goal is right", within_s=SETTLE_S)
    before = {p.id for p in served.store.plans.page().items}
    browser.click(browser.find("button[type=submit]"))
    page = browser.find("radiarch-plan-page")
    plan = served.store.plans.get(str(page.get_attribute("plan-id")))
    assert plan.id not in before
    assert plan.prescription is not None
    assert (plan.prescription.target, plan.prescription.dose_gy) == ("PTV", 48)
    assert plan.goal_texts[-1] == "PTV: D95% >= 90%"
    assert plan.rtstruct_sop_instance_uid == stored.rtstruct_uid
    served.store.plans.cancel(plan.id)


def test_structures_are_hidden_from_the_keyboard(browser: Browser, served: Served, make: Callable[..., str]) -> None:
    plan_id = make()
    served.start(plan_id)
    served.succeed(plan_id)
    _mount(browser, served, f'<radiarch-dvh plan-id="{plan_id}"></radiarch-dvh>')
    toggle = browser.find(".toggle")
    browser.script(
        "window.told = []; addEventListener('radiarch-structure-visibility', (e) => window.told.push(e.detail))"
    )
    browser.find(".chart").send_keys(Keys.ARROW_RIGHT)
    browser.wait_text("V", "th.at")  # the keyboard reads values as well
    browser.find(".chart").send_keys(Keys.TAB)
    focused = (
        "let e = document.activeElement; while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement; return e;"
    )
    assert browser.script(focused) == toggle
    assert browser.script("return getComputedStyle(given[0]).outlineStyle", toggle) == "solid"
    toggle.send_keys(Keys.ENTER)
    wait_for(lambda: toggle.get_attribute("aria-pressed") == "false", "it is hidden", within_s=SETTLE_S)
    assert browser.script("return window.told") == [{"structure": "PTV", "visible": False}]


GOALS = (
    *("PTV: D95% >= 95%", "PTV:D95%≥95%", "Rectum: V50Gy ≤ 30 %", "A b: Dmax(0.03cc) <= 40 Gy", "X: D2cc <= 1.5 Gy"),
    *(
        "PTV: CI >= 0.9",
        "PTV: HI <= 0.1",
        "X: V20% <= 5cc",
        "PTV: D95% >= 95%, priority 1",
        "X: Dmean<=2Gy , tolerance 1 Gy",
    ),
    *("X: Dmean <= 2 Gy, priority 2, tolerance 1 Gy", "X: V20Gy <= 30%,priority 12"),
    *(
        "",
        "PTV",
        ":D95% >= 95%",
        "PTV: D95 >= 95%",
        "PTV: D95% 95%",
        "PTV: D95% >= ",
        "PTV: D95% >= 95",
        "PTV: D101% >= 9%",
    ),
    *(
        "PTV: D0% >= 5%",
        "PTV: V20cc <= 5%",
        "PTV: D5Gy >= 5%",
        "X: Dmean(1cc) <= 2 Gy",
        "X: CI >= 1%",
        "X: D95% >= 95% x",
    ),
    *("X: Dmean <= 2 Gy, priority 0", "X: Dmean <= 2 Gy, tolerance 1 %", "X: Dmean <= 2 Gy, priority 1, priority 2"),
    *("X: Dmean <= 2 Gy,", "X: V20Gy <= 30 Gy", "X: Dmean <= 2 Gy tolerance 1 Gy", "X: D95% >= 95%, urgency 1"),
)


def test_goals_are_read_in_the_page_as_by_the_service(browser: Browser, served: Served) -> None:
    _mount(browser, served, "")
    found = browser.module("given[0].map(((await import('/radiarch/elements/core/goal.js')).parseGoal))", list(GOALS))
    for text, ours in zip(GOALS, found, strict=True):
        try:
            expected: tuple[str, Any] = ("structure", Goal.parse(text).structure)
        except RadiarchError as e:
            expected = ("position", e.info.details["position"])
        assert ours.get(expected[0]) == expected[1], (text, ours, expected)


PARAMETERS: tuple[dict[str, Any], ...] = (
    {},
    {"objectives": []},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}]},
    {"objectives": [{"structure": "", "metric": "DMin", "dose_gy": 60}]},
    {"objectives": [{"structure": "PTV", "metric": "Nonsense", "dose_gy": 60, "weight": 0}]},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": -1}], "beam_count": 0},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "beams": [{"gantry_deg": 360}]},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "beams": [{"gantry_deg": 359.9}]},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "seed": 1.5},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "machine": "../etc"},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "isocenter_mm": [1, 2]},
    {
        "objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}],
        "isocenter_mm": [1, 2, 3],
        "spot_mu_min": None,
    },
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "nonsense": 1},
    {"objectives": [{"structure": "PTV", "metric": "DMin", "dose_gy": 60}], "method": "guess"},
)


def test_parameters_are_checked_in_the_page_as_by_the_service(browser: Browser, served: Served) -> None:
    _mount(browser, served, "")
    workflow = "proton-impt-optimized"
    found = browser.module(
        "given[0].map((p) => check(p, given[1]).map((e) => e.path.join('.')))".join(
            ("(async () => { const { check } = await import('/radiarch/elements/core/schema.js'); return ", " })()")
        ),
        list(PARAMETERS),
        WORKFLOWS[workflow].schema(),
    )
    for parameters, ours in zip(PARAMETERS, found, strict=True):
        try:
            parse_parameters(workflow, parameters)
            expected: set[str] = set()
        except RadiarchError as e:
            fields = {x["field"] for x in e.info.details["errors"]}
            # a list whose only item is wrong is also too short for pydantic
            expected = {f for f in fields if not any(o.startswith(f"{f}.") for o in fields)}
        assert set(ours) == expected, parameters


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(browser: Browser, served: Served, theme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; 1.4.11: 3 to 1 for curves and marks."""
    _mount(browser, served, f'<radiarch-goals theme="{theme}"></radiarch-goals>')
    names = [
        "text",
        "text-2",
        "accent",
        "good",
        "warn",
        "bad",
        "surface",
        "surface-2",
        "info-bg",
        "warn-bg",
        "bad-bg",
        "on-accent",
    ]
    script = """
    const css = getComputedStyle(document.querySelector('radiarch-goals'));
    return Object.fromEntries(given[0].map((n) => [n, css.getPropertyValue('--' + n).trim()]));
    """
    colors: dict[str, str] = browser.script(script, names)
    for front in ("text", "text-2", "accent", "good", "warn", "bad"):
        for back in ("surface", "surface-2"):
            assert _contrast(colors[front], colors[back]) >= 4.5, (front, back)
    for back in ("info-bg", "warn-bg", "bad-bg"):
        assert _contrast(colors["text"], colors[back]) >= 4.5, back
        assert _contrast(colors["text-2"], colors[back]) >= 4.5, back
    assert _contrast(colors["on-accent"], colors["accent"]) >= 4.5
    structures = ["PTV", "CTV", "GTV", "BODY", "Rectum", "Bladder", *(f"Organ {i}" for i in range(40))]
    expression = "given[0].map((await import('/radiarch/elements/core/palette.js')).structureColor)"
    for name, color in zip(structures, browser.module(expression, structures), strict=True):
        assert _contrast(color, colors["surface"]) >= 3, (name, color)


def _contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colors."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_orthanc_explorer_leads_to_the_viewer_and_to_a_plan(browser: Browser, real: Service, stored: Stored) -> None:
    made = real.http.post(
        f"{API_PREFIX}/plans",
        json={
            "rtstruct_sop_instance_uid": stored.rtstruct_uid,
            "workflow_id": "proton-impt-basic",
            "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
            "label": "EXPLORED",
        },
    ).json()
    series = real.http.get(f"/instances/{stored.rtstruct_orthanc_id}").json()["ParentSeries"]
    study = real.http.get(f"/series/{series}").json()["ParentStudy"]
    browser.open(f"{real.orthanc_url}/app/explorer.html#series?uuid={series}")
    link = browser.button("Plan…", "#radiarch-series a")
    assert str(link.get_attribute("href")).endswith(f"/radiarch/ui/#/new/{stored.rtstruct_uid}")
    browser.wait_text("EXPLORED", "radiarch-runs")
    browser.wait_text("Queued", "radiarch-runs")
    real.cancel(made["id"])
    browser.wait_text("Cancelled", "radiarch-runs")
    browser.open(f"{real.orthanc_url}/app/explorer.html#study?uuid={study}")
    link = browser.button("Open in OHIF", "#radiarch-study a")
    assert str(link.get_attribute("href")).endswith(f"/ohif/viewer?StudyInstanceUIDs={stored.study_uid}")
    browser.wait_text("EXPLORED", "radiarch-runs")


def test_structures_have_the_colors_that_the_service_gives_their_structure_set(
    browser: Browser, served: Served, stored: Stored, make: Callable[..., str]
) -> None:
    found = httpx.get(f"{served.url}{API_PREFIX}/structure-sets/{stored.rtstruct_uid}").json()["structures"]
    target = next(s for s in found if s["name"] == "PTV")
    ref = StructureRef(name="High dose", roi_number=target["number"], roi_name="PTV")
    plan_id = make(rtstruct_sop_instance_uid=stored.rtstruct_uid, structures=(ref,), goals=("High dose: D95% >= 95%",))
    served.start(plan_id)
    served.succeed(plan_id)
    attributes = f"api='{served.url}{API_PREFIX}' plan-id={plan_id}"
    _mount(browser, served, f"<radiarch-dvh {attributes}></radiarch-dvh><radiarch-goals {attributes}></radiarch-goals>")
    wanted = f"rgb({', '.join(str(int(target['color'][i : i + 2], 16)) for i in (1, 3, 5))})"
    for place in (".toggle .swatch", "td.name .swatch"):
        wait_for(partial(_has_color, browser, place, wanted), f"{wanted} in {place}")


def _has_color(browser: Browser, place: str, wanted: str) -> bool:
    return bool(browser.script("return getComputedStyle(given[0]).backgroundColor", browser.find(place)) == wanted)
