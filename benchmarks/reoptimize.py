"""From a request with new objectives to the new DVH, with beamlets that an earlier plan has left; prints a table.

``python -m benchmarks.reoptimize`` plans `cases/prostate` with the protocol that ships, then again with other
objectives, in a process of its own each: reading the DICOM files, the plan up to the DVHs of the optimised beamlets,
and the final dose. That is made with few protons: its time is the other benchmark's. With ``--service`` the same as a
user waits for it: from `POST /plans/{id}/reoptimize` to a real Orthanc to the DVHs at `/jobs/{id}`, three times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
PROTOCOL = CHECKOUT / "orthanc-config/protocols/prostate-two-lateral.yaml"
WANTED_S = 5.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    cases = os.environ.get("RADIARCH_CASES", CHECKOUT.parent / "shared/cases")
    arguments.add_argument("--case", type=Path, default=Path(cases) / "prostate")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--cache", type=Path, default=None, help="folder that is kept; default: a temporary one")
    arguments.add_argument("--one", choices=["first", "again"], help=argparse.SUPPRESS)
    arguments.add_argument("--service", action="store_true", help="through Orthanc, Redis and a worker")
    options = arguments.parse_args()
    if options.service:
        with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as temporary:
            seconds = _through_the_service(options.case, Path(temporary))
        each = ", ".join(f"{s:.1f}" for s in seconds)
        print(f"| POST to the new DVH at /jobs/{{id}}, s | {each} (wanted: at most {WANTED_S:g}) |")
        return
    if options.one is not None:
        print(json.dumps(_plan(options.case, options.threads, options.cache, options.one == "again")))
        return
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as temporary:
        cache = options.cache or Path(temporary) / "cache"
        first = _in_process(options.case, options.threads, cache, "first")
        again = _in_process(options.case, options.threads, cache, "again")
    rows = [
        ("beamlets of the first plan", f"{first['beamlets']}, {first['computing_beamlets_s']:.1f} s"),
        ("beamlets of the second plan", f"{again['beamlets']}, {again['computing_beamlets_s']:.1f} s"),
        ("spots, values of the matrix", f"{again['spots']}, {again['values']}"),
        ("reading CT and RTSTRUCT, s", f"{again['read_s']:.1f}"),
        ("placing spots, s", f"{again['building_plan_s']:.1f}"),
        ("optimising, s, iterations", f"{again['optimizing_s']:.1f}, {again['iterations']}"),
        ("**request to new DVH, s**", f"**{again['to_dvh_s']:.1f}** (wanted: at most {WANTED_S:g})"),
    ]
    print("\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]))


def _through_the_service(case: Path, folder: Path, times: int = 3) -> list[float]:
    import pydicom

    from tests.system.processes import wait_for
    from tests.system.service import Service

    found = []
    rtstruct = case / "RTSTRUCT.dcm"
    with Service(folder / "service", protocols=PROTOCOL.parent) as service:
        service.start()
        service.send([*sorted((case / "CT").iterdir()), rtstruct])
        uid = str(pydicom.dcmread(rtstruct, stop_before_pixels=True).SOPInstanceUID)
        parent = service.plan(service.wait_for_plan(uid, "succeeded", within_s=1200)["id"])
        kept = [o for o in parent["objectives"] if o["structure"] != "Bladder"]
        for number in range(times):
            bladder = {"structure": "Bladder", "metric": "DVHMax", "dose_gy": 40 + number, "volume_percent": 20}
            asked = {"objectives": [*kept, {**bladder, "weight": 5}], "parameters": {"final_primaries": 40_000}}
            started = time.monotonic()
            made = service.http.post(f"/radiarch/api/v1/plans/{parent['id']}/reoptimize", json=asked).json()["id"]

            def told(plan_id: str = made) -> bool:
                return bool((service.api(f"/jobs/{plan_id}")["solver"] or {}).get("dvh"))

            wait_for(told, "the DVH is told", within_s=120)
            found.append(time.monotonic() - started)
            service.wait_for_end(made)
    return found


def _in_process(case: Path, threads: int, cache: Path, which: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.reoptimize", "--one", which, "--case", str(case)]
    command += ["--threads", str(threads), "--cache", str(cache)]
    said = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def _plan(case: Path, threads: int, cache: Path, again: bool) -> dict[str, Any]:
    import pydicom
    import yaml
    from radiarch_contract.protocol import Protocol
    from radiarch_contract.structures import Roi, resolve
    from radiarch_contract.workflows import ProtonParameters, parse_parameters
    from radiarch_worker import planning
    from radiarch_worker.engines.arraycache import ArrayCache
    from radiarch_worker.patient import load_patient

    from .ours import Silent

    class Listener(Silent):
        preview_at = 0.0
        lines: list[str]

        def __init__(self) -> None:
            self.lines = []

        def preview(self, dvh: object) -> None:
            self.preview_at = time.monotonic()

        def log(self, line: str) -> None:
            self.lines.append(line)

    protocol = Protocol.model_validate(yaml.safe_load(PROTOCOL.read_text()))
    asked = {**protocol.parameters(), "final_primaries": 40_000}
    if again:  # another structure, another limit, another weight
        asked["objectives"] = [
            *(o for o in asked["objectives"] if o["structure"] != "Bladder"),
            {"structure": "Bladder", "metric": "DVHMax", "dose_gy": 40, "volume_percent": 20, "weight": 5},
            {"structure": "Prostate", "metric": "DMin", "dose_gy": 76, "weight": 50},
        ]
    # a worker has everything loaded and compiled before a job comes
    from radiarch_worker.engines.mcsquare import load_calibration, load_machine
    from radiarch_worker.machines.calibration import GENERIC

    parameters = parse_parameters(protocol.workflow, asked)
    assert isinstance(parameters, ProtonParameters)
    load_machine(parameters.machine)
    load_calibration(GENERIC)
    listener = Listener()
    started = time.monotonic()
    images = [pydicom.dcmread(path) for path in sorted((case / "CT").iterdir())]
    patient = load_patient(pydicom.dcmread(case / "RTSTRUCT.dcm"), images)
    read_s = time.monotonic() - started
    rois = [Roi(number=number, name=s.name) for number, s in patient.structures.items()]
    names = [*protocol.structure_names(), "Prostate"]
    structures, _ = resolve(names, protocol.structures, rois)
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as folder:
        result = planning.plan(
            protocol.workflow,
            patient,
            protocol.prescribed,
            parameters,
            structures,
            listener,
            Path(folder),
            threads,
            ArrayCache(cache, 10 << 30),
        )
    values, spots = next((w[0], w[6]) for w in (x.split() for x in listener.lines) if w[1:3] == ["values", "for"])
    return {
        "beamlets": result.run["beamlets"],
        "spots": spots,
        "values": values,
        "read_s": read_s,
        "to_dvh_s": listener.preview_at - started,
        "iterations": result.provenance["iterations"],
        **{f"{k}_s": v for k, v in result.timings_s.items()},
    }


if __name__ == "__main__":
    main()
