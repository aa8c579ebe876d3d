"""OHIF in a real browser on a real Orthanc: doses lie where their DICOM says, and nothing of another choice stays."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTPlanStorage, generate_uid
from radiarch_plugin.web.viewer import PACKAGE, WEB_FOLDER

from phantoms import PhantomStudy, box
from phantoms.positions import POSITIONS, gantry_axes
from phantoms.rtdose import rtdose
from tests.system.processes import wait_for
from tests.system.service import Service

from .browsing import Browser

PREFETCHED = "2623"
"""OHIF names this part itself."""
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
PLANES = ("axial", "sagittal", "coronal")
SHOWN_S = 90.0
"""A bound, not an expectation: WebGL in software, on a machine with other work."""

pytestmark = pytest.mark.skipif(
    not (WEB_FOLDER / PACKAGE / "dist/index.html").is_file(), reason="OHIF is not installed (scripts/install)"
)

VIEWS = "cornerstone.getRenderingEngines()[0].getViewports()"
VIRIDIS = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")


@dataclass(frozen=True)
class Doses:
    """A study with doses of other systems, by what is peculiar about them."""

    study: PhantomStudy
    by_name: dict[str, Dataset] = field(default_factory=dict)

    @property
    def study_uid(self) -> str:
        return str(self.study.rtstruct.StudyInstanceUID)

    def uid(self, name: str) -> str:
        return str(self.by_name[name].SOPInstanceUID)


@pytest.fixture(scope="module")
def service(real: Service) -> Service:
    """Orthanc with the plugin; no worker, so that what is asked for stays queued."""
    return real


@pytest.fixture(scope="module")
def doses(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Doses:
    study = box(shape=(24, 60, 60), target_mm=24, study_description="Viewer")
    made = {
        "relative": _dose(study, SeriesDescription="Relative"),
        "absolute": _dose(study, absolute=True, bits=16, scale=0.5, SeriesDescription="Absolute"),
        "flipped": _dose(study, flip=(True, True, False), SeriesDescription="Flipped"),
        "irregular": _dose(study, SeriesDescription="Irregular"),
        "elsewhere": _dose(study, FrameOfReferenceUID=generate_uid(), SeriesDescription="Elsewhere"),
        "relative units": _dose(study, DoseUnits="RELATIVE", SeriesDescription="Units"),
        "prescribed": _dose(study, SeriesDescription="Prescribed", DoseSummationType="PLAN"),
    }
    made["its plan"] = _plan_of(made["prescribed"])
    offsets = [float(v) for v in made["irregular"].GridFrameOffsetVector]
    offsets[3] += 1.0
    made["irregular"].GridFrameOffsetVector = offsets
    folder = tmp_path_factory.mktemp("doses")
    files = study.save(folder / "study")
    for name, dose in made.items():
        files.append(folder / f"{name}.dcm")
        dose.save_as(files[-1], enforce_file_format=True)
    service.send(files)
    return Doses(study, made)


def _dose(study: PhantomStudy, *, scale: float = 1.0, **changes: Any) -> Dataset:
    """3 mm on the CT's 2 mm, off its centers; other values everywhere, and no symmetry that could hide a mistake."""
    x, y, z = np.meshgrid(np.arange(30), np.arange(26), np.arange(13), indexing="ij")
    gy = 10 + 1.1 * x + 0.7 * y + 1.9 * z + 6 * np.sin(x / 4) * np.cos(y / 5)
    values = (scale * gy).transpose(2, 1, 0).astype(np.float32)
    return rtdose(study, values, origin_mm=(-43.5, -37.5, -18.2), spacing_mm=(3.0, 3.0, 3.0), **changes)


def _plan_of(dose: Dataset) -> Dataset:
    """Another system's plan of a dose: 48 Gy to the target and 40 Gy to the rest, in 24 fractions."""
    plan = Dataset()
    plan.file_meta = copy.deepcopy(dose.file_meta)
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "InstanceCreationDate"):
        if name in dose:
            setattr(plan, name, dose[name].value)
    plan.SOPClassUID = plan.file_meta.MediaStorageSOPClassUID = RTPlanStorage
    plan.SOPInstanceUID = plan.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    plan.SeriesInstanceUID, plan.Modality, plan.RTPlanLabel = generate_uid(), "RTPLAN", "OTHER"
    plan.DoseReferenceSequence = []
    for number, (kind, gy) in enumerate((("TARGET", 40), ("TARGET", 48), ("ORGAN_AT_RISK", 60)), start=1):
        item = Dataset()
        item.DoseReferenceNumber, item.DoseReferenceType, item.DoseReferenceStructureType = number, kind, "VOLUME"
        item.TargetPrescriptionDose = gy
        item.ReferencedROINumber = number
        plan.DoseReferenceSequence.append(item)
    group = Dataset()
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 24
    plan.FractionGroupSequence = [group]
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = RTPlanStorage, plan.SOPInstanceUID
    dose.ReferencedRTPlanSequence = [reference]
    return plan


class Viewer:
    """The planning mode in the browser."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self.browser = browser
        self.url = service.orthanc_url

    def open(self, study_uid: str, *, address: str = "radiarch") -> None:
        """Open a study, unless it is open."""
        if self.browser.driver.current_url == f"{self.url}/ohif/radiarch?StudyInstanceUIDs={study_uid}":
            return
        self.browser.open(f"{self.url}/ohif/{address}?StudyInstanceUIDs={study_uid}")
        self.wait(f"{VIEWS}.length === 3", "there are three viewports")

    def wait(self, condition: str, what: str) -> None:
        script = f"try {{ return Boolean({condition}) }} catch {{ return false }}"
        wait_for(
            lambda: self.browser.script(script), what, within_s=SHOWN_S, describe=lambda: self.browser.text()[:3000]
        )

    def session(self, expression: str, *arguments: Any) -> Any:
        """An expression about the session, evaluated in one turn."""
        module = "(await import('/ohif/extension/session.js'))"
        return self.browser.module(f"((session) => {expression})({module}.session)", *arguments)

    def choose(self, sop_uid: str) -> None:
        self.session("session.choose({kind: 'dose', id: given[0]})", sop_uid)

    def status(self) -> str:
        status: str = self.session("session.dose.status")
        return status

    def wait_status(self, *statuses: str) -> None:
        wait_for(
            lambda: self.status() in statuses, f"the dose is {' or '.join(statuses)}", within_s=SHOWN_S,
            describe=lambda: self.browser.text()[:3000],
        )  # fmt: skip

    def show(self, sop_uid: str, **display: Any) -> None:
        """Only the color wash of a dose, not transparent, on all three planes."""
        wait_for(lambda: self.session("session.objects.status") == "ready", "the study is read", within_s=SHOWN_S)
        self.choose(sop_uid)
        plain = {"opacity": 1, "threshold": 0, "lines": False, "contours": False, "beams": False, **display}
        self.session("session.set(given[0])", plain)
        self.wait_status("ready")
        self.wait(f"{VIEWS}.every((v) => v.getActor('radiarch-dose'))", "the wash is there")

    def style(self, **display: Any) -> None:
        """Change how the dose is drawn, and wait until it is."""
        self.session("session.set(given[0])", display)
        self.browser.module("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if "wash" in display:
            shown = str(bool(display["wash"])).lower()
            self.wait(
                f"{VIEWS}.every((v) => Boolean(v.getActor('radiarch-dose')) === {shown})", "the wash is as wanted"
            )

    def colored_pixels(self) -> list[int]:
        """How much of each viewport's picture is not grey, as it is now."""
        counts: list[int] = self.browser.script(f"""return {VIEWS}.map((v) => {{
            const shot = document.createElement('canvas').getContext('2d', {{ willReadFrequently: true }});
            [shot.canvas.width, shot.canvas.height] = [v.canvas.width, v.canvas.height];
            shot.drawImage(v.canvas, 0, 0);
            const d = shot.getImageData(0, 0, v.canvas.width, v.canvas.height).data;
            let n = 0;
            for (let i = 0; i < d.length; i += 4) {{
              const rgb = d.slice(i, i + 3);
              n += Math.max(...rgb) - Math.min(...rgb) > 20;
            }}
            return n;
        }})""")
        return counts

    def wash_is_anywhere(self) -> bool:
        """Whether any viewport still holds a dose."""
        found: bool = self.browser.script(f"return {VIEWS}.some((v) => v.getActor('radiarch-dose') !== undefined)")
        return found

    def go_to(self, plane: str, point: npt.NDArray[np.float64]) -> tuple[float, float]:
        """Show the plane through a position; where that is in the page, CSS pixels."""
        x, y = self.browser.script(
            f"""
            const v = {VIEWS}.find((v) => v.id === `radiarch-${{given[0]}}`), p = given[1], camera = v.getCamera();
            const n = camera.viewPlaneNormal, f = camera.focalPoint;
            const d = [0, 1, 2].reduce((sum, i) => sum + n[i] * (p[i] - f[i]), 0);
            const moved = (q) => q.map((c, i) => c + n[i] * d);
            v.setCamera({{ focalPoint: moved(f), position: moved(camera.position) }});
            v.render();
            const at = v.worldToCanvas(p), box = v.canvas.getBoundingClientRect();
            return [at[0] + box.left, at[1] + box.top];
            """,
            plane,
            point.tolist(),
        )
        return x, y

    def readout(self, plane: str, at: tuple[float, float]) -> tuple[float, npt.NDArray[np.float64]]:
        """What the viewport says of the point under the mouse: dose, Gy, and position, mm."""
        x, y = (round(c) for c in at)
        self.browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
        script = f"""
            const v = {VIEWS}.find((v) => v.id === `radiarch-${{given[0]}}`);
            const e = v.element.querySelector('.radiarch-readout');
            return e.style.display === 'block' ? [e.dataset.gy, e.dataset.world, e.textContent] : null;
        """
        gy, world, text = wait_for(lambda: self.browser.script(script, plane), "the dose is read", within_s=SHOWN_S)
        assert f"{float(gy):.2f} Gy" in text
        return float(gy), np.array([float(c) for c in world.split()])

    def color(self, plane: str, at: tuple[float, float]) -> npt.NDArray[np.float64]:
        """What is really drawn at a point, RGB: read from the canvas when the next picture of it is done."""
        expression = f"""new Promise((done) => {{
            const v = {VIEWS}.find((v) => v.id === `radiarch-${{given[0]}}`), box = v.canvas.getBoundingClientRect();
            v.element.addEventListener('CORNERSTONE_IMAGE_RENDERED', () => {{
              const shot = document.createElement('canvas').getContext('2d', {{ willReadFrequently: true }});
              [shot.canvas.width, shot.canvas.height] = [v.canvas.width, v.canvas.height];
              shot.drawImage(v.canvas, 0, 0);
              const scale = v.canvas.width / box.width;
              done([...shot.getImageData((given[1] - box.left) * scale, (given[2] - box.top) * scale, 1, 1).data]);
            }}, {{ once: true }});
            v.render();
        }})"""
        return np.array(self.browser.module(expression, plane, *at)[:3], float)


@pytest.fixture(scope="module")
def viewer(chrome: Browser, service: Service) -> Iterator[Viewer]:
    """One for all tests, as loading OHIF takes most of their time; its console stays without errors."""
    chrome.complaints()
    yield Viewer(chrome, service)
    complaints = chrome.complaints()
    chrome.open("about:blank")
    assert not complaints


def _grid(dose: Dataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The matrix from (frame, row, column, 1) to patient mm, and the doses in Gy; by pydicom and the standard alone."""
    row, column = np.array(dose.ImageOrientationPatient, float).reshape(2, 3)
    position = np.array(dose.ImagePositionPatient, float)
    offsets = np.array(dose.GridFrameOffsetVector, float)
    step = (offsets[-1] - offsets[0]) / (len(offsets) - 1)
    spacing = [float(v) for v in dose.PixelSpacing]
    columns = (np.cross(row, column) * step, column * spacing[0], row * spacing[1], position)
    return np.stack(columns, axis=1), dose.pixel_array.astype(np.float64) * float(dose.DoseGridScaling)


def _at(dose: Dataset, world: npt.NDArray[np.float64]) -> float:
    """Dose at a position, trilinear."""
    matrix, gy = _grid(dose)
    index = np.linalg.solve(matrix[:, :3], world - matrix[:, 3])
    low = np.clip(np.floor(index).astype(int), 0, np.array(gy.shape) - 2)
    part = index - low
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(np.array(corner) == 1, part, 1 - part))
        total += float(weight * gy[tuple(low + corner)])
    return total


def _viridis(share: float) -> npt.NDArray[np.float64]:
    stops = np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in VIRIDIS], float)
    x = min(max(share, 0), 1) * (len(stops) - 1)
    return np.array([np.interp(x, range(len(stops)), stops[:, c]) for c in range(3)])


def _check_points(viewer: Viewer, dose: Dataset, points: list[tuple[int, int, int]]) -> None:
    """Read-out and color at voxel centers (frame, row, column), on all three planes."""
    matrix, gy = _grid(dose)
    for plane in PLANES:
        for point in points:
            world = matrix @ np.array([*point, 1.0])
            at = viewer.go_to(plane, world)
            read_gy, read_mm = viewer.readout(plane, at)
            # the mouse is on whole pixels
            assert np.abs(read_mm - world).max() < 1.0, (plane, point)
            assert read_gy == pytest.approx(_at(dose, read_mm), abs=1e-3), (plane, point)
            # without rounding in the plane the voxel has the value that DICOM says
            there = viewer.session("session.dose.grid.at(given[0])", world.tolist())
            assert there == pytest.approx(gy[point], rel=1e-5), (plane, point)
            wanted = _viridis(_at(dose, read_mm) / (1.1 * gy.max()))
            drawn = viewer.color(plane, (round(at[0]) + 0.5, round(at[1]) + 0.5))
            assert np.abs(drawn - wanted).max() < 9, (plane, point, drawn, wanted)


@pytest.mark.parametrize("position", [*POSITIONS, "SITTING"])
def test_beams_are_drawn_from_where_the_source_is(viewer: Viewer, doses: Doses, position: str) -> None:
    viewer.open(doses.study_uid)
    for gantry, couch in ((0, 0), (90, 0), (37.5, 0), (211, 342), (300, 75)):
        found = viewer.browser.module(
            "(await import('/ohif/extension/beams.js')).towardsSource(given[0], given[1])",
            {"gantry_deg": gantry, "couch_deg": couch},
            position,
        )
        if position == "SITTING":
            assert found is None
        else:
            assert found == pytest.approx(gantry_axes(gantry, couch, position)[:, 2].tolist(), abs=1e-9)


@pytest.mark.parametrize("name", ["relative", "absolute", "flipped"])
def test_a_dose_is_drawn_where_its_dicom_says_with_the_values_that_it_says(
    viewer: Viewer, doses: Doses, name: str
) -> None:
    viewer.open(doses.study_uid, address="viewer")  # the address that OHIF's users know, for the first
    viewer.show(doses.uid(name))
    points = [(2, 5, 4), (6, 20, 22), (10, 8, 25)]
    _check_points(viewer, doses.by_name[name], points if name == "relative" else points[:1])


def test_a_dose_is_on_all_planes_without_touching_them(viewer: Viewer, doses: Doses) -> None:
    """Each change of the dose leads to a picture of it by itself; it opens where the dose is largest."""
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    for name in ("absolute", "flipped"):
        viewer.session("session.choose(null)")
        wait_for(lambda: max(viewer.colored_pixels()) == 0, "the dose before is gone", within_s=SHOWN_S)
        viewer.choose(doses.uid(name))
        wait_for(lambda: min(viewer.colored_pixels()) > 1000, "there is dose on each plane", within_s=SHOWN_S)
    matrix, gy = _grid(doses.by_name["flipped"])
    world = matrix @ np.array([*np.unravel_index(gy.argmax(), gy.shape), 1.0])
    assert viewer.session("session.center") == pytest.approx(world.tolist(), abs=1e-3)
    viewer.session("session.goTo(session.center)")
    for normal, focal in viewer.browser.script(
        f"return {VIEWS}.map((v) => v.getCamera()).map((c) => [c.viewPlaneNormal, c.focalPoint])"
    ):
        assert np.dot(normal, world - np.array(focal)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("subtracted", [None, "absolute"])
def test_above_the_threshold_every_dose_covers_the_images_alike(
    viewer: Viewer, doses: Doses, subtracted: str | None
) -> None:
    """Half opaque is half of the image and half of the color, whatever the dose; below the threshold is the image."""
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    minus = {"kind": "dose", "id": doses.uid(subtracted)} if subtracted else None
    viewer.session("session.subtract(given[0])", minus)
    viewer.wait_status("ready")
    viewer.wait(f"{VIEWS}.every((v) => v.getActor('radiarch-dose'))", "the wash is there")
    matrix, _ = _grid(doses.by_name["relative"])
    # 31 % and 82 % of the largest dose; half of that is the difference, whose scale is ten times as fine
    for threshold, low_is_seen in ((0, True), (50, subtracted is not None)):
        for point in ((2, 5, 4), (10, 20, 25)):
            at = viewer.go_to("axial", matrix @ np.array([*point, 1.0]))
            at = (round(at[0]) + 0.5, round(at[1]) + 0.5)
            drawn = []
            for display in ({"wash": False}, {"wash": True, "opacity": 1}, {"wash": True, "opacity": 0.5}):
                viewer.style(threshold=threshold, **display)
                drawn.append(viewer.color("axial", at))
            image, color, half = drawn
            if point == (2, 5, 4) and not low_is_seen:
                assert np.abs(color - image).max() <= 2
                continue
            assert np.abs(color - image).max() > 20
            assert np.abs(half - (image + color) / 2).max() < 9, (threshold, point, drawn)


@pytest.mark.parametrize(
    ("name", "says"),
    [("irregular", "not evenly spaced"), ("relative units", "not in Gy")],
)
def test_a_dose_that_cannot_be_drawn_truthfully_is_refused(viewer: Viewer, doses: Doses, name: str, says: str) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    viewer.choose(doses.uid(name))
    viewer.wait_status("refused")
    viewer.browser.wait_text(says, "radiarch-viewer-dose")
    assert not viewer.wash_is_anywhere()


def test_a_dose_of_another_frame_of_reference_is_not_drawn(viewer: Viewer, doses: Doses) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    viewer.choose(doses.uid("elsewhere"))
    viewer.wait_status("ready")
    viewer.browser.wait_text("another frame of reference", ".radiarch-legend")
    assert not viewer.wash_is_anywhere()


def test_the_dose_before_is_gone_in_the_same_turn(viewer: Viewer, doses: Doses) -> None:
    """Not only soon: whatever is asked for comes later, but what was there is gone before anything can be seen."""
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"), lines=True)
    left = viewer.session(
        f"(session.choose({{kind: 'dose', id: given[0]}}), [session.dose.grid ?? null, "
        f"{VIEWS}.filter((v) => v.getActor('radiarch-dose')).length, "
        "[...document.querySelectorAll('.radiarch-legend')].map((e) => e.textContent).join()])",
        doses.uid("absolute"),
    )
    assert left[:2] == [None, 0]
    assert "Relative" not in left[2]
    viewer.wait_status("ready")
    assert viewer.session("session.dose.label").startswith("Absolute")


def test_a_late_answer_for_another_choice_is_dropped(viewer: Viewer, doses: Doses) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    viewer.session(
        "given.forEach((id) => session.choose({kind: 'dose', id}))",
        *(doses.uid(name) for name in ("absolute", "flipped", "irregular", "absolute")),
    )
    viewer.wait_status("ready", "refused", "error")
    assert viewer.session("session.dose.label").startswith("Absolute")
    assert viewer.session("session.dose.grid.maxGy") == pytest.approx(_grid(doses.by_name["absolute"])[1].max())


def test_the_difference_of_two_doses(viewer: Viewer, doses: Doses) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    viewer.session("session.subtract({kind: 'dose', id: given[0]})", doses.uid("absolute"))
    viewer.wait_status("ready")
    first, second = (doses.by_name[name] for name in ("relative", "absolute"))
    world = _grid(first)[0] @ np.array([6, 12, 15, 1.0])
    wanted = _at(first, world) - _at(second, world)
    assert viewer.session("session.dose.grid.at(given[0])", world.tolist()) == pytest.approx(wanted, abs=1e-3)


def test_a_queued_plan_shows_no_dose_of_another_one(viewer: Viewer, doses: Doses, service: Service) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    request = {
        "rtstruct_sop_instance_uid": str(doses.study.rtstruct.SOPInstanceUID),
        "workflow_id": "proton-impt-basic",
        "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
    }
    answer = service.http.post("/radiarch/api/v1/plans", json=request)
    assert answer.status_code == 201, answer.text
    plan_id = answer.json()["id"]
    viewer.session("session.choose({kind: 'plan', id: given[0]})", plan_id)
    viewer.wait_status("pending")
    assert not viewer.wash_is_anywhere()
    viewer.browser.wait_text("not computed yet", ".radiarch-legend")
    assert "Relative" not in viewer.browser.text(".radiarch-legend")
    service.cancel(plan_id)
    wait_for(lambda: viewer.status() == "error", "the cancelled plan is told", within_s=SHOWN_S)


def test_a_dose_of_another_system_is_evaluated_on_demand(viewer: Viewer, doses: Doses, service: Service) -> None:
    """With the structure set that is shown; its curves stand beside no other dose."""
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    goals = viewer.browser.find("textarea")
    viewer.browser.type(goals, "PTV: D95% 5 Gy")
    viewer.browser.wait_text("expected ≥ or ≤", "radiarch-viewer-dvh")
    viewer.browser.type(goals, "PTV: Dmean ≥ 5 Gy")
    viewer.browser.click(viewer.browser.button("Evaluate this dose"))
    expression = "session.evaluationOf(session.choice.id).planId ?? null"
    plan_id = wait_for(lambda: viewer.session(expression), "an evaluation is made", within_s=SHOWN_S)
    plan = service.plan(plan_id)
    assert [i["sop_instance_uid"] for i in plan["inputs"]] == [doses.uid("relative")]
    assert plan["rtstruct_sop_instance_uid"] == str(doses.study.rtstruct.SOPInstanceUID)
    assert [g["text"] for g in plan["goals"]] == ["PTV: Dmean ≥ 5 Gy"]
    viewer.browser.wait_text("No dose-volume histogram yet", "radiarch-viewer-dvh")
    viewer.choose(doses.uid("absolute"))
    viewer.browser.wait_text("Evaluate this dose", "radiarch-viewer-dvh")
    service.cancel(plan_id)


def test_a_dose_is_evaluated_from_the_page_of_checks(browser: Browser, doses: Doses, service: Service) -> None:
    wanted = doses.uid("relative")
    browser.open(f"{service.orthanc_url}/radiarch/ui/#/check/{doses.study_uid}/{wanted}")
    assert browser.find("#object").get_attribute("value") == wanted
    browser.type(browser.find("#goals"), "PTV: D95% >= 95%")
    for place, text in (("#target", "PTV"), ("#dose", "48"), ("#fractions", "24")):
        browser.type(browser.find(place), text)
    browser.script(
        "given[0].value = given[1]; given[0].dispatchEvent(new Event('change'))",
        browser.find("#other"),
        doses.uid("flipped"),
    )
    browser.click(browser.button("Evaluate"))
    plan = service.plan(str(browser.find("radiarch-plan-page").get_attribute("plan-id")))
    assert plan["workflow_id"] == "evaluation"
    assert [i["sop_instance_uid"] for i in plan["inputs"]] == [wanted, doses.uid("flipped")]
    assert plan["prescription"]["dose_gy"] == 48
    assert [g["text"] for g in plan["goals"]] == ["PTV: D95% ≥ 95%"]
    service.cancel(plan["id"])


def test_what_is_wrong_with_a_check_is_said_by_the_service(browser: Browser, doses: Doses, service: Service) -> None:
    browser.open(f"{service.orthanc_url}/radiarch/ui/#/check/{doses.study_uid}/{doses.uid('its plan')}")
    browser.click(browser.button("Recalculate"))
    browser.wait_text("0 structure sets, expected one", "radiarch-check-form")
    browser.complaints()  # that it was refused


def test_the_prescription_of_another_systems_plan_is_100_percent(viewer: Viewer, doses: Doses) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("prescribed"))
    assert viewer.session("session.reference") == {"gy": 48, "name": "highest prescription of its RT Plan"}
    viewer.show(doses.uid("relative"))
    assert viewer.session("session.reference.name") == "maximum of this dose"


def test_why_a_structure_set_was_not_planned_is_said(viewer: Viewer, doses: Doses, service: Service) -> None:
    viewer.open(doses.study_uid)
    (arrival,) = service.api("/arrivals", rtstruct_uid=str(doses.study.rtstruct.SOPInstanceUID))["items"]
    assert arrival["state"] == "not_planned"
    viewer.browser.wait_text(arrival["error"]["message"][1:], "radiarch-viewer-dose")
    viewer.browser.wait_text(arrival["error"]["remedy"][1:], "radiarch-viewer-dose")


def test_contours_lie_on_the_structures(viewer: Viewer, doses: Doses) -> None:
    """The target's outline is a square of its size, on the plane across and on those along the body."""
    viewer.open(doses.study_uid)
    wait_for(lambda: viewer.session("session.structures.status") == "ready", "structures are read", within_s=SHOWN_S)
    names = viewer.session("session.structures.items.map((s) => s.name)")
    assert names == ["BODY", "PTV", "OAR"]
    segments = viewer.browser.module(
        "(await import('/ohif/extension/lines.js')).crossings((await import('/ohif/extension/session.js'))"
        ".session.structures.items[1], {point: [0, 1, 0], normal: [0, 1, 0]})"
    )
    points = np.array(segments).reshape(-1, 3)
    assert np.ptp(points, axis=0) == pytest.approx([24, 0, 24], abs=0.1)
    assert points.mean(axis=0) == pytest.approx([0, 1, 0], abs=0.1)


def test_nothing_comes_from_elsewhere(viewer: Viewer, doses: Doses) -> None:
    viewer.open(doses.study_uid)
    viewer.show(doses.uid("relative"))
    hosts = viewer.browser.script(
        "return [...new Set(performance.getEntriesByType('resource').map((e) => new URL(e.name)))]"
        ".filter((u) => u.protocol.startsWith('http')).map((u) => u.origin)"
    )
    assert set(hosts) == {viewer.url}


def test_the_page_names_the_parts_that_the_viewer_asks_for(viewer: Viewer, doses: Doses) -> None:
    """They come while the main script is read; what is named in vain, or asked for unnamed, has changed with OHIF."""
    viewer.open(doses.study_uid)
    script = """
    const last = (url) => url.split('/').pop();
    const named = [...document.querySelectorAll('link[rel=preload][href*="/ohif/"]')].map((e) => last(e.href));
    const styles = [...document.querySelectorAll('link[rel=stylesheet]')].map((e) => last(e.href));
    return [named, styles, window.rspackChunk.flatMap(([ids]) => ids).map(String)];
    """

    def look() -> tuple[set[str], set[str], set[str]]:
        named, styles, loaded = viewer.browser.script(script)
        return set(named), set(styles), {f"{number}.js" for number in loaded}

    def numbered(names: set[str], suffix: str) -> set[str]:
        return {f"{n.partition('.')[0]}{suffix}" for n in names if n.endswith(suffix) and n[0].isdigit()}

    def all_loaded() -> bool:
        named, styles, loaded = look()
        return numbered(named, ".js") <= loaded and numbered(named, ".css") <= styles

    wait_for(all_loaded, "every part that the page names is asked for", within_s=SHOWN_S, describe=lambda: str(look()))
    named, styles, loaded = look()
    assert len(named) > 20
    assert numbered(named, ".js") == loaded - {f"{PREFETCHED}.js"}
    assert numbered(named, ".css") == numbered(styles, ".css") - {f"{PREFETCHED}.css"}


def test_structure_sets_are_read_after_the_images_begin(viewer: Viewer, doses: Doses) -> None:
    """Orthanc writes megabytes for them, which nothing that is drawn waits for; in the end they are read."""
    viewer.open(doses.study_uid)
    series_uid = str(doses.study.rtstruct.SeriesInstanceUID)
    starts = "performance.getEntriesByType('resource').filter((e) => e.name.includes(given[0])).map((e) => e.startTime)"
    asked = wait_for(
        lambda: viewer.browser.script(f"return {starts}", f"{series_uid}/metadata"), "it is read", within_s=SHOWN_S
    )
    assert min(asked) > min(viewer.browser.script(f"return {starts}", "/frames/"))


# the tests above share a study; each of these opens another, which takes some seconds


def test_contours_are_read_anew_where_the_structure_set_was_replaced(
    viewer: Viewer, service: Service, tmp_path: Path
) -> None:
    """Under the same UID: the newer plan is not shown with the contours of the older one."""
    study = box(shape=(8, 40, 40), target_mm=12)  # the description that a protocol plans
    files = study.save(tmp_path)
    uid = str(study.rtstruct.SOPInstanceUID)
    service.send(files)
    first = service.wait_for_plan(uid)["id"]
    viewer.open(str(study.rtstruct.StudyInstanceUID))
    wait_for(lambda: viewer.session("session.structures.status") == "ready", "structures are read", within_s=SHOWN_S)
    viewer.session("session.choose({kind: 'plan', id: given[0]})", first)
    viewer.wait_status("pending")
    service.delete("instances", *service.instances({"SOPInstanceUID": uid}))
    study.rtstruct.StructureSetROISequence[2].ROIName = "Replaced"
    study.rtstruct.save_as(files[-1], enforce_file_format=True)
    service.send([files[-1]])
    second = service.wait(
        lambda: next((p["id"] for p in service.plans(uid) if p["id"] != first), None), "a new plan is made"
    )
    wait_for(lambda: viewer.session("session.plan?.superseded_by") == second, "it is superseded", within_s=SHOWN_S)
    viewer.browser.wait_text("This plan is superseded", "radiarch-viewer-dose")
    viewer.session("session.choose({kind: 'plan', id: given[0]})", second)
    names = "(session.structures.items ?? []).map((s) => s.name)"
    wait_for(lambda: "Replaced" in viewer.session(names), "the new contours are there", within_s=SHOWN_S)
    service.cancel(second)


@pytest.mark.cases
@pytest.mark.skipif(not (CASES / "prostate/RTDOSE.dcm").is_file(), reason="the case is not beside the checkout")
def test_the_clinical_dose_of_the_prostate_case_is_drawn_right(viewer: Viewer, service: Service) -> None:
    folder = CASES / "prostate"
    service.send([*sorted((folder / "CT").iterdir()), folder / "RTSTRUCT.dcm", folder / "RTDOSE.dcm"])
    dose = pydicom.dcmread(folder / "RTDOSE.dcm")
    viewer.open(str(dose.StudyInstanceUID))
    viewer.show(str(dose.SOPInstanceUID))
    _check_points(viewer, dose, [(25, 50, 68), (32, 55, 80)])
