"""Two doses in the viewer: beside each other with one cursor, along a line, and added where they are one quantity."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from radiarch_plugin.web.viewer import PACKAGE, WEB_FOLDER

from tests.client.served import Served
from tests.system.processes import wait_for

from .test_ohif import SHOWN_S, VIEWS, Viewer
from .test_ohif_choice import ORIGIN_MM, SPACING_MM, Shown, address, opened, shown, viewer

__all__ = ["address", "shown", "viewer"]

pytestmark = pytest.mark.skipif(
    not (WEB_FOLDER / PACKAGE / "dist/index.html").is_file(), reason="OHIF is not installed (scripts/install)"
)
ROW = "radiarch-axial-other", "radiarch-axial-chosen"


def expected(world: npt.NDArray[np.float64], scale: float) -> float:
    """`field` at a position: it is linear, and so is what is between its points."""
    x, y, z = (world - np.array(ORIGIN_MM)) / np.array(SPACING_MM)
    return float(scale * (30 + 1.1 * x - 0.9 * y + 0.7 * z))


def mouse(viewer: Viewer, kind: str, x: float, y: float, **more: Any) -> None:
    viewer.browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})


def middle(viewer: Viewer, viewport: str, right: float = 0, down: float = 0) -> tuple[float, float]:
    """The middle of a viewport in the page, and so many pixels from there."""
    script = "const b = given[0].canvas.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]"
    x, y = viewer.browser.script(f"given[0] = {VIEWS}.find((v) => v.id === given[0]); {script}", viewport)
    return round(x + right), round(y + down)


def combined(viewer: Viewer, shown: Shown, how: str, other: dict[str, str], *statuses: str) -> None:
    viewer.session("session.combine(given[0], given[1])", how, other)
    viewer.wait_status(*(statuses or ("ready",)))


def plan(shown: Shown, number: int) -> dict[str, str]:
    return {"kind": "plan", "id": shown.plans[number]}


def _focal_z(viewer: Viewer) -> list[float]:
    found: list[float] = viewer.browser.script(
        f"return given[0].map((id) => {VIEWS}.find((v) => v.id === id).getCamera().focalPoint[2])", ROW
    )
    return found


def test_two_plans_are_beside_each_other_with_one_cursor(viewer: Viewer, shown: Shown, address: str) -> None:
    """The same plane, scrolled together; what is read at the pointer is each plan's own dose at one position."""
    opened(viewer, address, plan=shown.plans[0])
    combined(viewer, shown, "beside", plan(shown, 1))
    viewer.wait(f"{VIEWS}.length === 4 && {VIEWS}.every((v) => v.getActor('radiarch-dose'))", "each has a dose")
    legends = "return [...document.querySelectorAll('.radiarch-legend')].map((e) => e.textContent)"

    def heads() -> set[str]:
        return {text.partition("RBE")[0] for text in viewer.browser.script(legends)}

    wait_for(lambda: heads() == {"A · SECOND", "B · FIRST"}, "each says whose it is", within_s=SHOWN_S)
    before = _focal_z(viewer)
    assert before[0] == pytest.approx(before[1])
    x, y = middle(viewer, ROW[1], right=20, down=-15)
    mouse(viewer, "mouseMoved", x, y)
    mouse(viewer, "mouseWheel", x, y, deltaX=0, deltaY=120)
    viewer.wait(f"Math.abs({VIEWS}[1].getCamera().focalPoint[2] - {before[1]}) > 0.5", "the plane is another one")
    wait_for(lambda: np.ptp(_focal_z(viewer)) < 1e-3, "both show it", within_s=SHOWN_S)
    mouse(viewer, "mouseMoved", x + 1, y)
    script = f"""return given[0].map((id) => {VIEWS}.find((v) => v.id === id).element).map((e) => {{
        const r = e.querySelector('.radiarch-readout'), c = e.querySelector('.radiarch-cross');
        return [r.dataset.world, Number(r.dataset.gy), c.style.display];
    }})"""
    other, chosen = viewer.browser.script(script, ROW)
    assert other[0] == chosen[0]
    assert (other[2], chosen[2]) == ("block", "none")
    world = np.array([float(c) for c in chosen[0].split()])
    assert chosen[1] == pytest.approx(expected(world, 1.1), abs=1e-3)
    assert other[1] == pytest.approx(expected(world, 0.9), abs=1e-3)
    assert viewer.browser.find("radiarch-dvh").get_attribute("plan-ids") == ",".join(reversed(shown.plans))
    viewer.session("session.combine('beside', null)")
    viewer.wait(f"{VIEWS}.length === 3 && {VIEWS}.every((v) => v.getActor('radiarch-dose'))", "three planes again")
    # another system's dose as well; where Gy are of two kinds, that is said
    combined(viewer, shown, "beside", {"kind": "dose", "id": shown.uid("physical")})
    viewer.browser.wait_text("A Physical", "radiarch-viewer-banner")
    viewer.browser.wait_text("though they have the same colors", "radiarch-viewer-banner")
    # OHIF's own, of every turn of the wheel
    assert all("passive event listener" in c for c in viewer.browser.complaints())


def test_the_dose_along_a_line_that_is_drawn(viewer: Viewer, shown: Shown, address: str) -> None:
    """Of both doses; the line is drawn on the image, and no tool of OHIF sees the mouse meanwhile."""
    opened(viewer, address, plan=shown.plans[0])
    combined(viewer, shown, "minus", plan(shown, 1))
    viewer.wait(f"{VIEWS}.every((v) => v.getActor('radiarch-dose'))", "the wash is there")
    window = f"JSON.stringify({VIEWS}[0].getProperties().voiRange)"
    before = viewer.browser.script(f"return {window}")
    viewer.browser.click(viewer.browser.button("Dose profile along a line"))
    corners = (np.array(ORIGIN_MM) + 3.0 * np.array(index) for index in ((4, 5, 6), (22, 18, 6)))
    start, end = [viewer.go_to("axial", corner) for corner in corners]
    mouse(viewer, "mousePressed", *start, button="left", clickCount=1)
    for share in (0.3, 0.7, 1.0):
        x, y = (round(a + share * (b - a)) for a, b in zip(start, end, strict=True))
        mouse(viewer, "mouseMoved", x, y, button="left", buttons=1)
    mouse(viewer, "mouseReleased", *end, button="left", clickCount=1)
    wait_for(lambda: viewer.session("session.profile && !session.drawing"), "the line is drawn", within_s=SHOWN_S)
    assert viewer.browser.script(f"return {window}") == before
    chart = viewer.browser.find("radiarch-viewer-profile")
    viewer.browser.wait_text("SECOND", "radiarch-viewer-profile")
    ends = np.array(viewer.session("session.profile"))
    found = viewer.browser.script("return {world: given[0].sampled.world, values: given[0].sampled.values}", chart)
    world = np.array(found["world"])
    assert world[[0, -1]] == pytest.approx(ends)
    for values, scale in zip(found["values"], (0.9, 1.1, 0.2), strict=True):
        assert values == pytest.approx([expected(p, scale) for p in world], abs=2e-3)
    drawn = "const c = given[0].shadowRoot.querySelector('canvas'); const d = c.getContext('2d')"
    pixels = f"{drawn}.getImageData(0, 0, c.width, c.height).data; return new Set(new Uint32Array(d.buffer)).size"
    assert viewer.browser.script(pixels, chart) > 20
    # the same by keyboard, and beyond the grid there is no dose
    first = viewer.browser.find("input[aria-label^='from']")
    viewer.browser.script("given[0].value = '-400 0 0'; given[0].dispatchEvent(new Event('change'))", first)
    values = viewer.browser.script("return given[0].sampled.values[0]", chart)
    assert values[0] is None
    assert values[-1] == pytest.approx(expected(ends[1], 0.9), abs=2e-3)


def test_two_plans_are_added(viewer: Viewer, served: Served, shown: Shown, address: str) -> None:
    """The sum is evaluated by the service; who opens that evaluation sees the sum that it is of."""
    opened(viewer, address, plan=shown.plans[0])
    combined(viewer, shown, "plus", plan(shown, 1))
    world = np.array(ORIGIN_MM) + 3.0 * np.array([7, 6, 5])
    there = viewer.session("session.dose.grid.at(given[0])", world.tolist())
    assert there == pytest.approx(expected(world, 2.0), abs=1e-3)
    assert viewer.session("session.reference") == {"gy": 120, "name": "both prescriptions added"}
    viewer.browser.wait_text("sum of two plans, Gy, RBE-weighted dose, computed in the viewer", ".radiarch-legend")
    viewer.browser.click(viewer.browser.button("Evaluate this sum"))
    expression = "session.evaluationOf(...session.dose.parts.map((p) => p.sopUid)).planId ?? null"
    evaluation = wait_for(lambda: viewer.session(expression), "an evaluation is made", within_s=SHOWN_S)
    inputs = served.store.plans.get(evaluation).inputs
    doses = [("rtdose", shown.uid("first")), ("added_rtdose", shown.uid("second"))]
    assert [(i.kind, i.sop_instance_uid) for i in inputs] == doses
    viewer.session("session.choose(null)")
    viewer.session("session.choose({kind: 'plan', id: given[0]})", evaluation)
    viewer.wait_status("ready")
    assert viewer.session("session.dose.isSum")
    wait_for(
        lambda: viewer.browser.find("radiarch-dvh").get_attribute("plan-ids") == evaluation,
        "its curves are there", within_s=SHOWN_S,
    )  # fmt: skip
    served.store.plans.cancel(evaluation)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("physical", "they are not added"),
        ("first", "it would count double"),
        ("beam", "not doses of the same"),
        ("difference 32", "no dose"),
        ("moved", "outside of the grid of the first"),
    ],
)
def test_what_is_no_sum_is_refused(viewer: Viewer, shown: Shown, address: str, name: str, says: str) -> None:
    """Never added without a word: neither RBE-weighted to physical, nor a dose to itself."""
    opened(viewer, address, plan=shown.plans[0])
    combined(viewer, shown, "plus", {"kind": "dose", "id": shown.uid(name)}, "refused")
    viewer.browser.wait_text(says, "radiarch-viewer-dose")
    assert not viewer.wash_is_anywhere()
