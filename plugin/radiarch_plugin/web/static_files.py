"""The pages' files as they are served: what there is, its content hash, its type; nothing here knows HTTP.

All of it is read into memory (some 400 kB): a path of a request is only ever looked up in a dictionary, so that no
request can reach another file.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from radiarch_contract.errors import ErrorCode, ServiceError

WEB_FOLDER = Path(__file__).resolve().parents[3] / "ohif"
VENDOR = {
    "vendor/preact.mjs": "preact/dist/preact.mjs",
    "vendor/htm.mjs": "htm/dist/htm.mjs",
    "vendor/uPlot.esm.js": "uplot/dist/uPlot.esm.js",
    "vendor/uPlot.min.css": "uplot/dist/uPlot.min.css",
}
"""What is served of ``node_modules``: by its address here, its place there."""
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}
_LOOK_S = 1.0


@dataclass(frozen=True)
class StaticFile:
    """One file; ``etag`` is of its content."""

    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class Tree:
    """All files by their path under ``/radiarch``; ``version`` is a hash of all of their contents."""

    files: Mapping[str, StaticFile]
    version: str

    def page(self, path: str) -> StaticFile:
        """An HTML file with the addresses of this version filled in.

        ``{{static}}`` becomes the folder of this version, ``{{preload}}`` one link for each module: the browser
        fetches them together instead of one after the other as it finds the imports.
        """
        root = f"/radiarch/static/{self.version}"
        modules = [p for p in self.files if p.endswith((".js", ".mjs"))]
        preload = "\n".join(f'<link rel="modulepreload" href="{root}/{p}">' for p in modules)
        text = self.files[path].content.decode().replace("{{static}}", root).replace("{{preload}}", preload)
        return _file(text.encode(), ".html")


class StaticFiles:
    """The tree on disk, read again when a file of it has changed (an upgrade, or development)."""

    def __init__(self, folder: Path = WEB_FOLDER) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._tree: Tree | None = None
        self._signature: tuple[object, ...] = ()
        self._looked = 0.0

    def tree(self) -> Tree:
        """Raises `ServiceError` where files are missing."""
        with self._lock:
            now = time.monotonic()
            if self._tree is None or now - self._looked > _LOOK_S:
                found = dict(_found(self._folder))
                signature = tuple((k, s.st_mtime_ns, s.st_size) for k, p in found.items() for s in (p.stat(),))
                if signature != self._signature or self._tree is None:
                    self._tree, self._signature = _read(found), signature
                self._looked = now
            return self._tree


def _found(folder: Path) -> Iterator[tuple[str, Path]]:
    for part in ("elements", "ui"):
        for path in sorted((folder / part).rglob("*")):
            if path.suffix in MEDIA_TYPES and path.is_file():
                yield path.relative_to(folder).as_posix(), path
    for address, place in VENDOR.items():
        path = folder / "node_modules" / place
        if not path.is_file():
            raise ServiceError(
                f"the pages cannot be shown: npm's package {place.partition('/')[0]} is not installed in ohif/",
                remedy="Run scripts/install (or npm ci in the folder ohif), then load the page again.",
                code=ErrorCode.NOT_READY,
            )
        yield address, path


def _read(found: Mapping[str, Path]) -> Tree:
    files = {address: _file(path.read_bytes(), path.suffix) for address, path in found.items()}
    version = hashlib.sha256("".join(f"{a} {f.etag}\n" for a, f in files.items()).encode()).hexdigest()[:16]
    return Tree(files, version)


def _file(content: bytes, suffix: str) -> StaticFile:
    return StaticFile(content, MEDIA_TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
