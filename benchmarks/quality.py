"""Plans of any origin recomputed alike with many protons, so that their quality can be compared.

``python -m benchmarks.quality CASE PROTOCOL PLAN.npz …`` prints one line of JSON for each plan. A plan is a file of
spots: beams' angles and isocenters, and of each spot its beam, energy, position and MU of one fraction.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, StructureRef, resolve
from radiarch_contract.workflows import ProtonParameters, WorkflowParameters, parse_parameters
from radiarch_worker.engines import mcsquare
from radiarch_worker.evaluation import evaluate
from radiarch_worker.model import Dose, Patient
from radiarch_worker.patient import load_patient
from radiarch_worker.planning.geometry import ScoringLattice, sample_mask
from radiarch_worker.planning.structures import require_target

SEED = 20_260_101
"""Not a seed that plans are made with: a plan that was fitted to noise must not be judged by the same noise."""

_DOSES = ("mean", "d98", "d95", "d50", "d2")


def save_spots(
    path: Path, beams: Sequence[tuple[float, float, Sequence[float]]], spots: Iterable[Sequence[float]]
) -> None:
    """Beams as (gantry, couch, isocenter in patient LPS), spots as (beam, MeV, x, y, MU of one fraction)."""
    rows = np.array(list(spots), dtype=np.float64)
    angles = np.array([(gantry, couch, *isocenter) for gantry, couch, isocenter in beams], dtype=np.float64)
    np.savez(path, beams=angles, spots=rows)


def load_spots(path: Path) -> tuple[mcsquare.SpotPlan, npt.NDArray[np.float64]]:
    """The plan and its meterset; spots without meterset are left out."""
    with np.load(path) as stored:
        angles, rows = stored["beams"], stored["spots"]
    beams, meterset = [], []
    for number, (gantry, couch, *isocenter) in enumerate(angles):
        mine = rows[(rows[:, 0] == number) & (rows[:, 4] > 0)]
        layers = []
        for energy in sorted(set(mine[:, 1]), reverse=True):
            on = mine[mine[:, 1] == energy]
            layers.append(mcsquare.PlannedLayer(float(energy), on[:, 2], on[:, 3]))
            meterset.append(on[:, 4])
        center = (float(isocenter[0]), float(isocenter[1]), float(isocenter[2]))
        beams.append(mcsquare.PlannedBeam(float(gantry), float(couch), center, tuple(layers), f"B{number}"))
    return mcsquare.SpotPlan(tuple(beams)), np.concatenate(meterset)


def parameters_of(protocol: Protocol, settings: Sequence[str]) -> WorkflowParameters:
    """A protocol's parameters with some of them (``name=value``, values in YAML) instead of its own."""
    given = {name: yaml.safe_load(value) for name, _, value in (s.partition("=") for s in settings)}
    return parse_parameters(protocol.workflow, {**protocol.parameters(), **given})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case", type=Path)
    arguments.add_argument("protocol", type=Path)
    arguments.add_argument("plans", type=Path, nargs="+")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--uncertainty", type=float, default=1.0, help="percent in the target, 1 sigma")
    arguments.add_argument(
        "--weighting", type=float, nargs="+", help="of each plan: 1.1 where its objectives are of RBE-weighted dose"
    )
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of all plans")
    options = arguments.parse_args()
    protocol = Protocol.model_validate(yaml.safe_load(options.protocol.read_text()))
    parameters = parameters_of(protocol, options.set)
    assert isinstance(parameters, ProtonParameters)
    images = [pydicom.dcmread(path) for path in sorted((options.case / "CT").iterdir())]
    patient = load_patient(pydicom.dcmread(options.case / "RTSTRUCT.dcm"), images)
    for path, weighting in zip(options.plans, options.weighting, strict=True):
        found = judged(patient, protocol, parameters, path, weighting, options.uncertainty, options.threads)
        print(json.dumps(found), flush=True)


def judged(
    patient: Patient,
    protocol: Protocol,
    parameters: ProtonParameters,
    path: Path,
    weighting: float,
    uncertainty_percent: float,
    threads: int,
) -> dict[str, Any]:
    """Doses of the protocol's structures, from a recalculation that is as certain as asked for."""
    from .ours import Silent

    prescription = protocol.prescribed
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    machine = mcsquare.load_machine(parameters.machine)
    calibration = mcsquare.calibration_for(parameters.ct_calibration, patient.ct)
    grid = ScoringLattice.of(patient.ct.grid, parameters.scoring_spacing_mm, patient.body.mask).grid(patient.body.mask)
    target = require_target(patient, structures, prescription.target)
    plan, meterset = load_spots(path)
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as folder:
        dose = mcsquare.compute_dose(
            mcsquare.prepare_ct(patient.ct, patient.body, calibration, cover=grid),
            plan,
            meterset,
            grid,
            sample_mask(target.mask, patient.ct.grid, grid),
            mcsquare.RunSettings(machine, calibration, SEED, threads, Path(folder), Silent()),
            uncertainty_percent=uncertainty_percent,
        )
    weighted = Dose(dose.dose_gy * np.float32(weighting * prescription.fractions), grid, weighting)
    return {
        "plan": path.stem,
        "spots": plan.spot_count,
        "primaries": dose.primaries,
        "uncertainty_percent": dose.uncertainty_percent,
        "doses": doses_of(patient, weighted, protocol, structures),
    }


def doses_of(
    patient: Patient, dose: Dose, protocol: Protocol, structures: Mapping[str, StructureRef]
) -> dict[str, dict[str, float]]:
    """Mean dose and dose metrics of the protocol's structures, of their contours as in every plan's result."""
    found = evaluate(patient, dose, protocol.prescribed, (), structures)
    by_number = {m.roi_number: m for m in found.metrics}
    return {
        name: {f"{d}_gy": getattr(by_number[ref.roi_number], f"d_{d}_gy" if d == "mean" else f"{d}_gy") for d in _DOSES}
        for name, ref in structures.items()
    }


if __name__ == "__main__":
    main()
