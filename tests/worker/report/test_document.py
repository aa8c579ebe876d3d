"""The report says what the plan is, in every script, and is the same whenever it is drawn."""

from __future__ import annotations

import dataclasses
import io
import unicodedata

import numpy as np
import pypdf
import pytest
from radiarch_contract.goals import GoalResult
from radiarch_contract.robustness import DvhBand, GoalBand, MetricBand, Robustness, ScenarioResult
from radiarch_contract.states import GoalStatus
from radiarch_contract.verdict import AtLeast, AtMost, Criterion, Verdict
from radiarch_worker.evaluation import Evaluation
from radiarch_worker.position import PatientPosition
from radiarch_worker.report import Checked, draw, fonts
from radiarch_worker.report.document import Report
from radiarch_worker.report.side import side_of_source

from tests.worker.dicom import waterbox
from tests.worker.dicom.test_rtdose import evaluation_of

pytestmark = pytest.mark.slow

NAMES = {
    "Latin": "Nguyễn^Zoë",
    "Greek": "Παπαδόπουλος^Γιώργος",
    "Cyrillic": "Достоевский^Фёдор",
    "Japanese": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Chinese": "Wang^XiaoDong=王^小东",
    "Korean": "Hong^Gildong=洪^吉洞=홍^길동",
    "Arabic": "محمد^عبد",
    "Hebrew": "אברהם^כהן",
    "Thai": "สมชาย^ใจดี",
    "Devanagari": "अमिताभ^बच्चन",
}


def reported(case: waterbox.Case, evaluation: Evaluation | None = None) -> Report:
    return draw(case.spec, case.patient, case.plan, evaluation or evaluation_of(case))


def named(name: str) -> waterbox.Case:
    case = waterbox.case()
    ct = dataclasses.replace(case.patient.ct, study=waterbox.study(name))
    return dataclasses.replace(case, patient=dataclasses.replace(case.patient, ct=ct))


def texts(report: Report) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(report.pdf)).pages]


@pytest.fixture(scope="module")
def case() -> waterbox.Case:
    return waterbox.case()


@pytest.fixture(scope="module")
def report(case: waterbox.Case) -> Report:
    return reported(case)


def test_the_same_plan_gives_the_same_bytes(case: waterbox.Case, report: Report) -> None:
    again = reported(waterbox.case())
    assert again.pdf == report.pdf
    assert again.pictures == report.pictures


def test_it_is_dated_by_the_plan(case: waterbox.Case, report: Report) -> None:
    found = pypdf.PdfReader(io.BytesIO(report.pdf)).metadata
    assert found is not None
    assert found.creation_date == case.spec.created_at.replace(microsecond=0)


def test_every_page_says_whose_which_and_that_it_is_not_approved(case: waterbox.Case, report: Report) -> None:
    pages = texts(report)
    assert 3 <= len(pages) <= 4
    for number, text in enumerate(pages, start=1):
        assert "UNAPPROVED" in text
        assert "RAD-0001" in text
        assert f"Page {number} of {len(pages)}" in text
        assert "2.25.255473268140228765634910058222973795681" in text  # the plan's UID


def test_it_says_what_the_plan_is(case: waterbox.Case, report: Report) -> None:
    text = " ".join(" ".join(texts(report)).split())
    for said in (
        "60 Gy to PTV in 30 fractions of 2 Gy, RBE 1.1 included",
        "Statistical uncertainty 1.83 %",
        "PTV: D95% ≥ 95%",
        "missed",
        *("G090", "G270", "128.02", "140.80"),  # beams and their MU, summed here by hand from `waterbox.beams`
        *("ab" * 32, "cd" * 32, "01" * 32),  # hashes of machine data, calibration and protocol
        "UCL_Toshiba",
        "10 000 000",
        "Nota bene: größer",
        case.spec.plan_id,
    ):
        assert said in text, said


@pytest.mark.parametrize("script", list(NAMES))
def test_names_are_printed_in_their_script(script: str) -> None:
    """Every letter has a glyph; those that need no shaping engine are also found in the document's text."""
    name = NAMES[script]
    assert fonts.missing(name) == ()
    drawn = reported(named(name))
    assert drawn.notes == ()
    text = unicodedata.normalize("NFC", "".join(texts(drawn)))
    for part in name.replace("=", "^").split("^"):
        assert part in text or part[::-1] in text or any(r.shaped for r in fonts.runs(part)), part


def test_what_has_no_glyph_is_told_and_never_a_box() -> None:
    drawn = reported(named("Ö\U0001f9ff\U000e0041\ue000\u0007^X\u202eY"))
    text = "".join(texts(drawn))
    assert fonts.printable("a\U00012345") == "a[U+12345]"
    assert "\u202e" not in fonts.clean("X\u202eY")  # it could turn the rest of the line around
    assert "Ö" in text
    if fonts.missing("\U0001f9ff"):
        assert "[U+1F9FF]" in text
        assert any("code points" in note for note in drawn.notes)


def test_right_to_left_is_in_the_order_of_sight() -> None:
    seen = [(r.text, r.rightwards) for r in fonts.runs("ID 12: אבג (x) דה")]
    assert "".join(text for text, rightwards in seen if not rightwards) in ("אבגדה", "אבג דה")
    assert seen[0] == ("ID 12: ", True)
    mixed = [(r.text.strip(), r.rightwards) for r in fonts.runs("אבג (Mohammed) 123")]
    assert mixed[-1] == ("אבג", False)
    assert "".join(t for t, _ in mixed).startswith("123(Mohammed)") or mixed[0][0] == "123 (Mohammed)"


def test_goals_are_told_without_color(case: waterbox.Case) -> None:
    judged = evaluation_of(case)
    goals = tuple(
        GoalResult(text=f"G{n}: D95% ≥ 95%", structure=f"G{n}", value=1.0 if s else None, unit="%", status=s)
        for n, s in enumerate((GoalStatus.MET, GoalStatus.NEAR, GoalStatus.MISSED, None))
    )
    text = " ".join(texts(reported(case, dataclasses.replace(judged, goals=goals))))
    assert "4 goals: 1 met, 1 near, 1 missed, 1 no value" in " ".join(text.split())


def test_what_errors_do_is_told(case: waterbox.Case) -> None:
    nominal, shifted = (
        ScenarioResult(name=n, shift_mm=(x, 0, 0), range_percent=0, random_mm=(0, 0, 0), uncertainty_percent=2)
        for n, x in (("nominal", 0.0), ("x +5 mm", 5.0))
    )
    goal = GoalBand(
        text="PTV: D95% ≥ 95%", structure="PTV", unit="%", nominal=97.25, worst=88.5, worst_scenario="x +5 mm",
        worst_status=GoalStatus.MISSED, met=1, scenarios=2,
    )  # fmt: skip
    metric = MetricBand(
        structure="PTV", roi_number=waterbox.PTV, metric="D95%", nominal_gy=58.35, low_gy=53.125, high_gy=58.375,
        low_scenario="x +5 mm", high_scenario="nominal",
    )  # fmt: skip
    band = DvhBand(
        structure="PTV",
        roi_number=waterbox.PTV,
        dose_gy=(0, 50, 62),
        low_percent=(100, 80, 0),
        high_percent=(100, 99, 1),
    )
    robustness = Robustness(
        strategy="REDUCED_SET", setup_systematic_mm=(5, 5, 5), setup_random_mm=(0, 0, 0), range_percent=3.5,
        scenarios=(nominal, shifted), bands=(band,), metrics=(metric,), goals=(goal,),
    )  # fmt: skip
    plan = dataclasses.replace(case.plan, robustness=robustness)
    text = " ".join(" ".join(texts(reported(dataclasses.replace(case, plan=plan)))).split())
    for said in ("2 scenarios", "97.25 %", "88.50 %", "1 of 2", "x +5 mm", "53.12", "density errors 3.5 %", "shaded"):
        assert said in text, said


def test_hostile_amounts_stay_a_document(case: waterbox.Case) -> None:
    """Hundreds of structures, long names and notes: more pages, nothing lost, nothing endless."""
    rectum = case.patient.structures[waterbox.RECTUM]
    many = {
        n: dataclasses.replace(rectum, roi_number=n, name=f"{n} " + "Ä" * 200, contours=rectum.contours[:2])
        for n in range(100, 125)
    }
    patient = dataclasses.replace(
        case.patient,
        structures={**case.patient.structures, **many},
        notes=tuple(f"{n} " + "x" * 300 for n in range(85)),
    )
    judged = evaluation_of(case)
    curve, metric = judged.dvh[1], judged.metrics[-1]
    judged = dataclasses.replace(
        judged,
        dvh=(*judged.dvh, *(curve.model_copy(update={"roi_number": n, "structure": many[n].name}) for n in many)),
        metrics=(*judged.metrics, *(metric.model_copy(update={"roi_number": n}) for n in many)),
    )
    pages = texts(draw(case.spec, patient, case.plan, judged))
    text = "".join(pages)
    assert all(f"{n} Ä" in text for n in many)
    assert "more; the plan's page has all of them" in text
    assert len(pages) < 40


def test_without_a_prescription_the_highest_dose_is_the_whole(case: waterbox.Case) -> None:
    spec = case.spec.model_copy(update={"prescription": None, "goals": ()})
    plan = dataclasses.replace(case.plan, beams=())
    text = " ".join(texts(draw(spec, case.patient, plan, Evaluation((), (), ()))))
    assert "100 % is the highest dose" in " ".join(text.split())


def test_a_dose_that_is_nowhere_high_is_drawn_too(case: waterbox.Case) -> None:
    dose = dataclasses.replace(case.plan.dose, dose_gy=np.full_like(case.plan.dose.dose_gy, 1e-6))
    assert draw(
        case.spec, case.patient, dataclasses.replace(case.plan, dose=dose), Evaluation((), (), ())
    ).pdf.startswith(b"%PDF")


@pytest.mark.parametrize(
    ("position", "gantry", "couch", "side"),
    [
        ("HFS", 0, 0, "A"),
        ("HFS", 90, 0, "L"),
        ("HFS", 40, 0, "AL"),
        ("HFS", 90, 90, "F"),
        ("HFP", 0, 0, "P"),
        ("HFP", 90, 0, "R"),
        ("FFS", 90, 0, "R"),
        ("FFS", 90, 90, "H"),
        ("FFP", 300, 0, "RP"),
        ("HFDR", 0, 0, "L"),
        ("HFDR", 90, 0, "P"),
        ("HFDL", 300, 0, "PR"),
        ("FFDL", 270, 0, "A"),
    ],
)
def test_a_beam_is_said_to_come_from_the_side_that_lies_there(
    case: waterbox.Case, position: str, gantry: float, couch: float, side: str
) -> None:
    beam = dataclasses.replace(case.plan.beams[0], gantry_deg=gantry, couch_deg=couch)
    assert side_of_source(beam, PatientPosition(position)) == side


def test_a_prone_patients_beams_are_reported_as_such(case: waterbox.Case) -> None:
    ct = dataclasses.replace(case.patient.ct, patient_position=PatientPosition.HFP)
    turned = dataclasses.replace(case, patient=dataclasses.replace(case.patient, ct=ct))
    words = " ".join(" ".join(texts(reported(turned))).split())
    assert "HFP" in words
    assert "G090 90.0 0.0 R -27.2" in words


def test_a_checks_verdict_is_printed_with_its_reasons_and_criteria(case: waterbox.Case) -> None:
    found = Verdict.of(
        [
            Criterion.at_least("gamma.body", "Gamma in BODY", 99.2, "%", AtLeast(look=95, fail=90)),
            Criterion.at_most("mean.target", "Mean dose of PTV", 7.25, "%", AtMost(look=2, fail=5), "64 Gy"),
            Criterion.unjudged("beams", "Range of each beam", "they are too alike"),
        ],
        ["A reservation."],
    )
    checked = Checked("RBE_WEIGHTED", None, found)
    pdf = draw(case.spec, case.patient, case.plan, Evaluation((), (), ()), checked).pdf
    text = " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages).split())
    for printed in (
        "Fail: what is named here lies beyond its limits.",
        "Mean dose of PTV: 7.25 % (look above 2 %, fail above 5 %); 64 Gy",
        "Range of each beam: they are too alike",
        "Note: A reservation.",
        "not judged",
        "Doses are RBE-weighted.",
    ):
        assert printed in text, printed
