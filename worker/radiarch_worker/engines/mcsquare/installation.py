"""Finds MCsquare's binary and data inside opentps-core and makes the binary runnable; runs nothing."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from radiarch_contract.errors import EngineError, ErrorCode

_REMEDY = "Install the worker with its extra: pip install 'radiarch[worker]' (opentps-core==2.0.0, x86-64 Linux)."


@dataclass(frozen=True)
class Installation:
    """Where MCsquare's parts are, as the package ships them."""

    folder: Path
    binary: Path

    @property
    def materials(self) -> Path:
        return self.folder / "Materials"

    @property
    def version(self) -> str:
        return f"opentps-core {importlib.metadata.version('opentps-core')}, {self.binary.name}"


@functools.cache
def find_installation() -> Installation:
    """The MCsquare of the installed opentps-core, with the binary for this CPU.

    Raises
    ------
    EngineError
        ``engine_missing``, when the package or its files are not there.
    """
    spec = importlib.util.find_spec("opentps")  # does not import it
    locations = list(spec.submodule_search_locations or []) if spec else []
    for location in locations:
        folder = Path(location) / "core/processing/doseCalculation/protons/MCsquare"
        if folder.is_dir():
            binary = folder / _binary_name(_cpu_flags())
            if platform.machine() != "x86_64" or not binary.is_file():
                raise EngineError(
                    f"MCsquare has no binary for {platform.system()} {platform.machine()}",
                    remedy=_REMEDY,
                    code=ErrorCode.ENGINE_MISSING,
                )
            return Installation(folder, binary)
    raise EngineError("opentps-core is not installed", remedy=_REMEDY, code=ErrorCode.ENGINE_MISSING)


def _binary_name(flags: frozenset[str]) -> str:
    # As in the launcher script, which the wheel ships broken (CR line ends): AMD's CPUs get the generic
    # build, since Intel's compiler dispatches by vendor.
    if "AuthenticAMD" in flags:
        return "MCsquare_linux"
    for flag, name in (("avx512f", "avx512"), ("avx2", "avx2"), ("avx", "avx"), ("sse4_2", "sse4")):
        if flag in flags:
            return f"MCsquare_linux_{name}"
    return "MCsquare_linux"


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    first = text.split("\n\n", 1)[0]
    return frozenset(first.split())


def runnable_binary(installation: Installation, folder: Path) -> Path:
    """The binary itself where it may be executed, else a copy with the executable bit in ``folder``.

    The wheel ships it without that bit, and its folder may be read-only or shared: so it is copied (12 MB)
    and never changed in place.
    """
    if os.access(installation.binary, os.X_OK):
        return installation.binary
    copy = folder / installation.binary.name
    if not copy.exists():
        shutil.copyfile(installation.binary, copy)
        copy.chmod(0o700)
    return copy


@functools.cache
def file_sha256(path: Path) -> str:
    """Hash of a file of the installation, which does not change."""
    return file_digest(path)


def file_digest(path: Path) -> str:
    """Hash of a file as it is now."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
