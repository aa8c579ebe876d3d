"""The same plan with stock OpenTPS, as its examples do it, in a process of its own; prints one line of JSON.

Stock but for one thing, without which it does not run: the copied launcher gets Unix line ends and the right to be
executed. OpenTPS keeps settings in ``$HOME`` and simulates in its workspace there: give it a HOME of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from opentps.core.data.plan import FidObjective, ProtonPlanDesign
from opentps.core.io.dicomIO import readDicomCT, readDicomStruct
from opentps.core.io.mcsquareIO import readBDL
from opentps.core.io.scannerReader import readScanner
from opentps.core.processing.doseCalculation.doseCalculationConfig import DoseCalculationConfig
from opentps.core.processing.doseCalculation.protons.mcsquareDoseCalculator import MCsquareDoseCalculator
from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import ImptOptimizedParameters

from .ours import cpu_s
from .quality import parameters_of, save_spots

_METRICS = {"DMin": "DMIN", "DMax": "DMAX", "DUniform": "DUNIFORM", "DMean": "DMEAN", "DMeanMax": "DMEAN"}


class Calculator(MCsquareDoseCalculator):  # type: ignore[misc]
    """Stock, with the launcher repaired and the engine's seconds counted."""

    engine_s = 0.0

    def _startMCsquare(self, opti: bool = False) -> None:  # noqa: N802 (OpenTPS's name)
        folder = Path(self._mcsquareSimuDir)
        launcher = folder / "MCsquare"
        launcher.write_bytes(launcher.read_bytes().replace(b"\r", b""))
        for binary in folder.glob("MCsquare*"):
            binary.chmod(0o755)
        started = time.monotonic()
        subprocess.run(["sh", "MCsquare"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        Calculator.engine_s += time.monotonic() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case", type=Path)
    arguments.add_argument("protocol", type=Path)
    arguments.add_argument("--final-primaries", type=float, required=True)
    arguments.add_argument("--set", action="append", default=[], help="a parameter instead of the protocol's")
    arguments.add_argument("--plan", type=Path, help="the plan's spots are written to this file")
    arguments.add_argument("--grid-mm", type=float, nargs=3, required=True)
    options = arguments.parse_args()
    logging.disable(logging.INFO)
    protocol = Protocol.model_validate(yaml.safe_load(options.protocol.read_text()))
    parameters = parameters_of(protocol, options.set)
    assert isinstance(parameters, ImptOptimizedParameters)
    started = time.monotonic()
    ct, masks, body = _read(options.case, protocol)
    target = masks[protocol.prescribed.target]
    design = ProtonPlanDesign()
    design.ct = ct
    design.gantryAngles = [b.gantry_deg for b in parameters.planned_beams]
    design.couchAngles = [b.couch_deg for b in parameters.planned_beams]
    design.beamNames = [f"B{i}" for i in range(len(parameters.planned_beams))]
    design.calibration = readScanner(DoseCalculationConfig().scannerFolder)
    design.spotSpacing, design.layerSpacing = parameters.spot_spacing_mm, parameters.layer_spacing_mm
    design.targetMargin = parameters.target_margin_mm
    design.setScoringParameters(scoringSpacing=options.grid_mm, adapt_gridSize_to_new_spacing=True)
    design.defineTargetMaskAndPrescription(target=target, targetPrescription=protocol.prescribed.dose_gy)
    plan = design.buildPlan()
    plan.numberOfFractionsPlanned = protocol.prescribed.fractions
    calculator = Calculator()
    calculator.beamModel = readBDL(str(Path(DoseCalculationConfig().bdlFile).with_name(f"{parameters.machine}.txt")))
    calculator.ctCalibration = design.calibration
    calculator.overwriteOutsideROI = body  # a contour: OpenTPS asks it for its mask
    calculator.nbPrimaries = parameters.beamlet_primaries
    plan.planDesign.beamlets = calculator.computeBeamlets(ct, plan)
    for objective in parameters.objectives:
        metric = FidObjective.Metrics[_METRICS[objective.metric]]
        plan.planDesign.objectives.addFidObjective(
            masks[objective.structure], metric, objective.dose_gy, objective.weight
        )
    solver = IntensityModulationOptimizer(method="Scipy_L-BFGS-B", plan=plan, maxiter=parameters.max_iterations)
    solver.optimize()
    calculator.nbPrimaries = options.final_primaries
    dose = calculator.computeDose(ct, plan)
    assert np.isfinite(dose.imageArray).all()
    total_s = time.monotonic() - started
    if options.plan is not None:
        save_spots(
            options.plan,
            [(b.gantryAngle, b.couchAngle, b.isocenterPosition) for b in plan.beams],
            (
                (i, layer.nominalEnergy, x, y, mu)
                for i, beam in enumerate(plan.beams)
                for layer in beam.layers
                for x, y, mu in zip(layer.spotX, layer.spotY, layer.spotMUs, strict=True)
            ),
        )
    answer = {"total_s": total_s, **cpu_s(), "engine_s": Calculator.engine_s, "spots": int(plan.numberOfSpots)}
    print(json.dumps(answer))


def _read(case: Path, protocol: Protocol) -> tuple[Any, dict[str, Any], Any]:
    ct = readDicomCT(sorted(str(p) for p in (case / "CT").iterdir()))
    contours = {c.name: c for c in readDicomStruct(str(case / "RTSTRUCT.dcm")).contours}
    rois = [Roi(number=i, name=name) for i, name in enumerate(contours)]
    found, _ = resolve([*protocol.structure_names(), "BODY"], protocol.structures, rois)
    grid = {"origin": ct.origin, "gridSize": ct.gridSize, "spacing": ct.spacing}
    masks = {name: contours[ref.roi_name].getBinaryMask(**grid) for name, ref in found.items()}
    return ct, masks, contours[found["BODY"].roi_name]


if __name__ == "__main__":
    main()
