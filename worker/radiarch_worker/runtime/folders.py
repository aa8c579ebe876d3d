"""The worker's folders on disk: one for each job, its owner's lock, and the sweeping of what dead owners left."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from radiarch_contract.errors import ErrorCode, ServiceError


class WorkFolder:
    """``work_dir`` with this worker's part of it.

    ::

        work_dir/
        ├── cache/            may be deleted at any time
        └── workers/
            ├── NAME.lock     locked for as long as any process of worker NAME lives
            └── NAME/JOB/     one job: home/, tmp/ and work/, removed when the job ends

    A lock is the kernel's (flock): it ends with its owner however the owner ends, and is true across containers
    that share the folder.
    """

    def __init__(self, work_dir: Path, name: str) -> None:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._workers = _private(work_dir / "workers")
        self.cache = _private(work_dir / "cache")
        self.name = name
        self._mine = self._workers / name
        self._lock_path = self._workers / f"{name}.lock"
        self._lock: IO[bytes] | None = None

    def claim(self) -> None:
        """Lock this worker's name, then remove what dead workers left."""
        while True:
            lock = self._lock_path.open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_nlink:
                break
            lock.close()  # a sweeping worker removed the file before it was locked
        self._lock = lock
        self._mine.mkdir(mode=0o700, exist_ok=True)
        self.sweep()

    def sweep(self) -> list[str]:
        """Remove the folders of workers of which no process lives; returns their names."""
        swept: list[str] = []
        for path in self._workers.glob("*.lock"):
            if path == self._lock_path:
                continue
            try:
                with path.open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(self._workers / path.stem)
                    path.unlink(missing_ok=True)
            except BlockingIOError:
                continue  # alive
            except FileNotFoundError:
                continue  # another worker swept it at the same time
            swept.append(path.stem)
        return swept

    @contextmanager
    def job(self, job_id: str) -> Iterator[Path]:
        """A new, empty, private folder for one job, gone afterwards.

        ``job_id`` comes from a checked job specification: hexadecimal digits and a number.
        """
        folder = self._mine / job_id
        _remove(folder)
        for sub in (folder, folder / "home", folder / "tmp", folder / "work"):
            sub.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove(folder)

    def release(self) -> None:
        """Remove this worker's own part; called once no process of it is left but this one."""
        _remove(self._mine)
        self._lock_path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _private(folder: Path) -> Path:
    """Create ``folder`` for this user alone, or refuse one that another user could have prepared."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ServiceError(
            f"the work folder {folder} is not a folder that belongs to this worker's user alone",
            remedy="Set RADIARCH_WORK_DIR to a folder of the worker's user; what is missing in it is created.",
            code=ErrorCode.NOT_READY,
        )
    return folder


def _remove(folder: Path) -> None:
    # a process that was just killed may still be writing: what is left is swept at the next start
    shutil.rmtree(folder, ignore_errors=True)
