"""Orthanc's ``PythonScript``: puts our packages on the path and hands Orthanc's callbacks to `radiarch_plugin`.

Whatever is wrong here is said in Orthanc's log and under ``/radiarch/``, and the PACS goes on without us: an
exception would end Orthanc itself.
"""

import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import orthanc

HERE = Path(__file__).resolve().parent
CONFIGURATION = json.loads(orthanc.GetConfiguration())
ROUTES = "/radiarch(/.*)?", "/ohif(/.*)?"  # Orthanc strips a trailing slash: the bare path has to match too
CALLBACKS: list[Any] = []
"""What was registered. Plugin 5.0 ends by dropping it without Python's lock, fatal where nobody else holds it."""
LOADED = "RADIARCH_LOADED_IN"
"""Environment variable with the id of the process that has loaded us before."""


def start_process_anew_if_reset() -> None:
    """Replace the process by a fresh Orthanc where this is Python's second start in it.

    After ``/tools/reset`` or SIGHUP Orthanc starts again in the same process, with a new Python interpreter. Compiled
    packages cannot be loaded by two interpreters, one after the other (SQLAlchemy's fail, pydantic's crash). Orthanc
    has given back its ports and its database by then. The process keeps its id, command line and standard files, so
    that whoever supervises it sees no end.
    """
    if os.environ.get(LOADED) != str(os.getpid()):
        os.environ[LOADED] = str(os.getpid())
        return
    orthanc.LogWarning("Orthanc was reset: its process is started anew, as Python's packages cannot be loaded twice")
    environment = {k: v for k, v in os.environ.items() if k != LOADED}
    command = [os.fsdecode(a) for a in Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]]
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2:
            with suppress(OSError):  # the folder's own, closed by now
                os.set_inheritable(descriptor, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # until Orthanc takes it again: its default would end the process
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve("/proc/self/exe", command, environment)  # noqa: S606 - its own command line, no shell


def extend_path() -> None:
    """Our checkout first, then the packages that it needs, then what the system has."""
    section = CONFIGURATION.get("Radiarch")
    packages = section.get("SitePackages") if isinstance(section, dict) else None
    wanted = [HERE, HERE.parent / "contract", *([Path(packages)] if isinstance(packages, str) else [])]
    for folder in reversed(wanted):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def answer_broken(message: str) -> Any:
    """A REST callback that says what is wrong; it needs nothing but Python."""
    error = {
        "code": "not_ready",
        "message": message,
        "remedy": "Correct Orthanc's configuration (section Radiarch; SitePackages names the folder of the packages).",
        "details": {},
    }

    def callback(output: Any, uri: str, **request: Any) -> None:
        body = json.dumps(error)
        output.SetHttpHeader("Content-Type", "application/json")
        try:
            output.SendHttpStatus(503, body.encode())
        except TypeError:  # plugin 4.0
            output.SendHttpStatus(503, body, len(body))

    return callback


def register_routes() -> None:
    for route in ROUTES:
        orthanc.RegisterRestCallback(route, CALLBACKS[0])


def register() -> None:
    extend_path()
    try:
        start_process_anew_if_reset()
        from radiarch_plugin.lifecycle import Plugin

        plugin = Plugin(orthanc, CONFIGURATION, checkout=HERE.parent)
    except Exception as e:
        message = f"Radiarch cannot start: {type(e).__name__}: {e}"
        orthanc.LogError(message)
        orthanc.LogError(traceback.format_exc())
        CALLBACKS.append(answer_broken(message))
        register_routes()
        return
    CALLBACKS.extend((plugin.on_request, plugin.on_change))
    register_routes()
    orthanc.RegisterOnChangeCallback(CALLBACKS[1])
    # Explorer 1, on all versions; it is shown to people, and a mistake here must not cost the service
    try:
        orthanc.ExtendOrthancExplorer((HERE / "radiarch_plugin/static/explorer.js").read_text("utf-8"))
    except Exception as e:
        orthanc.LogError(f"Radiarch is not shown in Orthanc Explorer: {type(e).__name__}: {e}")


register()
