"""Arrays that are costly to compute, kept on disk by what they were computed from; what they are is the caller's.

One folder for each key::

    FOLDER/
    ├── KEY.lock       locked (flock): by one who writes or removes the entry, or by many who open it
    ├── KEY.partial/   being written; the leftover of a writer that was killed, when the lock is free
    └── KEY/           complete: entry.json and one .npy for each array

An entry appears by one rename, after its files have reached the disk. ``entry.json`` has every file's length and
checksums; an entry that does not fit them is removed and computed anew. Arrays are mapped, not read, and a mapped file
stays whole for who has mapped it even when the entry is removed meanwhile. No pickle is written or read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

FORMAT = 1
"""Part of every key and entry: raise it when the files' layout changes."""
_ENTRY = "entry.json"
_CHUNK = 16 << 20


class ContentKey:
    """SHA-256 over named values: each enters with its name, kind and length, so that none can stand for another."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.add("format", str(FORMAT))

    def add(self, name: str, value: str | Array) -> ContentKey:
        if isinstance(value, str):
            kind, data = "text", memoryview(value.encode())
        else:
            array = np.ascontiguousarray(value)
            kind, data = f"{array.dtype.str}{array.shape}", array.reshape(-1).view(np.uint8).data
        self._hash.update(f"{name}\0{kind}\0{len(data)}\0".encode())
        self._hash.update(data)
        return self

    def hex(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class ArrayCache:
    """Arrays by key, bounded on disk; safe for any number of processes at once.

    Attributes
    ----------
    folder : of this cache alone, private to the user; made when first needed
    limit_bytes : least recently used entries go when all together are more; larger arrays than this are not kept
    """

    folder: Path
    limit_bytes: int

    def get(
        self, key: str, make: Callable[[], Arrays], log: Callable[[str], None] = lambda _: None
    ) -> tuple[Arrays, bool]:
        """The arrays of ``key``, mapped read-only, or made by ``make``.

        Who asks for a key that another process is making waits for it. Where the cache cannot be written (disk full,
        no rights) what was made is returned all the same.

        Parameters
        ----------
        make
            Called at most once, while the key is locked.

        Returns
        -------
        arrays, whether they were in the cache
        """
        if (reason := self._unusable(key)) is not None:
            log(f"cache: its folder {reason}: nothing is kept")
            return make(), False
        with self._lock(key, fcntl.LOCK_SH, log):
            if (found := self._open(key)) is not None:
                return found, True
        with self._lock(key, fcntl.LOCK_EX, log):
            if (found := self._open(key)) is not None:  # another process made it meanwhile
                return found, True
            if self._path(key).exists():
                log("cache: an entry is damaged: removed, and computed anew")
                _remove(self._path(key))
            made = make()
            size = sum(a.nbytes for a in made.values())
            if size > self.limit_bytes:
                log(f"cache: {size >> 20} MB are more than it may hold ({self.limit_bytes >> 20} MB): not kept")
                return made, False
            try:
                self._evict(size)
                self._write(key, made)
            except OSError as e:
                _remove(self._partial(key))
                log(f"cache: not kept: {errno.errorcode.get(e.errno or 0, 'error')}")
            return made, False

    def _unusable(self, key: str) -> str | None:
        # Its content becomes dose: no other user may write there.
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.lstat()
        except OSError as e:
            return f"cannot be made ({e.strerror})"
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return "is not one that only this worker's user may write to"
        if not os.access(self.folder, os.W_OK):
            return "is read-only"
        try:
            with self._lock_now(key):
                return None
        except OSError as e:  # no inode left, or a file system without locks
            return f"cannot hold a lock ({e.strerror})"

    def _path(self, key: str) -> Path:
        return self.folder / key

    def _partial(self, key: str) -> Path:
        return self.folder / f"{key}.partial"

    def _open(self, key: str) -> dict[str, Array] | None:
        """None where there is no whole entry. The key must be locked."""
        path = self._path(key)
        try:
            entry = json.loads((path / _ENTRY).read_bytes())
            if entry["format"] != FORMAT or entry["key"] != key:
                return None
            arrays: dict[str, Array] = {}
            for name, (size, sums) in entry["files"].items():
                file = path / f"{name}.npy"
                if file.stat().st_size != size or _checksums(file) != sums:
                    return None
                arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            with contextlib.suppress(OSError):
                os.utime(path / _ENTRY)  # when it was last used
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return arrays

    def _write(self, key: str, arrays: Arrays) -> None:
        partial = self._partial(key)
        _remove(partial)
        partial.mkdir(mode=0o700)
        files = {}
        for name, array in arrays.items():
            file = partial / f"{name}.npy"
            with file.open("wb") as stream:
                np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
                stream.flush()
                os.fsync(stream.fileno())
            files[name] = (file.stat().st_size, _checksums(file))
        with (partial / _ENTRY).open("w") as stream:
            json.dump({"format": FORMAT, "key": key, "files": files}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        _sync(partial)
        partial.rename(self._path(key))
        _sync(self.folder)

    def _evict(self, needed: int) -> None:
        """Remove what writers that were killed have left, then the least recently used, for ``needed`` bytes more."""
        for partial in self.folder.glob("*.partial"):
            with self._lock_now(partial.stem) as locked:
                if locked:
                    _remove(partial)
        entries = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if path.is_dir() and path.suffix == "":
                    entries.append((_used(path), path, _size(path)))
        total = sum(size for *_, size in entries)
        for _, path, size in sorted(entries):
            if total + needed <= self.limit_bytes:
                return
            with self._lock_now(path.name) as locked:
                if locked:
                    _remove(path)
                    (self.folder / f"{path.name}.lock").unlink(missing_ok=True)
                    total -= size

    @contextlib.contextmanager
    def _lock(self, key: str, how: int, log: Callable[[str], None]) -> Iterator[None]:
        path = self.folder / f"{key}.lock"
        while True:
            with path.open("wb") as lock:
                try:
                    fcntl.flock(lock, how | fcntl.LOCK_NB)
                except BlockingIOError:
                    log("cache: another job is computing the same: waiting for it")
                    fcntl.flock(lock, how)
                if os.fstat(lock.fileno()).st_nlink:  # else an eviction removed the file before it was locked
                    yield
                    return

    @contextlib.contextmanager
    def _lock_now(self, key: str) -> Iterator[bool]:
        """Locked against all others, or False where another process holds the lock."""
        with (self.folder / f"{key}.lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield bool(os.fstat(lock.fileno()).st_nlink)


def _checksums(file: Path) -> list[int]:
    """CRC-32 of each 16 MB: it has to find damage, not forgery."""

    def of(start: int) -> int:
        with file.open("rb") as stream:
            stream.seek(start)
            return zlib.crc32(stream.read(_CHUNK))

    starts = range(0, file.stat().st_size, _CHUNK)
    with ThreadPoolExecutor(min(4, max(1, len(starts)))) as pool:
        return list(pool.map(of, starts))


def _used(path: Path) -> float:
    try:
        return (path / _ENTRY).stat().st_mtime
    except OSError:
        return 0.0  # not an entry: the first to go


def _size(path: Path) -> int:
    return sum(f.stat().st_size for f in path.iterdir())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
