"""Context of a job's process; set once after the fork, before the job's function runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from radiarch_worker.settings import Settings

from .link import JobLink


@dataclass(frozen=True)
class JobContext:
    """Context of the one job of this process."""

    settings: Settings
    link: JobLink
    folder: Path
    worker: str


_current: JobContext | None = None


def enter(context: JobContext) -> None:
    global _current
    _current = context


def current() -> JobContext:
    """The context of this process.

    Raises
    ------
    RuntimeError
        This process is not a job of our worker; a plain ``rq worker`` cannot run our jobs.
    """
    if _current is None:
        raise RuntimeError("a plan is made by a job of `python -m radiarch_worker`, not by another kind of worker")
    return _current
