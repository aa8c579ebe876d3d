"""Plans tuned to goals, beside the same plans with weights as written and a clinical plan; judged by one dose."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from radiarch_contract.goals import Goal, GoalResult
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, StructureRef, resolve
from radiarch_contract.workflows import ImptOptimizedParameters, parse_parameters
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.evaluation import evaluate
from radiarch_worker.ion import ion_beams
from radiarch_worker.model import Dose, Patient, PlanResult
from radiarch_worker.planning import plan
from radiarch_worker.planning.geometry import sample_mask
from radiarch_worker.planning.tuning.rules import Aim, score

from tests.worker.engines.water import Recorder

from .clinical import read_case
from .section import Section

JUDGED_PERCENT = 1.2
"""Uncertainty of each of the two doses that judge, 1 sigma in each voxel of the target."""
JUDGED_SEEDS = (4711, 4712)
TG119 = (
    "OuterTarget: D95% ≥ 98%, priority 1",
    "OuterTarget: D10% ≤ 105%, priority 2",
    "Core: D10% ≤ 40%, priority 2",
)
"""Harder than the protocol's goals, so that there is something to be gained."""


NOISE = (
    "noise, which makes D98 lower and D2 higher than they are, is taken out by what the mean of both has less of it: "
    "twice the mean's value less the mean of both values."
)


@dataclass(frozen=True)
class Judged:
    """A plan, and its goals in a dose of its own."""

    plan: PlanResult
    goals: tuple[GoalResult, ...]
    missed: tuple[float, ...]


def beside_clinical(case: Path, protocol_file: Path) -> Section:
    """The prostate that a clinic planned, tuned to what that plan reached: the protocol's goals."""
    fixed, tuned, uncertainty = _both(case, protocol_file, None)
    rows = _rows(fixed, tuned)
    worse = [r.text for r in tuned.goals if r.value is None or not _reached(r)]
    return Section(
        title="Plans tuned to goals beside a clinical plan",
        how=f"Case `prostate`, planned with `{protocol_file.name}`, the weights as written and with "
        "`tune_to_goals: true`; the goals are what the clinical RTDOSE has. Both recomputed twice with other "
        f"random numbers ({uncertainty:.2f} % in each voxel of the target); {NOISE}",
        header=("goal: the clinical plan's value", "weights as written", "tuned"),
        rows=rows,
        demands=[
            ("tuned: no worse than the clinical plan on any", "; ".join(worse) or "none is worse", not worse),
            ("tuned beats the weights as written", _beats(fixed, tuned), tuned.missed < fixed.missed),
        ],
        note=_notes(tuned),
        workflows=("proton-impt-optimized",),
    )


def beside_fixed_weights(case: Path, protocol_file: Path) -> Section:
    """TG-119's C-shape with harder goals than its protocol's."""
    fixed, tuned, uncertainty = _both(case, protocol_file, TG119)
    return Section(
        title="Plans tuned to goals on TG-119",
        how=f"Case `tg119`, planned with `{protocol_file.name}`, the weights as written and with "
        "`tune_to_goals: true`; goals harder than the protocol's. Both recomputed twice with other random "
        f"numbers ({uncertainty:.2f} % in each voxel of the target); {NOISE}",
        header=("goal", "weights as written", "tuned"),
        rows=_rows(fixed, tuned),
        demands=[("tuned beats the weights as written", _beats(fixed, tuned), tuned.missed < fixed.missed)],
        note=_notes(tuned),
        workflows=("proton-impt-optimized",),
    )


def _reached(result: GoalResult) -> bool:
    goal = Goal.parse(result.text)
    assert result.value is not None
    return result.value >= goal.limit if goal.at_least else result.value <= goal.limit


def _rows(fixed: Judged, tuned: Judged) -> list[list[str]]:
    return [
        [a.text.partition(",")[0], *(f"{r.value:.1f} {r.unit}" for r in (f, a))]
        for f, a in zip(fixed.goals, tuned.goals, strict=True)
    ]


def _beats(fixed: Judged, tuned: Judged) -> str:
    words = [", ".join(f"{m:.1f}" for m in judged.missed) for judged in (tuned, fixed)]
    return f"points missed by priority {words[0]} against {words[1]}"


def _notes(tuned: Judged) -> str:
    said = [n for n in tuned.plan.notes if n.startswith(("Tuned to goals", "Objectives were", "What gave", "No more"))]
    return f"What the tuned plan says of itself: {' '.join(said)}"


def _both(case: Path, protocol_file: Path, goals: Sequence[str] | None) -> tuple[Judged, Judged, float]:
    patient = read_case(case)
    protocol = Protocol.model_validate(yaml.safe_load(protocol_file.read_text()))
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    goals = protocol.goals if goals is None else goals
    cores = len(os.sched_getaffinity(0))
    found: list[Judged] = []
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as folder:
        cache = ArrayCache(Path(folder) / "cache", 10 << 30)
        for tuned in (False, True):
            given = {**protocol.parameters(), "tune_to_goals": tuned}
            if not tuned:
                given["uncertainty_percent"] = 2.5  # its own dose is not looked at: it is judged by the one below
            parameters = parse_parameters(protocol.workflow, given)
            assert isinstance(parameters, ImptOptimizedParameters)
            job = Path(folder) / f"tuned-{tuned}"
            job.mkdir()
            made = plan(
                *(protocol.workflow, patient, protocol.prescribed, parameters, structures, Recorder(), job, cores),
                cache,
                goals,
            )
            doses, uncertainty = recomputed(patient, structures, protocol, parameters, made, job, cores)
            results = without_noise(
                *(evaluate(patient, d, protocol.prescribed, goals, structures).goals for d in (_mean(*doses), *doses))
            )
            aims = [Aim(g := Goal.parse(t), protocol.prescribed.dose_of_gy(g.structure), frozenset()) for t in goals]
            found.append(Judged(made, tuple(results), score(aims, results, beyond=False)))
    return found[0], found[1], uncertainty


def recomputed(
    patient: Patient,
    structures: Mapping[str, StructureRef],
    protocol: Protocol,
    parameters: ImptOptimizedParameters,
    made: PlanResult,
    folder: Path,
    threads: int,
) -> tuple[tuple[Dose, Dose], float]:
    """The plan's dose with other random numbers, twice, and the uncertainty of each in percent."""
    machine = mcsquare.load_machine(parameters.machine)
    calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
    grid = made.dose.grid
    beams = tuple(
        mcsquare.PlannedBeam(
            beam.gantry_deg,
            beam.couch_deg,
            beam.isocenter_mm,
            tuple(mcsquare.PlannedLayer(x.energy_mev, x.x_mm, x.y_mm) for x in beam.layers),
            beam.name,
            beam.range_shifter,
        )
        for beam in ion_beams(made)
    )
    target = patient.structures[structures[protocol.prescribed.target].roi_number].mask
    ct = mcsquare.prepare_ct(patient.ct, patient.body, calibration, cover=grid)
    meterset = np.concatenate([layer.meterset_mu for beam in ion_beams(made) for layer in beam.layers])
    one, other = (
        mcsquare.compute_dose(
            ct,
            mcsquare.SpotPlan(beams),
            meterset,
            grid,
            sample_mask(target, patient.ct.grid, grid),
            mcsquare.RunSettings(machine, calibration, seed, threads, folder, Recorder()),
            uncertainty_percent=JUDGED_PERCENT,
        )
        for seed in JUDGED_SEEDS
    )
    factor = np.float32(made.dose.rbe * protocol.prescribed.fractions)
    doses = replace(made.dose, dose_gy=one.dose_gy * factor), replace(made.dose, dose_gy=other.dose_gy * factor)
    return doses, max(one.uncertainty_percent, other.uncertainty_percent)


def _mean(one: Dose, other: Dose) -> Dose:
    return replace(one, dose_gy=(one.dose_gy + other.dose_gy) / np.float32(2))


def without_noise(
    mean: Sequence[GoalResult], one: Sequence[GoalResult], other: Sequence[GoalResult]
) -> tuple[GoalResult, ...]:
    """Values as they are without noise, to the first order of its variance, of which the mean of two doses has half."""
    return tuple(_extrapolated(*same) for same in zip(mean, one, other, strict=True))


def _extrapolated(mean: GoalResult, one: GoalResult, other: GoalResult) -> GoalResult:
    if mean.value is None or one.value is None or other.value is None:
        return mean
    return mean.model_copy(update={"value": 2 * mean.value - (one.value + other.value) / 2})
