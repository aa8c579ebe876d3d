"""Imports OpenTPS without its side effects; what is used of it is named by the callers."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radiarch_contract.errors import EngineError, ErrorCode

_COMPILED = ("libInterp3.so",)
_OPENS_TO_WRITE = "opentps.core.data.CTCalibrations.MCsquareCalibration._mcsquareMaterial"
_LOCK = threading.Lock()


def load(module: str) -> Any:
    """Import a module of ``opentps.core`` quietly.

    The first import of OpenTPS creates a workspace and a configuration file in the user's home,
    replaces the root logger's handlers, disables loggers that exist, prints about licences and warns
    about ``distutils``; none of it is wanted in a worker.

    Parameters
    ----------
    module
        Dotted name below ``opentps.core``, such as ``"io.mcsquareIO"``.
    """
    with _LOCK, _quiet():
        loaded = importlib.import_module(f"opentps.core.{module}")
        # It opens with "r+" a table that it only reads; in an image, or another user's installation, that is refused.
        if (material := sys.modules.get(_OPENS_TO_WRITE)) is not None:
            vars(material)["open"] = _open_to_read
        return loaded


def _open_to_read(file: str, mode: str = "r", **options: Any) -> Any:
    return open(file, mode.replace("r+", "r"), **options)  # noqa: PTH123 - as OpenTPS calls it


def check_compiled() -> None:
    """OpenTPS's compiled parts load here; without them it would go on with other code of its own, slower or wrong.

    Raises
    ------
    EngineError
        With what the loader says.
    """
    folder = Path(load("processing.C_libraries").__path__[0])
    for name in _COMPILED:
        try:
            ctypes.CDLL(str(folder / name))
        except OSError as e:
            raise EngineError(
                f"OpenTPS's {name} cannot be loaded: {e}",
                remedy="Run scripts/install; on Debian the package libgomp1 is needed.",
                code=ErrorCode.ENGINE_MISSING,
            ) from None


@contextlib.contextmanager
def calls() -> Iterator[None]:
    """Around calls into OpenTPS: its deprecation warnings and prints are not ours."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    existing = {
        name: logger.disabled
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    homes = {k: os.environ.get(k) for k in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    with (
        tempfile.TemporaryDirectory(prefix="opentps-home-") as home,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            for key in homes:
                os.environ.pop(key, None)
            os.environ["HOME"] = home
            yield
        finally:
            for key, value in homes.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
            root.handlers[:] = handlers
            root.setLevel(level)
            for name, disabled in existing.items():
                logging.getLogger(name).disabled = disabled
            logging.getLogger("opentps").setLevel(logging.WARNING)
