"""The OHIF viewer as npm ships it, moved from ``/`` to ``/ohif`` while it is read; nothing here knows HTTP.

The build takes for granted that it lives at the root of a server. The few places where it says so are known by their
text, and each must be found: with another build `Viewer.open` refuses, instead of a viewer that breaks somewhere.
Our own part, the extension and the mode that OHIF loads at run time, lies in ``ohif/viewer``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from radiarch_contract.errors import ErrorCode, ServiceError

WEB_FOLDER = Path(__file__).resolve().parents[3] / "ohif"
PACKAGE = Path("node_modules/@ohif/app")
ROOT = "/ohif"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_LARGE_BYTES = 100_000
_PACKED = frozenset({".png", ".woff2", ".ico"})  # gzip gains nothing

LEFT_OUT = ("ort/*", "dicom-microscopy-viewer/*", "google.js", "silent-refresh.html", "app-config.js", "oidc-client*")
"""Not served: inference and microscopy (not installed either), logins that ask servers elsewhere, and a configuration
that is replaced by ours."""
EMPTIED = ("sw.js", "init-service-worker.js")
"""Served without content: a service worker would keep showing what was there before an upgrade."""
VENDOR = {"vendor/dicomParser.min.js": "dicom-parser/dist/dicomParser.min.js"}
"""What our extension needs from npm besides: its address below the extension, its place in ``node_modules``."""


EARLY = frozenset(
    (
        *("89", "100", "781", "1180", "1483", "1673", "2779", "3500", "3833", "4683", "5696", "6214", "6489", "6495"),
        *("6749", "6938", "7248", "7499", "8478", "8492", "9116", "9290", "9383", "9415"),
    )
)
"""Numbers of the parts that OHIF asks for, one round after the other, on its way to the first picture. The page names
them, so that they come while the browser still reads the main script; with another build a part that is not there is
left out."""


@dataclass(frozen=True)
class Rule:
    """One way in which the build says where it lives.

    Attributes
    ----------
    files : name pattern of the files that may hold it
    found, becomes : regular expression, and its replacement
    least : how many times it must be found in all of these files together
    """

    files: str
    found: re.Pattern[bytes]
    becomes: bytes
    least: int = 1


RULES = (
    Rule("index.html", re.compile(rb'\b(href|src|content)="/(?!/)'), rb'\1="/ohif/', 30),
    Rule("index.html", re.compile(rb'window\.PUBLIC_URL="/"'), rb'window.PUBLIC_URL="/ohif/"'),
    # the bundler's public path, as written in the main script, in chunks and in the workers' scripts
    Rule("*.js", re.compile(rb'(__webpack_require__|\b[a-z])\.p ?= ?"/"'), rb'\1.p = "/ohif/"', 8),
    Rule(
        "app.bundle.*.js",
        re.compile(rb"browserImportFunction\((['\"])/dicom-microscopy"),
        rb"browserImportFunction(\1/ohif/dicom-microscopy",
    ),
    Rule("*.css", re.compile(rb"url\(/(?!/)"), rb"url(/ohif/"),
    Rule("manifest.json", re.compile(rb'"/assets/'), rb'"/ohif/assets/'),
)


@dataclass(frozen=True)
class ViewerFile:
    """A file as it is served; ``hashed``: its name changes with its content, so that a browser may keep it for ever."""

    content: bytes = field(repr=False)
    media_type: str
    etag: str
    hashed: bool
    gzipped: bytes | None = field(default=None, repr=False)


class Viewer:
    """OHIF's files at ``/ohif`` and our extension's, by their path below it.

    Moved texts stay in memory, everything else is read when asked for. A path of a request is only ever looked up
    among the names that were found, so that no request can reach another file.
    """

    def __init__(self, version: str, files: Mapping[str, Path], moved: Mapping[str, bytes]) -> None:
        self.version = version
        self._files = files
        self._moved = moved
        self._lock = threading.Lock()
        self._gzipped: dict[str, bytes] = {}

    @classmethod
    def open(cls, folder: Path = WEB_FOLDER) -> Viewer:
        """Find the viewer that npm installed below ``folder`` and move it to ``/ohif``.

        Raises
        ------
        ServiceError
            ``not_ready``: it is not installed, or it is a build whose texts are not the expected ones.
        """
        package = folder / PACKAGE
        dist = package / "dist"
        if not (dist / "index.html").is_file():
            raise ServiceError(
                f"OHIF is not installed: there is no {PACKAGE / 'dist/index.html'} in the folder ohif",
                remedy="Run scripts/install, then load the page again.",
                code=ErrorCode.NOT_READY,
            )
        version = str(json.loads((package / "package.json").read_bytes()).get("version"))
        files = {name: path for path in sorted(dist.rglob("*")) if (name := _served(path, dist)) is not None}
        return cls(version, files, _move(files, version))

    def get(self, path: str) -> ViewerFile | None:
        """A file of the viewer; ``""`` is its page."""
        name = path or "index.html"
        source = self._files.get(name)
        if source is None:
            return None
        moved = self._moved.get(name)
        content = source.read_bytes() if moved is None else moved
        hashed = re.search(r"(^|\.)[0-9a-f]{16}\.", name) is not None
        # what a hashed name stands for was moved by this very code: the name alone does not say it
        return _file(content, source.suffix, hashed=hashed, gzipped=self._gzip(name, source.suffix, content))

    def pack(self) -> None:
        """Compress large files beforehand (one or two seconds), so that no request waits for it."""
        for name, path in self._files.items():
            if path.stat().st_size > _LARGE_BYTES:
                self.get(name)

    def _gzip(self, name: str, suffix: str, content: bytes) -> bytes | None:
        if suffix in _PACKED or len(content) < 1024:
            return None
        with self._lock:
            packed = self._gzipped.get(name)
        if packed is None:
            packed = gzip.compress(content, compresslevel=5, mtime=0)
            with self._lock:
                self._gzipped[name] = packed
        return packed


def extension_file(path: str, folder: Path = WEB_FOLDER) -> ViewerFile | None:
    """A file of our extension, as it is on disk now, or of what it needs from npm."""
    root = folder / "viewer"
    found = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.suffix in MEDIA_TYPES and p.is_file()}
    found |= {name: folder / "node_modules" / place for name, place in VENDOR.items()}
    source = found.get(path)
    return None if source is None or not source.is_file() else _file(source.read_bytes(), source.suffix, hashed=False)


def _file(content: bytes, suffix: str, *, hashed: bool, gzipped: bytes | None = None) -> ViewerFile:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return ViewerFile(content, MEDIA_TYPES[suffix], etag, hashed, gzipped)


def _served(path: Path, dist: Path) -> str | None:
    name = path.relative_to(dist).as_posix()
    wanted = path.suffix in MEDIA_TYPES and not any(fnmatch(name, pattern) for pattern in LEFT_OUT)
    return name if wanted and path.is_file() else None


def _move(files: Mapping[str, Path], version: str) -> dict[str, bytes]:
    """The texts that change, by name."""
    moved: dict[str, bytes] = {name: b"" for name in EMPTIED if name in files}
    for rule in RULES:
        times = 0
        for name in files:
            if "/" in name or name in EMPTIED or not fnmatch(name, rule.files):
                continue
            text = moved[name] if name in moved else files[name].read_bytes()
            new, n = rule.found.subn(rule.becomes, text)
            if n:
                moved[name] = new
                times += n
        if times < rule.least:
            raise ServiceError(
                f"OHIF {version} cannot be served under {ROOT}: {rule.found.pattern.decode()} was found {times} times "
                f"in {rule.files}, expected at least {rule.least}",
                remedy="Install the version of ohif/package-lock.json with scripts/install.",
                code=ErrorCode.NOT_READY,
            )
    moved["index.html"] = moved["index.html"].replace(b"</head>", _preloads(files) + b"</head>", 1)
    return moved


def _preloads(files: Mapping[str, Path]) -> bytes:
    """Links to `EARLY`'s files; of low priority: the main script is what everything waits for."""
    kinds = {".js": "script", ".css": "style"}
    early = [name for name in files if name.partition(".")[0] in EARLY and Path(name).suffix in kinds]
    links = [f'rel="preload" as="{kinds[Path(name).suffix]}" href="{ROOT}/{name}"' for name in early]
    return "".join(f'<link {link} fetchpriority="low">' for link in links).encode()
