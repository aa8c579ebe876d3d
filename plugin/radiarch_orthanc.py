"""Orthanc's ``PythonScript``: puts our packages on the path and hands Orthanc's callbacks to `radiarch_plugin`.

Whatever is wrong here is said in Orthanc's log and under ``/radiarch/``, and the PACS goes on without us: an
exception would end Orthanc itself. The one thing that does not go on is answering other sites' pages: where the request
filter cannot be loaded, no request is answered at all.
"""

import json
import os
import re
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


def answer_error(output: Any, status: int, code: str, message: str, remedy: str) -> None:
    """An error in the form of all our errors; it needs nothing but Python."""
    body = json.dumps({"code": code, "message": message, "remedy": remedy, "details": {}})
    output.SetHttpHeader("Content-Type", "application/json")
    try:
        output.SendHttpStatus(status, body.encode())
    except TypeError:  # plugin 4.0
        output.SendHttpStatus(status, body, len(body))


def answer_broken(message: str) -> Any:
    """A REST callback that says what is wrong."""
    remedy = "Correct Orthanc's configuration (section Radiarch; SitePackages names the folder of the packages)."

    def callback(output: Any, uri: str, **request: Any) -> None:
        answer_error(output, 503, "not_ready", message, remedy)

    return callback


class Gate:
    """Orthanc's filter of all requests, and of ours once more where they can be answered with the reason.

    The filter only says yes or no, and Orthanc answers a no with an empty 403. What would be refused of our own paths
    and brings no body is let through to our callback instead, which refuses it in words.
    """

    def __init__(self) -> None:
        from radiarch_plugin.auth import filter as request_filter
        from radiarch_plugin.auth.signin import REMEDY, SignIn

        self._filter = request_filter
        self._log = request_filter.RefusalLog(orthanc.LogWarning)
        try:
            self._known = request_filter.KnownHosts.read(CONFIGURATION)
        except request_filter.InvalidKnownHostsError as e:
            orthanc.LogError(
                f"Radiarch.KnownHosts: {e}. Only the loopback interface's names are known until it is mended."
            )
            self._known = request_filter.KnownHosts()
        self._sign_in = SignIn.read_or_closed(CONFIGURATION)
        if self._sign_in.problem:
            orthanc.LogError(f"no HTTP request is answered: {self._sign_in.problem}. {REMEDY}")

    def _refusal(self, asked: Any) -> Any:
        return self._filter.refusal(asked, self._known) or self._sign_in.refusal(asked)

    def allows(self, uri: str, **request: Any) -> bool:
        """Orthanc's filter callback."""
        try:
            asked = self._filter.HttpRequest(self._filter.METHODS.get(request["method"], ""), uri, request["headers"])
            refused = self._refusal(asked)
            if refused is None:
                return True
            self._log.tell(asked, request.get("ip", ""), refused)
            return asked.method in ("GET", "DELETE") and any(re.fullmatch(r, uri) for r in ROUTES)
        except Exception:
            orthanc.LogError(traceback.format_exc())
            return False

    def guard(self, callback: Any) -> Any:
        """A REST callback of ours, behind the same question."""

        def guarded(output: Any, uri: str, **request: Any) -> None:
            refused = self._refusal(self._filter.HttpRequest(request["method"], uri, request["headers"]))
            if refused is None:
                callback(output, uri, **request)
            elif refused.reason is self._filter.RefusedFor.CLOSED:
                answer_error(output, 503, "not_ready", refused.message, refused.remedy)
            else:
                answer_error(output, 403, "forbidden", refused.message, refused.remedy)

        return guarded


def refuse_everything(uri: str, **request: Any) -> bool:
    return False


def register_gate() -> Gate | None:
    """Before anything else: what comes later may fail, and then Orthanc goes on without it."""
    gate: Gate | None = None
    try:
        gate = Gate()
    except Exception:
        orthanc.LogError("no HTTP request is answered: Radiarch's request filter cannot be loaded")
        orthanc.LogError(traceback.format_exc())
    CALLBACKS.append(gate.allows if gate else refuse_everything)
    orthanc.RegisterIncomingHttpRequestFilter(CALLBACKS[-1])
    return gate


def register_routes(callback: Any) -> None:
    CALLBACKS.append(callback)
    for route in ROUTES:
        orthanc.RegisterRestCallback(route, CALLBACKS[-1])


def register() -> None:
    extend_path()
    gate = register_gate()
    if gate is None:
        return
    try:
        start_process_anew_if_reset()
        from radiarch_plugin.plugin import Plugin

        plugin = Plugin(orthanc, CONFIGURATION, checkout=HERE.parent)
    except Exception as e:
        message = f"Radiarch cannot start: {type(e).__name__}: {e}"
        orthanc.LogError(message)
        orthanc.LogError(traceback.format_exc())
        register_routes(gate.guard(answer_broken(message)))
        return
    register_routes(gate.guard(plugin.on_request))
    CALLBACKS.append(plugin.on_change)
    orthanc.RegisterOnChangeCallback(CALLBACKS[-1])
    # Explorer 1, on all versions; it is shown to people, and a mistake here must not cost the service
    try:
        orthanc.ExtendOrthancExplorer((HERE / "radiarch_plugin/web/static/explorer.js").read_text("utf-8"))
    except Exception as e:
        orthanc.LogError(f"Radiarch is not shown in Orthanc Explorer: {type(e).__name__}: {e}")


register()
