"""What stands in a report, section by section; how it is put on pages lives in `flow`, `page` and `figures`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

from radiarch_contract import __version__
from radiarch_contract.goals import GoalResult
from radiarch_contract.job import JobSpec
from radiarch_contract.objectives import Objective
from radiarch_contract.pictures import Plane
from radiarch_contract.robustness import Robustness
from radiarch_contract.states import GoalStatus, OutputKind
from radiarch_contract.strict import STORED
from radiarch_contract.uids import sop_instance_uid
from radiarch_contract.workflows import WORKFLOWS

from radiarch_worker.dicom.base import flatten
from radiarch_worker.evaluation import Evaluation
from radiarch_worker.ion import IonBeam
from radiarch_worker.model import Beam, Patient, PlanResult
from radiarch_worker.photon import PhotonBeam
from radiarch_worker.position import PatientPosition

from . import fonts, ion_beams, photon_beams
from .figures import dvh_figure, isodose_key, plane_figure, structure_key, swatch
from .flow import BOTTOM_MM, LEFT_MM, RIGHT_MM, WIDTH_MM, Cell, Column, Flow
from .page import FAINT, PAGE_HEIGHT_MM, Pages
from .palette import GOAL_COLORS, Drawn, Rgb
from .planes import Cut

_WARNING: Rgb = (176, 58, 0)
_MAX_NOTES = 80
_HEADINGS = {"recalculation": "plan recalculation", "evaluation": "dose evaluation"}
_BAND_METRICS = ("D95%", "D2%")
"""Coverage and hot spots; the plan's page has the other metrics over all scenarios."""
_CAPTION_MM = 8.0
"""A picture's caption and the space above it."""
_LEAST_STACKED = 0.8
"""Pictures stand below each other where they need not be made smaller than this."""
_WORDS: Mapping[GoalStatus | None, str] = {
    GoalStatus.MET: "met",
    GoalStatus.NEAR: "near",
    GoalStatus.MISSED: "missed",
    None: "no value",
}


def person(name: str) -> str:
    """A DICOM name as people write it: its groups (alphabetic, ideographic, phonetic) one after the other.

    Examples
    --------
    >>> person("Yamada^Tarou=山田^太郎")
    'Yamada, Tarou · 山田 太郎'
    """
    groups = []
    for n, group in enumerate(name.split("=")[:3]):
        family, *others = (part.strip() for part in group.split("^"))
        given = " ".join(part for part in others if part)
        separator = ", " if n == 0 and family and given else " "
        groups.append(f"{family}{separator}{given}".strip())
    return " · ".join(g for g in groups if g)


def date(value: str) -> str:
    """A DICOM date as ISO 8601, or as it is.

    Examples
    --------
    >>> date("19700131")
    '1970-01-31'
    """
    digits = value.strip()
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdigit() else digits


def subject(spec: JobSpec) -> str:
    """What is reported on: a plan, or a check of another system's."""
    workflow = WORKFLOWS.get(spec.workflow_id)
    return "plan" if workflow is None or workflow.plans else spec.workflow_id


def decorate(spec: JobSpec, patient: Patient, pages: Pages, number: int, count: int) -> None:
    """Head and foot of a page: whose, which plan, and that it is not approved."""
    study = patient.ct.study
    pages.text(LEFT_MM, 13, f"Radiarch {_HEADINGS.get(subject(spec), 'treatment plan')} report", 9, bold=True)
    whose = " · ".join(t for t in (person(study.patient_name), study.patient_id) if t)
    pages.text(LEFT_MM, 17.6, whose, 8, color=FAINT, width_mm=WIDTH_MM - 40)
    pages.box(RIGHT_MM - 30, 9.3, 30, 6.4, _WARNING, 1)
    pages.text(RIGHT_MM - 15, 13.7, "UNAPPROVED", 9, bold=True, color=(255, 255, 255), align="center")
    pages.rule(LEFT_MM, 20, RIGHT_MM)
    base = PAGE_HEIGHT_MM - 10
    pages.rule(LEFT_MM, base - 4.2, RIGHT_MM)
    pages.text(LEFT_MM, base, _identified(spec), 7, color=FAINT)
    pages.text(RIGHT_MM, base, f"Page {number} of {count}", 7.5, align="right")
    pages.text(
        LEFT_MM, base + 3.4, "UNAPPROVED. For research and quality assurance only, not for treatment.", 7, color=FAINT
    )


def _identified(spec: JobSpec) -> str:
    """The UID of what is reported on: our plan, or what another system's check was made for."""
    if subject(spec) == "plan":
        return f"Plan UID {sop_instance_uid(spec.plan_id, OutputKind.RTPLAN)}"
    checked = next((i for i in spec.inputs if i.kind in ("rtplan", "rtdose")), None)
    return f"Job {spec.plan_id}" if checked is None else f"Of {checked.kind.upper()} {checked.sop_instance_uid}"


def identity(flow: Flow, spec: JobSpec, patient: Patient) -> None:
    """Patient, study and plan."""
    study = patient.ct.study
    workflow = WORKFLOWS.get(spec.workflow_id)
    flow.y_mm += 6
    flow.pages.text(
        LEFT_MM, flow.y_mm, person(study.patient_name) or study.patient_id, 16, bold=True, width_mm=WIDTH_MM
    )
    flow.y_mm += 3
    created = spec.created_at if spec.created_at.tzinfo else spec.created_at.replace(tzinfo=UTC)
    flow.facts(
        [
            ("Patient ID", study.patient_id),
            ("Born", date(study.patient_birth_date) or "–"),
            ("Sex", study.patient_sex or "–"),
            ("Study", " · ".join(t for t in (date(study.study_date), study.study_description) if t) or "–"),
            ("CT", f"{len(patient.ct.sop_instance_uids)} slices, {patient.ct.patient_position}, "
                   f"{_spacing(patient.ct.grid.spacing_mm)}"),
            ("Plan", f"{spec.plan_label} · {spec.plan_id}"),
            ("Workflow", workflow.title if workflow else spec.workflow_id),
            ("Protocol", spec.protocol_id or "none (asked for by a person)"),
            ("Asked for", f"{created.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
            ("Structure set", spec.rtstruct_sop_instance_uid),
        ],
        label_mm=24,
    )  # fmt: skip


def prescription(flow: Flow, spec: JobSpec, plan: PlanResult) -> None:
    rx = spec.prescription
    flow.heading("Prescription")
    if rx is None:
        flow.paragraphs(["None was given: 100 % is the highest dose."])
        return
    rbe = f", RBE {plan.dose.rbe:g} included" if plan.dose.rbe != 1 else ""
    flow.y_mm += 4.6
    text = f"{rx.dose_gy:g} Gy to {rx.target} in {rx.fractions} fractions of {rx.dose_gy / rx.fractions:.4g} Gy{rbe}"
    flow.pages.text(LEFT_MM, flow.y_mm, text, 10.5, width_mm=WIDTH_MM)
    flow.y_mm += 1.5
    percent, grid = plan.uncertainty_percent, _spacing(plan.dose.grid.spacing_mm)
    if percent is None:
        flow.paragraphs([f"Dose grid {grid}."], size_pt=8.5)
    else:
        uncertainty = f"Statistical uncertainty {percent:.2f} % (1 sigma, mean over the target's voxels)"
        flow.paragraphs([f"{uncertainty}; dose grid {grid}."], size_pt=8.5)


def robustness(flow: Flow, found: Robustness | None) -> None:
    """Goals under errors of setup and range, where the plan was evaluated under them."""
    if found is None:
        return
    flow.heading("Robustness", aside=f"{len(found.scenarios)} scenarios, the nominal one included")
    systematic, random = (_spacing(v) for v in (found.setup_systematic_mm, found.setup_random_mm))
    flow.paragraphs(
        [
            f"Strategy {found.strategy}; systematic setup errors {systematic}, random {random} (1 standard deviation), "
            f"along x, y, z; density errors {found.range_percent:g} %."
        ]
    )
    rows: list[list[str | Cell]] = []
    for goal in found.goals:
        sign = functools.partial(mark, status=goal.worst_status)
        word = Cell(_WORDS[goal.worst_status], GOAL_COLORS[goal.worst_status], True, 5, sign)
        nominal, worst = (_value(v, goal.unit) for v in (goal.nominal, goal.worst))
        rows.append([goal.text, nominal, worst, word, f"{goal.met} of {goal.scenarios}", goal.worst_scenario or "–"])
    if rows:
        flow.table(
            [
                Column("Goal", 50),
                Column("Nominal", 22, "right"),
                Column("Worst", 22, "right"),
                Column("", 24),
                Column("Met in", 20),
                Column("Worst scenario", 40),
            ],
            rows,
        )
    bands = [
        [m.structure, m.metric, *(f"{v:.2f}" for v in (m.nominal_gy, m.low_gy, m.high_gy)), m.low_scenario]
        for m in found.metrics
        if m.metric in _BAND_METRICS
    ]
    if bands:
        flow.table(
            [
                Column("Structure", 50),
                Column("Metric", 22),
                Column("Nominal Gy", 22, "right"),
                Column("Lowest", 20, "right"),
                Column("Highest", 20, "right"),
                Column("Lowest in", 44),
            ],
            bands,
        )


def _value(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3f}" if unit == "" else f"{value:.2f} {unit}"


BEAM_TABLES: Mapping[type[Beam], tuple[Sequence[Column], Callable[[Any, PatientPosition], list[str]]]] = {
    IonBeam: (ion_beams.COLUMNS, ion_beams.row),
    PhotonBeam: (photon_beams.COLUMNS, photon_beams.row),
}
"""Columns, and a beam's row, by the type of beam; each modality registers its own."""


def beams(flow: Flow, plan: PlanResult, position: PatientPosition) -> None:
    if not plan.beams:
        return
    columns, row = BEAM_TABLES[type(plan.beams[0])]
    flow.heading(
        "Beams",
        aside=f"angles IEC 61217, and the patient's side where the source is ({position}); isocenter in patient LPS; "
        "meterset of one fraction",
    )
    flow.table(list(columns), [row(beam, position) for beam in plan.beams])


def goals(flow: Flow, spec: JobSpec, results: Sequence[GoalResult]) -> None:
    if not results:
        return
    counted = {status: sum(r.status is status for r in results) for status in _WORDS}
    summary = ", ".join(f"{n} {_WORDS[status]}" for status, n in counted.items() if n)
    flow.heading("Goals", aside=f"{len(results)} {'goal' if len(results) == 1 else 'goals'}: {summary}")
    drawn_as = {ref.name: ref.roi_name for ref in spec.structures if ref.roi_name != ref.name}
    rows: list[list[str | Cell]] = []
    for r in results:
        color = GOAL_COLORS[r.status]
        value = _value(r.value, r.unit)
        sign = functools.partial(mark, status=r.status)
        rows.append([r.text, value, Cell(_WORDS[r.status], color, True, 5, sign), r.note or _drawn_as(drawn_as, r)])
    flow.table([Column("Goal", 62), Column("Value", 26, "right"), Column("", 24), Column("", 66)], rows)


def _drawn_as(names: Mapping[str, str], result: GoalResult) -> str:
    return f"on {names[result.structure]}" if result.structure in names else ""


def mark(pages: Pages, x_mm: float, y_mm: float, *, status: GoalStatus | None) -> None:
    """A sign that does not need its color: a tick, a wave, a cross, a dash."""
    color = GOAL_COLORS[status]
    if status is GoalStatus.MET:
        pages.line([(x_mm, y_mm), (x_mm + 1.1, y_mm + 1.1), (x_mm + 3, y_mm - 1.3)], width_pt=1.3, color=color)
    elif status is GoalStatus.NEAR:
        wave = [(x_mm, 0.4), (x_mm + 0.75, -0.5), (x_mm + 1.5, 0), (x_mm + 2.25, 0.5), (x_mm + 3, -0.4)]
        pages.line([(x, y_mm + dy) for x, dy in wave], width_pt=1.3, color=color)
    elif status is GoalStatus.MISSED:
        for sign in (1, -1):
            ends = [(x_mm + 0.3, y_mm - sign * 1.1), (x_mm + 2.5, y_mm + sign * 1.1)]
            pages.line(ends, width_pt=1.3, color=color)
    else:
        pages.line([(x_mm + 0.4, y_mm), (x_mm + 2.6, y_mm)], width_pt=1.1, color=color)


def pictures(flow: Flow, cuts: Mapping[Plane, Cut], plan: PlanResult) -> None:
    """The three planes; axial large, the others below it."""
    flow.new_page()
    where = "through the isocenter of the first beam" if plan.beams else "through the highest dose"
    flow.heading("Dose on three planes", aside=f"{where}, at the middle of the nearest CT voxels")
    axial, coronal, sagittal = (cuts[p] for p in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL))
    key_mm = 37.0
    shown = (axial, coronal, sagittal)
    top, wide = flow.y_mm + 5, WIDTH_MM - key_mm - 5
    heights = [wide * c.window.height_mm / c.window.width_mm for c in shown]
    room = BOTTOM_MM - top - 3 * _CAPTION_MM
    if sum(heights) * _LEAST_STACKED <= room:
        # one scale below the other, as large as the page allows
        shrink = min(1.0, room / sum(heights))
        y = top
        for c, height in zip(shown, heights, strict=True):
            _captioned(flow.pages, c, LEFT_MM, y, wide, height * shrink)
            y += height * shrink + _CAPTION_MM
        bottom = y - _CAPTION_MM
    else:
        height = min(max(heights[0], 60.0), 0.5 * room)
        _captioned(flow.pages, axial, LEFT_MM, top, wide, height)
        bottom = top + 1.8 + height
        y, half = bottom + 6, (WIDTH_MM - 5) / 2
        tallest = half * max(c.window.height_mm / c.window.width_mm for c in (coronal, sagittal))
        small = min(max(tallest, 50.0), BOTTOM_MM - y - 3)
        for c, x in ((coronal, LEFT_MM), (sagittal, LEFT_MM + half + 5)):
            _captioned(flow.pages, c, x, y, half, small)
    end = isodose_key(flow.pages, shown, RIGHT_MM - key_mm, top + 4.5)
    structure_key(flow.pages, shown, RIGHT_MM - key_mm, end + 9, key_mm, bottom)
    flow.y_mm = BOTTOM_MM


def _captioned(pages: Pages, c: Cut, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> None:
    _caption(pages, c, x_mm, y_mm)
    plane_figure(pages, c, x_mm, y_mm + 1.8, width_mm, height_mm)


def _caption(pages: Pages, cut: Cut, x_mm: float, y_mm: float) -> None:
    pages.text(x_mm, y_mm, cut.title, 8.5, bold=True)
    x = x_mm + pages.width_mm(cut.title, 8.5, bold=True) + 3
    pages.text(x, y_mm, f"highest dose {cut.max_gy:.1f} Gy", 8, color=FAINT)


def dvhs(
    flow: Flow,
    whole_gy: float,
    plan: PlanResult,
    evaluation: Evaluation,
    drawn: Sequence[Drawn],
    *,
    prescribed: bool,
) -> None:
    """Curves, and the structures' metrics, which are their key."""
    if not evaluation.dvh:
        return
    order = {d.structure.roi_number: n for n, d in enumerate(drawn)}
    curves = sorted(evaluation.dvh, key=lambda c: order.get(c.roi_number, len(order)))
    by_number = {d.structure.roi_number: d for d in drawn}
    flow.new_page()
    shaded = "; shaded: over all scenarios" if plan.robustness is not None else ""
    flow.heading("Dose-volume histograms", aside=f"cumulative, total over all fractions{shaded}")
    flow.y_mm += 5
    label = f"Dose, Gy (RBE {plan.dose.rbe:g})" if plan.dose.rbe != 1 else "Dose, Gy"
    mark = ("prescription" if prescribed else "highest dose", whole_gy)
    bands = plan.robustness.bands if plan.robustness is not None else ()
    shown = curves[: len(drawn)]
    if len(shown) < len(curves):
        flow.paragraphs([f"{len(shown)} of {len(curves)} curves are drawn; the RT Dose has all of them."])
    dvh_figure(flow.pages, shown, bands, by_number, mark, label, LEFT_MM, flow.y_mm, WIDTH_MM, 100)
    flow.y_mm += 100
    metrics = {m.roi_number: m for m in evaluation.metrics}
    rows: list[list[str | Cell]] = []
    for curve in curves:
        found = metrics.get(curve.roi_number)
        style = by_number[curve.roi_number].style if curve.roi_number in by_number else None
        draw = functools.partial(_swatch, style=style) if style else None
        name = Cell(curve.structure, indent_mm=9, draw=draw)
        values = ("–",) * 7 if found is None else tuple(
            f"{v:.2f}"
            for v in (
                found.d_mean_gy, found.d98_gy, found.d95_gy, found.d50_gy, found.d2_gy, found.d_min_gy, found.d_max_gy
            )
        )  # fmt: skip
        rows.append([name, f"{curve.volume_cc:.1f}", *values])
    flow.heading("Structures", aside="doses in Gy; volumes as the contours enclose them")
    names = ("Mean", "D98%", "D95%", "D50%", "D2%", "Min", "Max")
    flow.table([Column("Structure", 58), Column("cc", 19, "right"), *(Column(n, 15, "right") for n in names)], rows)


def _swatch(pages: Pages, x_mm: float, y_mm: float, *, style: object) -> None:
    swatch(pages, x_mm, y_mm, style)  # type: ignore[arg-type]


def objectives(flow: Flow, spec: JobSpec) -> None:
    """What the optimiser was asked for, where the workflow takes objectives."""
    given = [Objective.model_validate(o, context=STORED) for o in spec.parameters.get("objectives") or ()]
    if not given:
        return
    rows = [
        [
            o.structure,
            o.metric.value,
            f"{o.dose_gy:g} Gy",
            "–" if o.volume_percent is None else f"{o.volume_percent:g} %",
            f"{o.weight:g}",
        ]
        for o in given
    ]
    flow.heading("Objectives of the optimiser")
    flow.table(
        [
            Column("Structure", 60),
            Column("Metric", 35),
            Column("Dose", 28, "right"),
            Column("Volume", 28, "right"),
            Column("Weight", 28, "right"),
        ],
        rows,
    )


def notes(flow: Flow, texts: Sequence[str]) -> None:
    """What a reader has to know."""
    flow.heading("Notes", keep_mm=10)
    shown = list(texts[:_MAX_NOTES])
    if len(texts) > _MAX_NOTES:
        shown.append(f"And {len(texts) - _MAX_NOTES} more; the plan's page has all of them.")
    flow.paragraphs(shown or ["None."], marked=bool(shown))


def provenance(flow: Flow, spec: JobSpec, plan: PlanResult) -> None:
    """Where the numbers come from."""
    known = {key: _fact(value) for key, value in flatten(plan.provenance)}
    pairs = [
        ("Radiarch", __version__),
        *((key.replace("_", " ").replace(".", " · "), value) for key, value in known.items()),
        ("protocol sha256", spec.protocol_sha256 or "–"),
        ("structure set sha256", spec.rtstruct_sha256),
        *(
            (f"{name} UID", sop_instance_uid(spec.plan_id, kind))
            for name, kind in (("plan", OutputKind.RTPLAN), ("dose", OutputKind.RTDOSE))
            if spec.workflow_id not in WORKFLOWS or kind in WORKFLOWS[spec.workflow_id].outputs
        ),
        *((f"{i.kind.replace('_', ' ')} UID", i.sop_instance_uid) for i in spec.inputs),
    ]
    flow.heading("Provenance", aside="as in the plan's and the dose's own record", keep_mm=12)
    for pair in pairs:
        flow.facts([pair], columns=1, label_mm=58)


def unprintable_characters(flow: Flow) -> None:
    """Characters that could not be printed, by their code points."""
    found = tuple(flow.pages.unprintable)
    if found:
        listed = ", ".join(f"U+{ord(c):04X}" for c in found[:40])
        flow.paragraphs([f"No font on this worker has these characters; they are printed as code points: {listed}."])


def _spacing(spacing_mm: Sequence[float]) -> str:
    return " × ".join(f"{v:.4g}" for v in spacing_mm) + " mm"


def _fact(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", " ")
    if isinstance(value, (list, tuple)):
        return ", ".join(_fact(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else fonts.clean(str(value))
