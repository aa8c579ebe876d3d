"""Plans a case with a protocol as a worker does, in a process of its own; prints one line of JSON."""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydicom
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import ProtonParameters
from radiarch_worker.engines.mcsquare import load_calibration, load_machine
from radiarch_worker.ion import ion_beams
from radiarch_worker.machines.calibration import GENERIC
from radiarch_worker.model import PlanResult
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import plan

from .quality import doses_of, parameters_of, save_spots


def cpu_s() -> dict[str, float]:
    """Processor seconds of this process and of those that it started: other programs' load changes them little."""
    here, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": here.ru_utime + here.ru_stime + below.ru_utime + below.ru_stime,
        "engine_cpu_s": below.ru_utime + below.ru_stime,
    }


class Silent:
    """A reporter that nobody listens to."""

    def stage(self, stage: object, message: str = "") -> None: ...
    def expect(self, work: object) -> None: ...
    def progress(self, fraction: float, message: str = "") -> None: ...
    def log(self, line: str) -> None: ...
    def solver(self, iteration: int, objective: float, terms: Mapping[str, float]) -> None: ...
    def preview(self, dvh: object) -> None: ...


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case", type=Path)
    arguments.add_argument("protocol", type=Path)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--set", action="append", default=[], help="a parameter instead of the protocol's")
    arguments.add_argument("--plan", type=Path, help="the plan's spots are written to this file")
    options = arguments.parse_args()
    protocol = Protocol.model_validate(yaml.safe_load(options.protocol.read_text()))
    parameters = parameters_of(protocol, options.set)
    assert isinstance(parameters, ProtonParameters)
    # a worker has OpenTPS and its tables loaded before a job comes; stock's are imported before its clock runs, too
    load_machine(parameters.machine)
    load_calibration(GENERIC)
    started = time.monotonic()
    images = [pydicom.dcmread(path) for path in sorted((options.case / "CT").iterdir())]
    patient = load_patient(pydicom.dcmread(options.case / "RTSTRUCT.dcm"), images)
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as folder:
        result = plan(
            protocol.workflow,
            patient,
            protocol.prescribed,
            parameters,
            structures,
            Silent(),
            Path(folder),
            options.threads,
        )
    total_s = time.monotonic() - started
    if options.plan is not None:
        _save(options.plan, result)
    doses = doses_of(patient, result.dose, protocol, structures)
    facts = {"total_s": total_s, **cpu_s(), "timings_s": dict(result.timings_s), **_facts(result)}
    print(json.dumps({**facts, "doses": doses}))


def _facts(result: PlanResult) -> dict[str, Any]:
    return {
        "uncertainty_percent": result.uncertainty_percent,
        "final_primaries": result.provenance["final_primaries"],
        "grid_mm": list(result.dose.grid.spacing_mm),
        "spots": sum(len(layer.x_mm) for beam in ion_beams(result) for layer in beam.layers),
        "dose_sha256": hashlib.sha256(result.dose.dose_gy.tobytes()).hexdigest(),
    }


def _save(path: Path, result: PlanResult) -> None:
    save_spots(
        path,
        [(b.gantry_deg, b.couch_deg, b.isocenter_mm) for b in ion_beams(result)],
        (
            (i, layer.energy_mev, x, y, mu)
            for i, beam in enumerate(ion_beams(result))
            for layer in beam.layers
            for x, y, mu in zip(layer.x_mm, layer.y_mm, layer.meterset_mu, strict=True)
        ),
    )


if __name__ == "__main__":
    main()
