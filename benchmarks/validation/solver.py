"""Our optimiser against a general solver on the same beamlets and the same penalties."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom
import scipy.optimize
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import ImptOptimizedParameters, parse_parameters
from radiarch_worker.optimization import Problem, optimize
from radiarch_worker.patient import load_patient
from radiarch_worker.planning.objectives import objective_terms
from radiarch_worker.planning.proton.steps import ProtonJob, compute_beamlets, reach, set_up, uniform_start

from tests.worker.engines.water import Recorder

from .section import Section

PRIMARIES = 100
"""Protons a spot: noisier beamlets than a plan's, which makes the problem no easier."""
TOLERANCE = 1.001
"""Values nearer to each other than this are the same optimum."""
Vector = npt.NDArray[np.float64]


def same_optimum(case: Path, protocol_file: Path) -> Section:
    """TG-119's objectives, minimised to the end by ours, by our second method, and by conjugate gradients."""
    with tempfile.TemporaryDirectory(prefix="radiarch-validation-") as folder:
        problem, start, reached = _problem(case, protocol_file, Path(folder))
    solvers: list[tuple[str, Callable[[], Vector]]] = [
        ("ours, L-BFGS-B as planned (90 iterations)", lambda: _ours(problem, start, reached, 90, "L-BFGS-B")),
        ("ours, L-BFGS-B, 600 iterations", lambda: _ours(problem, start, reached, 600, "L-BFGS-B")),
        ("ours, projected gradient, 600 iterations", lambda: _ours(problem, start, reached, 600, "projected-gradient")),
        ("scipy, conjugate gradients on square roots, 200 iterations", lambda: _general(problem, start, "CG", 200)),
    ]
    rows, values = [], []
    for name, solve in solvers:
        began = time.monotonic()
        weights = solve()
        seconds = time.monotonic() - began
        values.append(problem.evaluate(weights)[0])
        rows.append([name, f"{values[-1]:.5g}", f"{seconds:.1f}"])
    ours, general = values[1], values[3]
    spots, voxels = problem.spots, problem.matrix.shape[0]
    return Section(
        title="The optimiser beside a general solver",
        how=f"Case `tg119` with its protocol's objectives: {spots} spots, {voxels} voxels, beamlets of {PRIMARIES} "
        "protons a spot; all weights at least 0. All start from the same uniform weights; each objective value is "
        "evaluated anew.",
        header=("solver", "objective", "seconds"),
        rows=rows,
        demands=[
            (
                "ours is no worse than the general solver",
                f"{ours:.5g} against {general:.5g}",
                ours <= general * TOLERANCE,
            )
        ],
        workflows=("proton-impt-optimized",),
    )


def _problem(case: Path, protocol_file: Path, folder: Path) -> tuple[Problem, Vector, Vector]:
    protocol = Protocol.model_validate(yaml.safe_load(protocol_file.read_text()))
    parameters = parse_parameters(protocol.workflow, {**protocol.parameters(), "beamlet_primaries": PRIMARIES})
    assert isinstance(parameters, ImptOptimizedParameters)
    images = [pydicom.dcmread(path) for path in sorted((case / "CT").iterdir())]
    patient = load_patient(pydicom.dcmread(case / "RTSTRUCT.dcm"), images)
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    cores = len(os.sched_getaffinity(0))
    setup = set_up(ProtonJob(patient, protocol.prescribed, parameters, structures, Recorder(), folder, cores))
    beamlets = compute_beamlets(setup)
    terms, _ = objective_terms(setup, beamlets, parameters.objectives)
    problem = Problem(beamlets.matrix, setup.gy_per_unit, terms, threads=cores)
    return problem, uniform_start(setup, beamlets), reach(setup, beamlets)


def _ours(
    problem: Problem,
    start: Vector,
    reached: Vector,
    iterations: int,
    method: Literal["L-BFGS-B", "projected-gradient"],
) -> Vector:
    solution = optimize(
        replace(problem),
        start,
        least_weight=0.0,
        max_iterations=iterations,
        method=method,
        on_iteration=lambda *_: None,
        reach=reached,
    )
    return solution.weights


def _general(problem: Problem, start: Vector, method: str, iterations: int) -> Vector:
    """scipy without bounds, on square roots of the weights, so that any of its methods can be had."""
    scale = float(start.mean())

    def function(root: Vector) -> tuple[float, Any]:
        value, gradient, _ = problem.evaluate(root**2 * scale)
        return value, 2 * root * gradient * scale

    options = {"maxiter": iterations, "gtol": 1e-12}
    found = scipy.optimize.minimize(function, np.sqrt(start / scale), jac=True, method=method, options=options)
    weights: Vector = found.x**2 * scale
    return weights
