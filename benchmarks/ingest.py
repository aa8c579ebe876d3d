"""Times C-STORE with and without the plugin, and how long after the last C-STORE a plan is queued."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from pydicom.uid import generate_uid

from phantoms import box
from tests.system.processes import Server, free_port, wait_for
from tests.system.service import AET, Service

QUIET = {"TCP_NODELAY": "1"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--instances", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--table", type=Path, default=None, help="also written to this file")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="radiarch-benchmark-") as name:
        text = run(Path(name), options.instances, options.rounds)
    print(text)
    if options.table is not None:
        options.table.write_text(text + "\n")


def run(folder: Path, count: int, rounds: int) -> str:
    """All measurements as a Markdown table; the servers take turns, so that the machine's changing speed hits all."""
    with Service(folder / "with") as service:
        service.start(workers=0)
        without, default = Plain(folder / "without", QUIET), Plain(folder / "default", {})
        try:
            plugin_s, plain_s = [], []
            for _ in range(rounds):
                plugin_s.append(send(new_series(folder, count), service.dicom_port))
                plain_s.append(send(new_series(folder, count), without.dicom_port))
            default_s = send(new_series(folder, count), default.dicom_port)
        finally:
            without.server.stop()
            default.server.stop()
        queued_s = [latency_s(service, folder) for _ in range(2 * rounds)]
    ratios = [a / b for a, b in zip(plugin_s, plain_s, strict=True)]
    ours = statistics.median(plugin_s)
    rows = [
        ("C-STORE with the plugin", f"{ours:.2f} s, {count / ours:.0f} instances/s"),
        ("the same Orthanc without it", f"{statistics.median(plain_s):.2f} s"),
        ("with ÷ without, pair by pair", f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"),
        ("Debian's default configuration", f"{default_s:.2f} s, {count / default_s:.0f} instances/s"),
        ("default ÷ ours", f"{default_s / ours:.1f}"),
        ("last C-STORE answered → queued", f"{statistics.median(queued_s):.2f} s (at most {max(queued_s):.2f} s)"),
    ]
    header = [f"| {count} CT instances, median of {rounds} | |", "|---|---|"]
    return "\n".join([*header, *(f"| {name} | {value} |" for name, value in rows)])


class Plain:
    """An Orthanc without our plugin."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        folder.mkdir()
        self.dicom_port, http_port = free_port(), free_port()
        configuration = folder / "orthanc.json"
        configuration.write_text(
            f'{{"HttpPort": {http_port}, "DicomPort": {self.dicom_port}, "DicomAet": "{AET}", '
            f'"StorageDirectory": "{folder}", "IndexDirectory": "{folder}", "RemoteAccessAllowed": false}}'
        )
        self.server = Server("orthanc", ["Orthanc", str(configuration)], folder=folder, env=env)
        self.server.start()
        wait_for(lambda: _answers(f"http://127.0.0.1:{http_port}/system"), "Orthanc answers")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def new_series(folder: Path, count: int) -> list[Path]:
    """Files of one series that no server has seen."""
    images = box().images
    target = Path(tempfile.mkdtemp(dir=folder))
    series = generate_uid()
    paths = []
    for number in range(count):
        image = images[number % len(images)]
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.SeriesInstanceUID, image.InstanceNumber = series, number + 1
        paths.append(target / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def send(files: Sequence[Path], port: int) -> float:
    """Seconds that one association takes."""
    command = ["/usr/bin/storescu", "-R", "-aec", AET, "+sd", "127.0.0.1", str(port), str(files[0].parent)]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **QUIET})
    return time.monotonic() - began


def latency_s(service: Service, folder: Path) -> float:
    """From the end of the association that brings the last image to the plan's state ``queued``."""
    study = box()
    *images, last, rtstruct = study.save(Path(tempfile.mkdtemp(dir=folder)))
    service.send([rtstruct, *images])
    plan_id = service.wait_for_plan(study.rtstruct.SOPInstanceUID, "waiting")["id"]
    service.send([last])
    sent_at = time.time()

    def queued() -> dict[str, Any] | None:
        events: list[dict[str, Any]] = service.api(f"/jobs/{plan_id}/events", since="0")["items"]
        return next((e for e in events if e["type"] == "state" and e["data"].get("state") == "queued"), None)

    event = service.wait(queued, "the plan is queued")
    return max(0.0, datetime.fromisoformat(event["at"]).timestamp() - sent_at)


if __name__ == "__main__":
    main()
