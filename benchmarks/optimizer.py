"""Our optimiser and stock OpenTPS's on the same beamlets, objectives and start; prints a table.

``python -m benchmarks.optimizer`` takes the beamlets of `cases/prostate` as the shipped protocol makes them (computed,
or from ``--cache``) and runs both with L-BFGS-B for the same number of iterations. Stock OpenTPS runs without its "DVH"
objectives, which it does not have, and with its own squared weights; both solutions are judged by one function.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import scipy.sparse
import yaml
from radiarch_contract.objectives import ObjectiveMetric
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import ImptOptimizedParameters, parse_parameters
from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.optimization import MetricTerm, make_problem, optimize
from radiarch_worker.patient import load_patient
from radiarch_worker.planning.objectives import objective_terms
from radiarch_worker.planning.proton.steps import (
    Beamlets,
    ProtonJob,
    Setup,
    compute_beamlets,
    reach,
    set_up,
    uniform_start,
)

from .ours import Silent

CHECKOUT = Path(__file__).resolve().parent.parent
PROTOCOL = CHECKOUT / "orthanc-config/protocols/prostate-two-lateral.yaml"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    cases = os.environ.get("RADIARCH_CASES", CHECKOUT.parent / "shared/cases")
    arguments.add_argument("--case", type=Path, default=Path(cases) / "prostate")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--iterations", type=int, default=20)
    arguments.add_argument("--cache", type=Path, default=None)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as folder:
        cache = ArrayCache(options.cache or Path(folder) / "cache", 10 << 30)
        setup, parameters = _setup(options.case, Path(folder), options.threads, cache)
        beamlets = compute_beamlets(setup)
        terms = [t for t in objective_terms(setup, beamlets, parameters.objectives)[0] if isinstance(t, MetricTerm)]
        start = uniform_start(setup, beamlets)
        problem = make_problem(beamlets.matrix, setup.gy_per_unit, terms, options.threads)
        problem.evaluate(start)  # compiled before the clock runs
        began = time.monotonic()
        ours = optimize(
            problem,
            start,
            least_weight=0.0,
            max_iterations=options.iterations,
            method="L-BFGS-B",
            on_iteration=lambda *_: None,
            reach=reach(setup, beamlets),
        )
        ours_s = time.monotonic() - began
        stock_s, stock_iterations, stock_weights = _stock(setup, beamlets, terms, start, options.iterations)
        stock_value = problem.evaluate(stock_weights)[0]
    rate, stock_rate = ours.iterations / ours_s, stock_iterations / stock_s
    rows = [
        ("spots, values of the matrix, cores", f"{len(start)}, {beamlets.matrix.nnz}, {options.threads}"),
        ("iterations per second", f"{rate:.1f}"),
        ("stock OpenTPS, iterations per second", f"{stock_rate:.2f}"),
        ("**ours ÷ stock**", f"**{rate / stock_rate:.0f}** (wanted: at least 10)"),
        (f"objective after {ours.iterations} iterations", f"{ours.objective:.4g}"),
        (f"stock OpenTPS, objective after {stock_iterations}", f"{stock_value:.4g} (ours wanted: no worse)"),
        ("objective at the start", f"{problem.evaluate(start)[0]:.4g}"),
    ]
    print("\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]))


def _setup(case: Path, folder: Path, threads: int, cache: ArrayCache) -> tuple[Setup, ImptOptimizedParameters]:
    protocol = Protocol.model_validate(yaml.safe_load(PROTOCOL.read_text()))
    images = [pydicom.dcmread(path) for path in sorted((case / "CT").iterdir())]
    patient = load_patient(pydicom.dcmread(case / "RTSTRUCT.dcm"), images)
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    parameters = parse_parameters(protocol.workflow, protocol.parameters())
    assert isinstance(parameters, ImptOptimizedParameters)
    job = ProtonJob(patient, protocol.prescribed, parameters, structures, Silent(), folder, threads, cache)
    return set_up(job), parameters


def _stock(
    setup: Setup, beamlets: Beamlets, terms: list[MetricTerm], start: npt.NDArray[np.float64], iterations: int
) -> tuple[float, int, npt.NDArray[np.float64]]:
    """Seconds and iterations of stock OpenTPS's optimiser as it counts them, and its weights."""
    from opentps.core.data._patient import Patient
    from opentps.core.data._sparseBeamlets import SparseBeamlets
    from opentps.core.data.images import CTImage, ROIMask
    from opentps.core.data.plan import FidObjective, ProtonPlanDesign
    from opentps.core.data.plan._planProtonBeam import PlanProtonBeam
    from opentps.core.data.plan._planProtonLayer import PlanProtonLayer
    from opentps.core.data.plan._protonPlan import ProtonPlan
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    logging.disable(logging.INFO)
    grid = setup.dose_grid
    nz, ny, nx = grid.shape
    metrics = {ObjectiveMetric.DMEAN_MAX: FidObjective.Metrics.DMEAN, ObjectiveMetric.DMAX: FidObjective.Metrics.DMAX}
    metrics |= {
        ObjectiveMetric.DMIN: FidObjective.Metrics.DMIN,
        ObjectiveMetric.DUNIFORM: FidObjective.Metrics.DUNIFORM,
    }
    ct = CTImage(imageArray=np.zeros((nx, ny, nz)), name="CT", origin=grid.origin_mm, spacing=grid.spacing_mm)
    ct.patient = Patient()

    def roi(rows: npt.NDArray[np.intp], name: str) -> Any:
        mask = np.zeros(nx * ny * nz, dtype=bool)
        mask[beamlets.result.voxels[rows]] = True
        array = mask.reshape(nz, ny, nx).transpose(2, 1, 0)
        return ROIMask(imageArray=array, name=name, origin=ct.origin, spacing=ct.spacing, patient=ct.patient)

    plan, design = ProtonPlan(), ProtonPlanDesign()
    plan.radiationType, plan.scanMode = "PROTON", "MODULATED"
    plan.planDesign, design.ct = design, ct
    for beam in setup.plan.beams:
        made = PlanProtonBeam()
        made.gantryAngle, made.isocenterPosition = beam.gantry_deg, list(beam.isocenter_mm)
        for layer in beam.layers:
            spots = PlanProtonLayer(layer.energy_mev)
            spots.appendSpot(list(layer.x_mm), list(layer.y_mm), [1.0] * len(layer))
            made.appendLayer(spots)
        plan.appendBeam(made)
    # its voxels run along x, y, z with x fastest, x and y from the other end; its doses are of all fractions
    z, y, x = np.unravel_index(beamlets.result.voxels, grid.shape)
    order = (nx - 1 - x) + nx * ((ny - 1 - y) + ny * z)
    place = scipy.sparse.csr_matrix(
        (np.full(len(order), setup.gy_per_unit, dtype=np.float32), (order, np.arange(len(order)))),
        shape=(nx * ny * nz, len(order)),
    )
    sparse = SparseBeamlets()
    sparse.setUnitaryBeamlets(scipy.sparse.csc_matrix(place @ beamlets.matrix))
    sparse.doseOrigin, sparse.doseSpacing, sparse.doseGridSize = ct.origin, ct.spacing, (nx, ny, nz)
    design.beamlets = sparse
    design.setScoringParameters(scoringGridSize=[nx, ny, nz], scoringSpacing=ct.spacing, scoringOrigin=ct.origin)
    target = next(t for t in terms if t.name == setup.job.prescription.target)
    design.defineTargetMaskAndPrescription(target=roi(target.rows, "target"), targetPrescription=target.dose_gy)
    for i, term in enumerate(terms):
        objective = roi(term.rows, f"{i} {term.name}")
        design.objectives.addFidObjective(objective, metrics[term.metric], term.dose_gy, term.weight)
    solver = IntensityModulationOptimizer(
        method="Scipy_L-BFGS-B", plan=plan, maxiter=iterations, init_weights=np.sqrt(start)
    )
    solver.optimize()
    return solver.time, solver.niter, np.square(solver.weights, dtype=np.float64)


if __name__ == "__main__":
    main()
