"""One dose judged on one patient: every structure's DVH and metrics, and the goals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from radiarch_contract.errors import EngineError, ErrorCode
from radiarch_contract.goals import Goal
from radiarch_contract.job import DvhCurve, StructureMetrics
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription

from radiarch_worker.model import Dose, Patient, Structure

from .dvh import bin_width_gy, coarser, curve, metrics
from .goals import KNOWN_ENOUGH, Judged, judge
from .result import Evaluation
from .sampling import StructureDose, covers, sample

_AT_A_TIME = 64


def evaluate(
    patient: Patient,
    dose: Dose,
    prescription: Prescription | None,
    goals: Sequence[str],
    structures: Mapping[str, StructureRef],
) -> Evaluation:
    """Judge a dose.

    Parameters
    ----------
    patient
        Structures on the CT's grid.
    dose
        (Z, Y, X) Gy, total over all fractions, on a grid of its own in the same frame of reference.
        Beyond it the dose counts as 0 where the grid covers the whole patient, else as unknown.
    prescription
        Total over all fractions; without one, goals that are relative to it have no value.
    goals
        In the grammar of `radiarch_contract.goals`.
    structures
        What the names in goals stand for.

    Raises
    ------
    EngineError
        (engine_output_invalid) where a dose value is not finite.
    """
    if not np.isfinite(dose.dose_gy).all():
        raise EngineError(
            "the dose holds values that are not finite numbers",
            remedy="Plan again; if it comes back, report it with the job's log.",
            code=ErrorCode.ENGINE_OUTPUT_INVALID,
        )
    ct = patient.ct.grid
    covered = covers(dose.grid, patient.body, ct)
    width_gy = bin_width_gy(max(float(dose.dose_gy.max()), 1e-3) if prescription is None else prescription.dose_gy)
    coarse_gy = round(width_gy * coarser(len(patient.structures)), 12)
    named = {ref.roi_number for ref in structures.values()} | {patient.body.roi_number}
    judged_rois = {ref.roi_number for name in {Goal.parse(g).structure for g in goals} if (ref := structures.get(name))}
    judged_rois.add(patient.body.roi_number)
    kept: dict[int, StructureDose] = {}
    curves: list[DvhCurve] = []
    found: list[StructureMetrics] = []
    notes: list[str] = []
    for numbers in _batches(sorted(patient.structures)):
        batch = {n: patient.structures[n] for n in numbers}
        for number, samples in sample(batch, ct, dose, zero_outside=covered).items():
            if samples.volume_cc:
                curves.append(curve(batch[number], samples, width_gy if number in named else coarse_gy))
            if samples.known_fraction >= KNOWN_ENOUGH:
                found.append(metrics(batch[number], samples))
            else:
                notes.append(_note(batch[number], samples))
            if number in judged_rois:
                kept[number] = samples
    if coarse_gy != width_gy and any(c.roi_number not in named for c in curves):
        notes.append(
            f"There are {len(curves)} structures: DVHs of those that prescription, objectives and goals do not name "
            f"have points each {coarse_gy:g} Gy instead of each {width_gy:g} Gy."
        )
    judged = Judged(kept, _body(patient, kept, dose, covered), prescription)
    return Evaluation(
        dvh=tuple(curves),
        metrics=tuple(found),
        goals=tuple(judge(goal, judged, structures) for goal in goals),
        notes=tuple(notes),
    )


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Structures that are sampled at a time: a sample for each would take gigabytes where there are thousands."""
    for first in range(0, len(numbers), _AT_A_TIME):
        yield numbers[first : first + _AT_A_TIME]


def _body(patient: Patient, sampled: Mapping[int, StructureDose], dose: Dose, covered: bool) -> StructureDose:
    body = patient.body
    if patient.structures.get(body.roi_number) is body:
        return sampled[body.roi_number]
    # Found from the CT, or with its holes filled: its mask is what it is, contours would open the holes again.
    found = {body.roi_number: replace(body, contours=())}
    return sample(found, patient.ct.grid, dose, zero_outside=covered)[body.roi_number]


def _note(structure: Structure, samples: StructureDose) -> str:
    if not samples.volume_cc:
        return f"{structure.name}: encloses nothing on the CT's grid; it has no DVH"
    unknown = 100 * (1 - samples.known_fraction)
    return (
        f"{structure.name}: {unknown:.1f} % of it lies outside the dose grid, where the dose is not known; "
        "its DVH is of the rest, as a percentage of the whole, and it has no metrics"
    )
