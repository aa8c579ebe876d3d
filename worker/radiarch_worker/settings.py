"""Settings of a worker from its environment; nothing is read from the environment elsewhere."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radiarch_contract.errors import InvalidRequestError

from .site_folders import Folders

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
DEFAULT_ORTHANC_URL = "http://127.0.0.1:8042"
DEFAULT_JOB_LIMIT_S = 4 * 3600.0
DEFAULT_PATIENCE_S = 300.0
DEFAULT_CACHE_MB = 10_000


@dataclass(frozen=True)
class Settings:
    """How one worker process is set up.

    Attributes
    ----------
    work_dir : private to the worker's user; everything in it may be deleted while no worker runs
    threads : how many cores one job may use
    job_limit_s : no job runs longer, whatever its queue entry says
    cache_dir : where beamlets are kept from plan to plan; None: in ``work_dir``
    cache_mb : most that they may take; 0: none are kept
    patience_s : how long a job waits for an Orthanc or a Redis that does not answer
    site : folders of the site's machines and calibrations
    """

    redis_url: str = field(default=DEFAULT_REDIS_URL, repr=False)  # may hold a password
    orthanc_url: str = DEFAULT_ORTHANC_URL
    orthanc_user: str | None = None
    orthanc_password: str | None = field(default=None, repr=False)
    work_dir: Path = Path(tempfile.gettempdir())
    threads: int = 1
    job_limit_s: float = DEFAULT_JOB_LIMIT_S
    patience_s: float = DEFAULT_PATIENCE_S
    name: str = "worker"
    cache_dir: Path | None = None
    cache_mb: int = DEFAULT_CACHE_MB
    site: Folders = field(default_factory=Folders)

    @property
    def beamlet_cache(self) -> Path:
        return (self.cache_dir or self.work_dir / "cache") / "beamlets"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read ``RADIARCH_*``; see ``docs/deployment.md`` for the list.

        Raises
        ------
        InvalidRequestError
            A value is not what its name asks for.
        """
        env = os.environ if env is None else env
        return cls(
            redis_url=env.get("RADIARCH_REDIS_URL") or DEFAULT_REDIS_URL,
            orthanc_url=_http_url(env.get("RADIARCH_ORTHANC_URL") or DEFAULT_ORTHANC_URL),
            orthanc_user=env.get("RADIARCH_ORTHANC_USER") or None,
            orthanc_password=_password(env),
            work_dir=Path(env.get("RADIARCH_WORK_DIR") or _default_work_dir()).absolute(),
            threads=int(_number(env, "RADIARCH_THREADS", len(os.sched_getaffinity(0)), low=1, high=1024)),
            job_limit_s=_number(env, "RADIARCH_JOB_LIMIT_S", DEFAULT_JOB_LIMIT_S, low=1, high=7 * 86400),
            patience_s=_number(env, "RADIARCH_PATIENCE_S", DEFAULT_PATIENCE_S, low=0, high=86400),
            cache_dir=Path(env["RADIARCH_CACHE_DIR"]).absolute() if env.get("RADIARCH_CACHE_DIR") else None,
            cache_mb=int(_number(env, "RADIARCH_CACHE_MB", DEFAULT_CACHE_MB, low=0, high=1 << 24)),
            name=unique_name(env.get("RADIARCH_WORKER_NAME")),
            site=Folders(
                calibrations=_folder(env, "RADIARCH_CALIBRATIONS_FOLDER", Folders.calibrations),
                machines=_folder(env, "RADIARCH_MACHINES_FOLDER", Folders.machines),
            ),
        )


def _folder(env: Mapping[str, str], name: str, default: Path) -> Path:
    """A folder of the site's; one that is named has to be there, or plans would be made without what is in it."""
    text = env.get(name)
    if not text:
        return default
    folder = Path(text).absolute()
    if not folder.is_dir():
        raise InvalidRequestError(
            f"{name} names {str(folder)[:200]!r}, which is no folder", remedy=f"Make the folder, or correct {name}."
        )
    return folder


def _default_work_dir() -> str:
    # /tmp is a memory file system on many machines; a job writes hundreds of megabytes
    return f"/var/tmp/radiarch-worker-{os.getuid()}"  # noqa: S108 - `folders` refuses a folder of someone else


def unique_name(wanted: str | None) -> str:
    """Unique among all workers, also those of containers with equal host names and process ids."""
    base = re.sub(r"[^A-Za-z0-9_.-]", "-", wanted or f"{socket.gethostname()}-{os.getpid()}")[:80]
    return f"{base}-{os.urandom(3).hex()}"


def _http_url(value: str) -> str:
    if not re.match(r"https?://[^/@\s]+(/|$)", value):
        raise InvalidRequestError(
            "RADIARCH_ORTHANC_URL is not an http:// or https:// address without user and password",
            remedy="Set it to Orthanc's address, such as http://127.0.0.1:8042, and the user with "
            "RADIARCH_ORTHANC_USER and RADIARCH_ORTHANC_PASSWORD_FILE.",
        )
    return value.rstrip("/")


def _password(env: Mapping[str, str]) -> str | None:
    path = env.get("RADIARCH_ORTHANC_PASSWORD_FILE")
    if not path:
        return env.get("RADIARCH_ORTHANC_PASSWORD") or None
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as e:
        raise InvalidRequestError(
            f"RADIARCH_ORTHANC_PASSWORD_FILE cannot be read: {e.strerror}",
            remedy="Name a file that the worker's user may read, with the password as its one line.",
        ) from e


def _number(env: Mapping[str, str], name: str, default: float, *, low: float, high: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InvalidRequestError(
            f"{name} is {text[:40]!r}, expected a number from {low:g} to {high:g}", remedy=f"Correct {name}."
        )
    return value
