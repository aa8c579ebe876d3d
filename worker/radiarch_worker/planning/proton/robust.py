"""`proton-robust`: beamlets, objectives and doses over error scenarios; which errors is in `scenarios`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy.sparse
from radiarch_contract.robustness import Robustness, ScenarioResult
from radiarch_contract.states import Stage
from radiarch_contract.workflows import ImptRobustParameters

from radiarch_worker.beam_axes import BeamAxes
from radiarch_worker.engines import mcsquare
from radiarch_worker.engines.mcsquare import variations
from radiarch_worker.evaluation import evaluate
from radiarch_worker.evaluation.robustness import ScenarioEvaluation, bands, goal_bands, metric_bands
from radiarch_worker.model import Dose, PlanResult
from radiarch_worker.optimization import DoseTerm, RobustProblem, ScenarioProblem, make_problem
from radiarch_worker.planning.objectives import objective_terms, require_objectives
from radiarch_worker.position import PatientPosition
from radiarch_worker.runtime.extras import attempted

from .scenarios import NOMINAL, Scenario, select_scenarios
from .steps import (
    Beamlets,
    FinalDose,
    ProtonJob,
    Setup,
    beamlets_of,
    conclude,
    deliver,
    expected_work,
    reported_dose,
    reporting,
    set_up,
    solve,
)

_RANDOM_SIGMAS = 2.0
"""Of drawn and random errors, how far around the target spots are placed."""
_MARGIN_MAX_MM = 30.0
_SCENARIO_PARTS = 4
"""Of a scenario's dose, at least: each part costs a start of the engine."""


def plan_robust(job: ProtonJob) -> PlanResult:
    """Objectives as given, those that are robust over all scenarios; then the final dose in every scenario."""
    parameters = job.parameters
    assert isinstance(parameters, ImptRobustParameters)
    scenarios = select_scenarios(parameters)
    margin_mm = _margin_mm(parameters)
    wider = parameters.model_copy(update={"target_margin_mm": margin_mm})
    setup = set_up(replace(job, parameters=wider))
    require_objectives(setup, [o for o in parameters.objectives if o.robust])
    percent = parameters.scenario_uncertainty_percent
    job.reporter.expect(expected_work(setup, scenarios=len(scenarios), scenario_percent=percent))
    nominal, problem, notes = _problem(setup, parameters, scenarios)
    solution = solve(setup, problem, nominal, f"{len(parameters.objectives)} objectives, {len(scenarios)} scenarios")
    del problem
    with setup.clock.stage(Stage.FINAL_DOSE):
        job.reporter.stage(Stage.FINAL_DOSE, f"{len(scenarios)} scenarios")
        final, normalized, said = deliver(_sharing(setup, 0, len(scenarios)), solution.weights)
        robustness = evaluate_scenarios(setup, final, parameters, scenarios, said)
    notes.append(
        f"Spots were placed up to {margin_mm:g} mm around the target, to reach it under the errors planned for."
    )
    return conclude(
        setup,
        final,
        notes=[*notes, *said],
        solver_trace=solution.trace,
        robustness=robustness,
        provenance={
            **nominal.provenance,
            **normalized,
            "method": parameters.method,
            "iterations": solution.iterations,
            "objective": solution.objective,
            "spots_removed": solution.removed,
            "scenarios": len(scenarios),
            "strategy": parameters.strategy,
        },
    )


def _margin_mm(parameters: ImptRobustParameters) -> float:
    reach = _RANDOM_SIGMAS if parameters.strategy == "RANDOM" else 1.0
    errors = [
        reach * s + _RANDOM_SIGMAS * r
        for s, r in zip(parameters.setup_systematic_mm, parameters.setup_random_mm, strict=True)
    ]
    return min(_MARGIN_MAX_MM, parameters.target_margin_mm + max(errors))


def _problem(
    setup: Setup, parameters: ImptRobustParameters, scenarios: Sequence[Scenario]
) -> tuple[Beamlets, RobustProblem, list[str]]:
    """Beamlets of the nominal scenario, and the problem over all of them.

    Of the other scenarios only the voxels of robust objectives are kept in memory.
    """
    job = setup.job
    job.reporter.stage(Stage.COMPUTING_BEAMLETS, f"{setup.plan.spot_count} spots, {len(scenarios)} scenarios")
    problems: list[ScenarioProblem] = []
    nominal: Beamlets | None = None
    notes: list[str] = []
    cached = 0
    with setup.clock.stage(Stage.COMPUTING_BEAMLETS):
        for i, scenario in enumerate(scenarios):
            found = scenario_beamlets(_sharing(setup, i, len(scenarios)), scenario)
            cached += found.result.cached
            if nominal is None:
                nominal = found
                plain, notes = objective_terms(setup, found, [o for o in parameters.objectives if not o.robust])
            chosen = [o for o in parameters.objectives if o.robust]
            expected, said = objective_terms(setup, found, [o for o in chosen if o.over_scenarios == "expected"])
            worst, said_too = objective_terms(setup, found, [o for o in chosen if o.over_scenarios == "worst-case"])
            if i == 0:
                notes = list(dict.fromkeys([*notes, *said, *said_too]))
            problems.append(_scenario_problem(setup, found, plain if i == 0 else [], expected, worst))
            job.reporter.log(
                f"scenario {i + 1} of {len(scenarios)} ({scenario.name}): {found.matrix.nnz} values, "
                + ("from the cache" if found.result.cached else f"computed in {found.result.engine_s:.0f} s")
            )
    assert nominal is not None
    setup.clock.run["beamlets"] = "cached" if cached == len(scenarios) else "computed"
    return nominal, RobustProblem(tuple(problems)), notes


def _scenario_problem(
    setup: Setup, beamlets: Beamlets, nominal: list[DoseTerm], expected: list[DoseTerm], worst: list[DoseTerm]
) -> ScenarioProblem:
    made = make_problem(beamlets.matrix, setup.gy_per_unit, [*nominal, *expected, *worst], setup.job.threads)
    terms = list(made.terms)
    a, b = len(nominal), len(nominal) + len(expected)
    return ScenarioProblem(replace(made, terms=()), terms[:a], terms[a:b], terms[b:])


def scenario_beamlets(setup: Setup, scenario: Scenario) -> Beamlets:
    """Beamlets of all spots in one scenario, in the nominal patient's voxels."""
    plan = _shifted(setup.plan, scenario)
    if scenario == NOMINAL:
        groups = [(plan, setup.run)]
    else:
        groups = [(part, run) for part, run, _ in _groups(setup, plan, scenario)]
    parts = [beamlets_of(setup, part, run) for part, run in groups]
    if len(parts) == 1:
        return parts[0]
    first = parts[0].result
    result = replace(
        first,
        matrix=scipy.sparse.hstack([p.matrix for p in parts], format="csc"),
        parts=sum(p.result.parts for p in parts),
        engine_s=sum(p.result.engine_s for p in parts),
        cached=all(p.result.cached for p in parts),
    )
    return replace(parts[0], result=result)


def _shifted(plan: mcsquare.SpotPlan, scenario: Scenario) -> mcsquare.SpotPlan:
    def moved(beam: mcsquare.PlannedBeam) -> mcsquare.PlannedBeam:
        x, y, z = (a + b for a, b in zip(beam.isocenter_mm, scenario.isocenter_shift_mm, strict=True))
        return replace(beam, isocenter_mm=(x, y, z))

    return mcsquare.SpotPlan(tuple(moved(beam) for beam in plan.beams))


def _groups(
    setup: Setup, plan: mcsquare.SpotPlan, scenario: Scenario
) -> Iterator[tuple[mcsquare.SpotPlan, mcsquare.RunSettings, slice]]:
    """The plan in pieces whose beams see the same blur, with their runs and places among the spots.

    The random error is taken across each beam, along its two axes; what it is along the beam changes nothing but the
    distance from the source.
    """
    calibration = setup.calibration.denser(scenario.range_percent)
    blurs = [_blur_mm(beam, scenario, setup.ct.patient_position) for beam in plan.beams]
    edges = np.concatenate(([0], np.cumsum([sum(len(layer) for layer in b.layers) for b in plan.beams])))
    if len(set(blurs)) == 1:
        pieces = [(plan, blurs[0], slice(0, int(edges[-1])))]
    else:
        pieces = [
            (mcsquare.SpotPlan((beam,)), blur, slice(int(edges[i]), int(edges[i + 1])))
            for i, (beam, blur) in enumerate(zip(plan.beams, blurs, strict=True))
        ]
    for part, (x_mm, y_mm), where in pieces:
        machine = variations.blurred(setup.machine, x_mm, y_mm)
        yield part, replace(setup.run, machine=machine, calibration=calibration), where


def _blur_mm(beam: mcsquare.PlannedBeam, scenario: Scenario, position: PatientPosition) -> tuple[float, float]:
    axes = BeamAxes.of(beam.gantry_deg, beam.couch_deg, position)
    sigma = np.asarray(scenario.random_mm)
    x, y = (round(float(np.linalg.norm(axis * sigma)), 6) for axis in (axes.x, axes.y))
    return x, y


def scenario_dose(setup: Setup, final: FinalDose, scenario: Scenario, uncertainty_percent: float) -> tuple[Dose, float]:
    """Reported dose of a finished plan in one scenario, and its statistical uncertainty, %."""
    grid = setup.dose_grid
    target = setup.on(setup.target.mask, grid)
    total: npt.NDArray[np.float32] | None = None
    uncertainty = 0.0
    for part, run, where in _groups(setup, _shifted(final.plan, scenario), scenario):
        result = mcsquare.compute_dose(
            setup.ct,
            part,
            final.meterset_mu[where],
            grid,
            target,
            run,
            uncertainty_percent=uncertainty_percent,
            min_parts=_SCENARIO_PARTS,
        )
        setup.clock.engine(result.engine_s)
        total = result.dose_gy if total is None else total + result.dose_gy
        uncertainty = max(uncertainty, result.uncertainty_percent)
    assert total is not None
    return reported_dose(setup, replace(result, dose_gy=total)), uncertainty


def evaluate_scenarios(
    setup: Setup,
    final: FinalDose,
    parameters: ImptRobustParameters,
    scenarios: Sequence[Scenario],
    notes: list[str],
) -> Robustness | None:
    """Every scenario's dose, computed, judged and discarded; None and a note where one of them fails.

    The plan and its nominal dose are complete by then, and are not lost for their evaluation under errors.
    """
    log = setup.job.reporter.log
    judged: list[ScenarioEvaluation] = []
    results: list[ScenarioResult] = []
    for i, scenario in enumerate(scenarios):
        found = attempted(
            f"evaluation over error scenarios (scenario {i + 1} of {len(scenarios)}, {scenario.name}, failed)",
            partial(_judge_scenario, _sharing(setup, i, len(scenarios)), final, parameters, scenario),
            log,
            notes,
        )
        if found is None:
            return None
        evaluation, result = found
        judged.append(evaluation)
        results.append(result)
        log(f"dose of scenario {i + 1} of {len(scenarios)} ({scenario.name}): {result.uncertainty_percent:.2f} %")
    return attempted(
        "evaluation over error scenarios", partial(_robustness, parameters, judged, tuple(results)), log, notes
    )


def _judge_scenario(
    setup: Setup, final: FinalDose, parameters: ImptRobustParameters, scenario: Scenario
) -> tuple[ScenarioEvaluation, ScenarioResult]:
    job = setup.job
    dose, uncertainty = final.dose, final.result.uncertainty_percent
    if scenario != NOMINAL:
        dose, uncertainty = scenario_dose(setup, final, scenario, parameters.scenario_uncertainty_percent)
    result = ScenarioResult(
        name=scenario.name,
        shift_mm=scenario.shift_mm,
        range_percent=scenario.range_percent,
        random_mm=scenario.random_mm,
        uncertainty_percent=uncertainty,
    )
    evaluated = evaluate(job.patient, dose, job.prescription, job.goals, job.structures)
    return ScenarioEvaluation(scenario.name, evaluated), result


def _robustness(
    parameters: ImptRobustParameters, judged: Sequence[ScenarioEvaluation], results: tuple[ScenarioResult, ...]
) -> Robustness:
    return Robustness(
        strategy=parameters.strategy,
        setup_systematic_mm=parameters.setup_systematic_mm,
        setup_random_mm=parameters.setup_random_mm,
        range_percent=parameters.range_percent,
        scenarios=results,
        bands=bands(judged),
        metrics=metric_bands(judged),
        goals=goal_bands(judged),
    )


def _sharing(setup: Setup, index: int, count: int) -> Setup:
    return reporting(setup, index / count, (index + 1) / count)
