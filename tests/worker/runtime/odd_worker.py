"""A worker whose jobs behave as the plan's label says, in place of planning; all else is the real worker's."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from radiarch_contract.job import JobResult, JobSpec
from radiarch_contract.states import Stage
from radiarch_worker import worker as worker_main
from radiarch_worker.__main__ import _run
from radiarch_worker.jobs import preload
from radiarch_worker.runtime.link import JobLink

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def behave(spec: JobSpec, link: JobLink) -> None:
    link.stage(Stage.COMPUTING_BEAMLETS, "of a kind")
    behaviour = spec.plan_label
    if behaviour == "tree":
        # engines, one of which hides in a session of its own, and whose parent has gone
        subprocess.Popen(SLEEPER)
        subprocess.Popen(SLEEPER, start_new_session=True)
        subprocess.run(
            [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEPER!r}, start_new_session=True)"],
            check=True,
        )
    link.log("here")
    match behaviour:
        case "tree" | "hang":
            time.sleep(600)
        case "spin":
            # native code that never lets Python run: PyDLL keeps the interpreter's lock
            ctypes.PyDLL(None).sleep(600)
        case "deaf":
            for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            time.sleep(600)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            sys.exit(3)
        case "raise":
            raise ZeroDivisionError("as asked")
        case "print":
            os.write(1, b"words of an engine\n" * 3)
            os.write(2, b"and its complaint, unfinished")
        case "flood":
            for n in range(3000):
                os.write(1, b"%d \x1b[31mred\x1b[0m and a long tail %s\n" % (n, b"x" * 2000))
        case "named":
            link.private(["Mustermann", "Erika", ""])
            link.log("plan for Mustermann^Erika, born Mustermann")
            os.write(1, b"MUSTERMANN was here\n")
        case "folders":
            for name in ("HOME", "TMPDIR", "MPLCONFIGDIR"):
                link.log(f"{name}={os.environ[name]}")
            link.log(f"cwd={Path.cwd()}")
            link.log(f"secret={os.environ.get('RADIARCH_ORTHANC_PASSWORD')}")
            Path(os.environ["HOME"], "left-behind").write_text("x")
        case "slow":
            time.sleep(3)
    link.progress(1.0)
    link.stage(Stage.EXPORTING)
    link.result(JobResult(plan_id=spec.plan_id, attempt=spec.attempt))


class OddWorker(worker_main.PlanWorker):
    def _in_job(self, sock: socket.socket, spec: JobSpec, folder: Path) -> None:
        self._guard.close_in_child()
        behave(spec, JobLink(sock))

    def _fit(self) -> bool:
        self._probed_at, self._engines = 1.0, {"odd": {"available": True, "version": "1", "reason": None}}
        return True


if __name__ == "__main__":
    worker_main.PlanWorker = OddWorker  # type: ignore[misc]
    preload.PRELOADED = ()
    sys.exit(_run())
