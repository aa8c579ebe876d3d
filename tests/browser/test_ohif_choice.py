"""Which dose the viewer shows, and as what: the plan that was clicked, with its notes; differences with their sign."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from radiarch_contract.uids import series_instance_uid, sop_instance_uid
from radiarch_plugin.web.viewer import PACKAGE, WEB_FOLDER

from phantoms import PhantomStudy, box
from phantoms.rtdose import rtdose
from tests.client.served import Served
from tests.plugin.store.samples import new_plan
from tests.system.processes import wait_for
from tests.system.service import Service

from .browsing import Browser
from .test_ohif import PLANES, SHOWN_S, VIEWS, Viewer

pytestmark = pytest.mark.skipif(
    not (WEB_FOLDER / PACKAGE / "dist/index.html").is_file(), reason="OHIF is not installed (scripts/install)"
)

SHAPE, ORIGIN_MM, SPACING_MM = (14, 24, 28), (-40.5, -34.5, -19.5), (3.0, 3.0, 3.0)
DIFFERENCE = ("b9e2ff", "6fbcf2", "2b8fd8", "0f5fa8", "3d3a3a", "a04a0c", "dd7a22", "f7ab5c", "ffdcae")
NOTES = (
    "BODY was found from the CT",
    "The calibration of this scanner is not confirmed by the site",
    "The dose is noisy: 8 % in the target. Do not judge the plan by this dose",
    "A fifth of the spots was left out",
)


def field(scale: float = 1.0) -> npt.NDArray[np.float32]:
    """(Z, Y, X), Gy; other values everywhere."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in SHAPE), indexing="ij")
    return np.asarray(scale * (30 + 1.1 * x - 0.9 * y + 0.7 * z), dtype=np.float32)


def difference_field() -> npt.NDArray[np.float64]:
    """Below 0 on one side and above on the other, and not alike on both."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in SHAPE), indexing="ij")
    return np.asarray((x - 13.5) / 13.5 * 1.5 + (y - 12) / 40 + 0.01 * z)


def dose(study: PhantomStudy, values: npt.NDArray[Any], **changes: Any) -> Dataset:
    return rtdose(study, values.astype(np.float32), **{"origin_mm": ORIGIN_MM, "spacing_mm": SPACING_MM, **changes})


def signed(study: PhantomStudy, bits: int, **changes: Any) -> Dataset:
    """A difference of doses, in two's complement."""
    ds = dose(study, field(), DoseType="ERROR", **changes)
    scaling = 2.5 / (2 ** (bits - 1) - 1)
    ds.DoseGridScaling = f"{scaling:.9g}"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 1
    ds.PixelData = np.rint(difference_field() / float(ds.DoseGridScaling)).astype(f"<i{bits // 8}").tobytes()
    return ds


def of_plan(ds: Dataset, plan_id: str, kind: str, *, rbe: float | None = None) -> Dataset:
    """The object as a worker writes it: the derived identity, and its provenance."""
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid(plan_id, kind))
    ds.SeriesInstanceUID = UID(series_instance_uid(plan_id, kind))
    block = ds.private_block(0x99, "RADIARCH", create=True)
    block.add_new(1, "UT", json.dumps({"plan_id": plan_id, "rbe": rbe, "notes": ["µ"]}, ensure_ascii=False))
    return ds


@dataclass(frozen=True)
class Shown:
    """A study with two plans of ours, the first with a difference, and doses of other systems."""

    study: PhantomStudy
    plans: tuple[str, str]
    by_name: dict[str, Dataset]

    @property
    def study_uid(self) -> str:
        return str(self.study.rtstruct.StudyInstanceUID)

    def uid(self, name: str) -> str:
        return str(self.by_name[name].SOPInstanceUID)


@pytest.fixture(scope="module")
def shown(real: Service, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    study = box(shape=(24, 60, 60), target_mm=24, study_description="Choice", patient_id="CHOICE-BOX")
    reference = study.rtstruct
    plans = []
    for label in ("FIRST", "SECOND"):
        made, _ = served.store.plans.create(
            new_plan(
                plan_label=label,
                workflow_id="recalculation",
                patient_id=str(reference.PatientID),
                study_instance_uid=str(reference.StudyInstanceUID),
                rtstruct_sop_instance_uid=str(reference.SOPInstanceUID),
                frame_of_reference_uid=str(reference.FrameOfReferenceUID),
            )
        )
        plans.append(made.id)
    named_like_ours = {"Manufacturer": "Radiarch", "SeriesDescription": "RADIARCH dose UNAPPROVED recalculation"}
    weighted = {"DoseType": "EFFECTIVE"}
    by_name = {
        "physical": dose(study, field(), SeriesDescription="Physical"),
        "weighted": dose(study, field(1.1), SeriesDescription="Weighted", **weighted),
        "named like ours": dose(study, field(1.2), **named_like_ours, **weighted),
        "moved": dose(study, field(), SeriesDescription="Moved", origin_mm=(-43.5, -34.5, -19.5), **weighted),
        "beam": dose(study, field(0.5), SeriesDescription="Beam", DoseSummationType="BEAM"),
        "negative": signed(study, 32, SeriesDescription="Negative"),
        "difference 32": signed(study, 32, SeriesDescription="Theirs"),
        "difference 16": signed(study, 16, SeriesDescription="Theirs too"),
        "first": of_plan(dose(study, field(1.1), **weighted, SeriesDescription="Renamed"), plans[0], "rtdose", rbe=1.1),
        "second": of_plan(dose(study, field(0.9), **weighted, **named_like_ours), plans[1], "rtdose", rbe=1.1),
        "difference": of_plan(signed(study, 32, **named_like_ours), plans[0], "dose_difference"),
    }
    by_name["negative"].DoseType = "PHYSICAL"
    folder = tmp_path_factory.mktemp("choice")
    files = study.save(folder / "study")
    for name, ds in by_name.items():
        files.append(folder / f"{name}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    real.send(files)
    for plan_id, notes in zip(plans, (NOTES, ()), strict=True):
        (orthanc_id,) = real.instances({"SOPInstanceUID": sop_instance_uid(plan_id, "rtdose")})
        served.start(plan_id)
        served.succeed(plan_id, dose_orthanc_id=orthanc_id, notes=notes, provenance={"rbe": 1.1})
    return Shown(study, (plans[0], plans[1]), by_name)


@pytest.fixture(scope="module")
def address(served: Served, shown: Shown) -> str:
    return f"{served.url}/ohif/viewer?StudyInstanceUIDs={shown.study_uid}"


@pytest.fixture
def viewer(browser: Browser, real: Service, served: Served) -> Viewer:
    made = Viewer(browser, real)
    made.url = served.url
    return made


def opened(viewer: Viewer, address: str, **wanted: str) -> None:
    """Open a study at what a link names; the color wash alone, not transparent."""
    viewer.browser.open("".join([address, *(f"&{k}={v}" for k, v in wanted.items())]))
    viewer.wait(f"{VIEWS}.length === 3", "there are three viewports")
    wait_for(lambda: viewer.session("session.objects.status") == "ready", "the study is read", within_s=SHOWN_S)
    viewer.wait_status("ready", "refused", "error")


def chosen(viewer: Viewer) -> tuple[str, str]:
    kind, name = viewer.session("[session.choice?.kind ?? '', session.choice?.id ?? '']")
    return str(kind), str(name)


def test_the_plan_that_was_clicked_is_shown_though_another_is_newer(
    viewer: Viewer, shown: Shown, address: str, served: Served
) -> None:
    first, second = shown.plans
    viewer.browser.open(f"{served.url}/radiarch/ui/#/plans/{first}")
    link = str(viewer.browser.button("Open in OHIF").get_attribute("href"))
    assert link == f"{address}&plan={first}"
    opened(viewer, link)
    assert chosen(viewer) == ("plan", first)
    assert viewer.session("session.dose.label") == "FIRST"
    # each object of it leads to it as well, whatever it is called
    opened(viewer, address, object=shown.uid("first"))
    assert chosen(viewer) == ("plan", first)
    opened(viewer, address)
    assert chosen(viewer) == ("plan", second)


def test_what_is_not_there_is_said_and_nothing_else_shown(
    viewer: Viewer, shown: Shown, address: str, served: Served
) -> None:
    elsewhere, _ = served.store.plans.create(new_plan(patient_id="ELSEWHERE", study_instance_uid="1.2.3.4"))
    for wanted, says in (
        ({"plan": elsewhere.id}, "of another study"),
        ({"plan": "0" * 32}, "does not exist"),
        ({"object": "1.2.3.4.5"}, "no dose with the UID that was asked for"),
    ):
        opened(viewer, address, **wanted)
        assert viewer.status() in ("refused", "error")
        viewer.browser.wait_text(says, "radiarch-viewer-dose")
        assert not viewer.wash_is_anywhere()
        viewer.browser.complaints()  # it was not found
    served.store.plans.cancel(elsewhere.id)


def test_the_banner_says_which_plan_it_is_and_what_must_be_known_first(
    viewer: Viewer, shown: Shown, address: str
) -> None:
    opened(viewer, address, plan=shown.plans[0])
    viewer.browser.wait_text("Do not judge the plan by this dose", "radiarch-viewer-banner")
    text = viewer.browser.text("radiarch-viewer-banner")
    for word in ("FIRST", shown.plans[0][:8], "UNAPPROVED", "60 Gy in 30 to PTV"):
        assert word in text
    order = [text.index(n) for n in ("The dose is noisy", "The calibration of this scanner")]
    assert order == sorted(order)
    assert "BODY was found" not in text
    # it takes room from the images and covers none of them
    bottom, top = viewer.browser.script(
        "return [document.querySelector('radiarch-viewer-banner').getBoundingClientRect().bottom,"
        " document.querySelector('[data-cy=viewport-grid]').getBoundingClientRect().top]"
    )
    assert 60 < bottom <= top + 2
    viewer.browser.click(viewer.browser.button("2 more notes"))
    viewer.browser.wait_text("BODY was found from the CT", "radiarch-viewer-banner")
    viewer.session("session.choose({kind: 'plan', id: given[0]})", shown.plans[1])
    viewer.wait_status("ready")
    viewer.browser.wait_text("SECOND", "radiarch-viewer-banner")
    assert "judge" not in viewer.browser.text("radiarch-viewer-banner")


def test_whose_a_dose_is_follows_from_records_and_not_from_names(viewer: Viewer, shown: Shown, address: str) -> None:
    opened(viewer, address, plan=shown.plans[0])
    others = viewer.session("session.otherDoses.map((d) => d.sopUid)")
    theirs = ("physical", "weighted", "named like ours", "moved", "beam", "negative")
    assert set(others) == {shown.uid(n) for n in theirs}
    groups = viewer.browser.script(
        "return [...given[0].querySelectorAll('optgroup')].map((g) => [g.label, [...g.children].map((o) => o.value)])",
        viewer.browser.find("#choice"),
    )
    by_label = {label: set(values) for label, values in groups}
    assert by_label["Plans"] == {f"plan:{p}" for p in shown.plans}
    assert by_label["Doses of other systems"] == {f"dose:{uid}" for uid in others}
    differences = {f"dose:{shown.uid(n)}" for n in ("difference", "difference 16", "difference 32")}
    assert by_label["Differences of doses"] == differences
    offered = viewer.browser.script(
        "return [...given[0].querySelectorAll('option')].map((o) => o.value)", viewer.browser.find("#other")
    )
    assert not differences & set(offered)


def _color(gy: float, span_gy: float) -> npt.NDArray[np.float64]:
    stops = np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in DIFFERENCE], float)
    x = (min(max(gy / span_gy, -1), 1) + 1) / 2 * (len(stops) - 1)
    return np.array([np.interp(x, range(len(stops)), stops[:, c]) for c in range(3)])


@pytest.mark.parametrize("name", ["difference", "difference 32", "difference 16"])
def test_a_difference_of_doses_has_a_signed_map_of_its_own(
    viewer: Viewer, shown: Shown, address: str, name: str
) -> None:
    opened(viewer, address, object=shown.uid(name))
    assert chosen(viewer) == ("dose", shown.uid(name))
    values = difference_field()
    low, high = viewer.session("[session.dose.grid.minGy, session.dose.grid.maxGy]")
    assert (low, high) == pytest.approx((values.min(), values.max()), abs=1e-3)
    span = viewer.session("session.spanGy")
    assert span == 2.0  # the round number that holds all of it, on both sides of 0
    plain = {"opacity": 1, "threshold": 0, "lines": False, "contours": False, "beams": False}
    viewer.session("session.set(given[0])", plain)
    viewer.wait(f"{VIEWS}.every((v) => v.getActor('radiarch-dose'))", "the wash is there")
    for plane in PLANES:
        for z, y, x in ((6, 12, 4), (6, 12, 23), (9, 8, 20)):
            world = np.array(ORIGIN_MM) + 3.0 * np.array([x, y, z])
            at = viewer.go_to(plane, world)
            read_gy, read_mm = viewer.readout(plane, at)
            steps = (read_mm - world) / 3.0  # the mouse is on whole pixels
            wanted = values[z, y, x] + steps[0] * 1.5 / 13.5 + steps[1] / 40 + steps[2] * 0.01
            assert read_gy == pytest.approx(wanted, abs=2e-3), (plane, x)
            drawn = viewer.color(plane, (round(at[0]) + 0.5, round(at[1]) + 0.5))
            assert np.abs(drawn - _color(wanted, span)).max() < 12, (plane, x, drawn, _color(wanted, span))
    assert "%" not in viewer.browser.text(".radiarch-readout")
    says = "computed minus reference" if name == "difference" else "which dose was subtracted from which"
    viewer.browser.wait_text(says, ".radiarch-legend")
    viewer.browser.wait_text(says, "radiarch-viewer-banner")
    assert "Physical dose" not in viewer.browser.text("radiarch-viewer-dose")


def test_a_difference_is_judged_by_nothing(viewer: Viewer, shown: Shown, address: str) -> None:
    opened(viewer, address, object=shown.uid("difference"))
    viewer.browser.wait_text("A difference of doses has no DVH", "radiarch-viewer-dvh")
    assert "Evaluate" not in viewer.browser.text("radiarch-viewer-dvh")
    panel = viewer.browser.text("radiarch-viewer-dose")
    assert "100 % is" not in panel
    assert "Levels ( Gy )" in panel
    assert viewer.session("session.levelsGy") == [1.5, 0.5, -0.5, -1.5]
    # its plan is told, with its notes
    viewer.browser.wait_text("Do not judge the plan by this dose", "radiarch-viewer-banner")
    viewer.session("session.subtract({kind: 'plan', id: given[0]})", shown.plans[0])
    viewer.wait_status("refused")
    viewer.browser.wait_text("One of the two is a difference of doses", "radiarch-viewer-dose")


def test_values_below_zero_are_refused_where_they_are_said_to_be_a_dose(
    viewer: Viewer, shown: Shown, address: str
) -> None:
    opened(viewer, address, object=shown.uid("negative"))
    assert viewer.status() == "refused"
    viewer.browser.wait_text("values below 0", "radiarch-viewer-dose")
    assert not viewer.wash_is_anywhere()


@pytest.mark.parametrize(("one", "other", "sign"), [("physical", "first", 1), ("first", "physical", -1)])
def test_physical_is_subtracted_from_weighted_dose_by_the_constant_that_the_object_says(
    viewer: Viewer, shown: Shown, address: str, one: str, other: str, sign: int
) -> None:
    opened(viewer, address, object=shown.uid(one))
    viewer.session("session.subtract({kind: 'dose', id: given[0]})", shown.uid(other))
    viewer.wait_status("ready")
    # 1.1 times the physical dose, by RBE 1.1: nothing is left of it
    low, high = viewer.session("[session.dose.grid.minGy, session.dose.grid.maxGy]")
    assert (low, high) == pytest.approx((0, 0), abs=1e-4)
    viewer.browser.wait_text("physical dose (RBE-weighted divided by 1.1)", ".radiarch-legend")
    viewer.browser.wait_text("FIRST", "radiarch-viewer-banner")


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("physical", "weighted", "does not say by which constant RBE"),
        ("named like ours", "physical", "does not say by which constant RBE"),
        ("physical", "beam", "they are not doses of the same"),
    ],
)
def test_what_is_not_one_quantity_is_not_subtracted(
    viewer: Viewer, shown: Shown, address: str, one: str, other: str, says: str
) -> None:
    opened(viewer, address, object=shown.uid(one))
    viewer.session("session.subtract({kind: 'dose', id: given[0]})", shown.uid(other))
    viewer.wait_status("refused")
    viewer.browser.wait_text(says, "radiarch-viewer-dose")
    assert not viewer.wash_is_anywhere()


def test_two_weighted_doses_are_subtracted_as_they_are(viewer: Viewer, shown: Shown, address: str) -> None:
    opened(viewer, address, plan=shown.plans[0])
    viewer.session("session.subtract({kind: 'plan', id: given[0]})", shown.plans[1])
    viewer.wait_status("ready")
    expected = field(1.1)[5, 6, 7] - field(0.9)[5, 6, 7]
    world = (np.array(ORIGIN_MM) + 3.0 * np.array([7, 6, 5])).tolist()
    assert viewer.session("session.dose.grid.at(given[0])", world) == pytest.approx(expected, abs=1e-3)


def test_the_comparison_shows_notes_and_says_what_is_compared(
    browser: Browser, served: Served, shown: Shown, address: str
) -> None:
    first, second = shown.plans
    browser.open(f"{served.url}/radiarch/ui/#/compare/{first},{second}")
    browser.wait_text("Do not judge the plan by this dose", "radiarch-compare")
    text = browser.text("radiarch-compare")
    assert text.index("Do not judge") < text.index("not confirmed by the site")
    assert text.count("UNAPPROVED") == 2
    browser.wait_text("±0.0", ".metrics")
    physical, _ = served.store.plans.create(new_plan(plan_label="PHYSICAL"))
    served.start(physical.id)
    served.succeed(physical.id, scale=1 / 1.1, provenance={"rbe": 1})
    browser.open(f"{served.url}/radiarch/ui/#/compare/{first},{physical.id}")
    browser.wait_text("Differences of doses are of physical dose", "radiarch-compare")
    browser.wait_text("A is RBE-weighted and B physical dose", "radiarch-dvh")
    browser.wait_text("±0.0", ".metrics")
    differences = browser.script(
        "return given[0].map((e) => e.textContent.trim())", browser.all("table.several td:last-child")
    )
    assert set(differences) == {"–"}


def test_orthanc_explorer_opens_the_dose_that_is_looked_at(
    browser: Browser, real: Service, shown: Shown, address: str
) -> None:
    for name in ("first", "physical", "difference"):
        (orthanc_id,) = real.instances({"SOPInstanceUID": shown.uid(name)})
        series = real.http.get(f"/instances/{orthanc_id}").json()["ParentSeries"]
        for page in (f"instance?uuid={orthanc_id}", f"series?uuid={series}"):
            browser.open(f"{real.orthanc_url}/app/explorer.html#{page}")
            link = str(browser.button("Open in OHIF").get_attribute("href"))
            assert link.endswith(f"/ohif/viewer?StudyInstanceUIDs={shown.study_uid}&object={shown.uid(name)}")


def test_a_plan_of_another_system_has_no_dose_to_open(
    browser: Browser, real: Service, shown: Shown, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = dose(shown.study, field(), Modality="RTPLAN", SOPInstanceUID=generate_uid(), Manufacturer="Other")
    path = tmp_path_factory.mktemp("plan") / "plan.dcm"
    plan.file_meta.MediaStorageSOPInstanceUID = plan.SOPInstanceUID
    plan.save_as(path, enforce_file_format=True)
    real.send([path])
    (orthanc_id,) = real.instances({"SOPInstanceUID": str(plan.SOPInstanceUID)})
    browser.open(f"{real.orthanc_url}/app/explorer.html#instance?uuid={orthanc_id}")
    wait_for(lambda: browser.all("#radiarch-instance"), "our block is there", within_s=SHOWN_S)
    browser.wait_text("Other", "#instance")
    assert "Open in OHIF" not in browser.text("#radiarch-instance")
    real.delete("instances", orthanc_id)
