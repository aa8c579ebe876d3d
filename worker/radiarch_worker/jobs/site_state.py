"""A worker's report on its site's machines and calibrations, so that workers with other files are seen."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping

from radiarch_worker.site_folders import site_folders

_LOOK_S = 10.0
_PROBLEMS_MAX, _PROBLEM_LENGTH = 20, 300
_SUFFIXES = (".txt", ".yaml", ".yml")

log = logging.getLogger("radiarch.worker")


class MachineData:
    """The site's files, looked at anew from time to time.

    Attributes
    ----------
    files : SHA-256 by folder and name
    problems : mistakes in them, each with file, line and field
    """

    def __init__(self) -> None:
        self.files: Mapping[str, str] = {}
        self.problems: tuple[str, ...] = ()
        self._looked_at: float | None = None

    def look(self) -> None:
        """Read the files again, if it is time; they are checked where they have changed."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        try:
            files = _files()
            if files != self.files:
                self.files, self.problems = files, _problems() if files else ()
                for problem in self.problems:
                    log.error("%s", problem)
        except Exception as e:  # the heartbeat goes on; a job that needs the folder reports the error
            log.warning("machines and calibrations cannot be looked at: %s: %s", type(e).__name__, e)


def _files() -> dict[str, str]:
    folders = site_folders()
    found = {}
    for folder in (folders.calibrations, folders.machines):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix in _SUFFIXES and not path.name.startswith(".") and path.is_file():
                found[f"{folder.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _problems() -> tuple[str, ...]:
    from radiarch_worker.engines.mcsquare import site_problems  # loads OpenTPS, where it is not loaded yet
    from radiarch_worker.machines.photon_machine import photon_machine_problems

    problems = (*site_problems(), *photon_machine_problems())
    return tuple(str(p)[:_PROBLEM_LENGTH] for p in problems[:_PROBLEMS_MAX])
