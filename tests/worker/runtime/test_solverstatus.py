"""Every iteration that a job tells reaches its status, whatever the pace, and the status stays small."""

from __future__ import annotations

import socket

from radiarch_contract.job import DvhCurve
from radiarch_worker.runtime.link import JobLink, WorkerLink
from radiarch_worker.runtime.solverstatus import LIVE_ITERATIONS, SolverStatus


def test_every_iteration_is_told_once_and_in_order() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        job, worker, status = JobLink(theirs), WorkerLink(ours), SolverStatus()
        told: list[int] = []
        curve = DvhCurve(structure="PTV", roi_number=1, volume_cc=1.0, dose_gy=(0.0, 1.0), volume_percent=(100.0, 0.0))

        def receive() -> None:
            for message in worker.messages():
                if message["kind"] == "solver":
                    told.extend(i["iteration"] for i in message["iterations"])
                    status.iterations(message["iterations"])
                else:
                    assert message["kind"] == "preview"
                    status.preview(message["dvh"])

        count = 3 * LIVE_ITERATIONS
        for n in range(1, count + 1):
            job.solver(n, 100.0 / n, {"PTV": 60.0 / n, "Rectum": 40.0 / n})
            receive()
        job.preview([curve])
        receive()
    assert told == list(range(1, count + 1))
    assert status.value is not None
    assert status.value["iteration"] == count
    assert status.value["terms"] == {"PTV": 60.0 / count, "Rectum": 40.0 / count}
    assert [i["iteration"] for i in status.value["trace"]] == told[-LIVE_ITERATIONS:]
    assert status.value["dvh"][0]["structure"] == "PTV"


def test_nothing_is_told_before_the_first_iteration() -> None:
    status = SolverStatus()
    status.iterations([])
    assert status.value is None
