"""Plans a case with a protocol as a worker does, in a process of its own; prints one line of JSON."""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import yaml
from radiarch_contract.protocol import Protocol
from radiarch_contract.structures import Roi, resolve
from radiarch_contract.workflows import parse_parameters
from radiarch_worker.model import PlanResult
from radiarch_worker.patient import load_patient
from radiarch_worker.planning import plan
from radiarch_worker.planning.geometry import sample_mask


class Silent:
    """A reporter that nobody listens to."""

    def stage(self, stage: object, message: str = "") -> None: ...
    def progress(self, fraction: float, message: str = "") -> None: ...
    def log(self, line: str) -> None: ...
    def solver(self, iteration: int, objective: float, terms: Mapping[str, float]) -> None: ...
    def preview(self, dvh: object) -> None: ...


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case", type=Path)
    arguments.add_argument("protocol", type=Path)
    arguments.add_argument("--threads", type=int, required=True)
    options = arguments.parse_args()
    protocol = Protocol.model_validate(yaml.safe_load(options.protocol.read_text()))
    started = time.monotonic()
    images = [pydicom.dcmread(path) for path in sorted((options.case / "CT").iterdir())]
    patient = load_patient(pydicom.dcmread(options.case / "RTSTRUCT.dcm"), images)
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    structures, _ = resolve(protocol.structure_names(), protocol.structures, rois)
    parameters = parse_parameters(protocol.workflow, protocol.parameters())
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
    doses = {
        name: _doses(result, sample_mask(patient.structures[ref.roi_number].mask, patient.ct.grid, result.dose.grid))
        for name, ref in structures.items()
    }
    print(json.dumps({"total_s": total_s, "timings_s": dict(result.timings_s), **_facts(result), "doses": doses}))


def _facts(result: PlanResult) -> dict[str, Any]:
    return {
        "uncertainty_percent": result.uncertainty_percent,
        "final_primaries": result.provenance["final_primaries"],
        "grid_mm": list(result.dose.grid.spacing_mm),
        "spots": sum(len(layer.x_mm) for beam in result.beams for layer in beam.layers),
        "dose_sha256": hashlib.sha256(result.dose.dose_gy.tobytes()).hexdigest(),
    }


def _doses(result: PlanResult, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, float]:
    dose = result.dose.dose_gy[mask]
    return {
        "mean_gy": float(dose.mean()),
        **{f"d{p}_gy": float(np.percentile(dose, 100 - p)) for p in (98, 95, 50, 10, 2)},
    }


if __name__ == "__main__":
    main()
