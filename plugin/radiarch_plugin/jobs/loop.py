"""A thread that does the same thing again and again: woken up, or after a while; what it does is its owner's."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod

from radiarch_contract.errors import ErrorCode, ErrorInfo, RadiarchError

from .outages import outage

log = logging.getLogger(__name__)

_PAUSE_AFTER_ERROR_S = 0.5
_REPEAT_LOG_S = 60.0


class Loop(ABC):
    """The thread behind trigger and reconcile.

    An error never ends it: it is told by `problem`, logged once a minute, and the next turn tries again.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem: ErrorInfo | None = None
        self._logged: tuple[str, float] = ("", 0.0)

    @abstractmethod
    def turn(self) -> float:
        """Do what is to be done; returns for how many seconds nothing will be to do unless woken up."""

    def failed(self) -> None:  # noqa: B027 - nothing to do where nothing is remembered
        """A turn ended with an error; what was remembered may be wrong."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"radiarch-{self._name}", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread after its present turn."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def wake(self) -> None:
        """Look now. Costs nothing: for callbacks."""
        self._wake.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def problem(self) -> ErrorInfo | None:
        """Why the last turn did not work; None where it did."""
        if self._thread is not None and not self._thread.is_alive() and not self.stopping:
            return ErrorInfo(
                code=ErrorCode.INTERNAL, message=f"the {self._name} thread has ended", remedy="Restart Orthanc."
            )
        return self._problem

    def pause(self, seconds: float) -> None:
        """Wait within a turn, less long where the thread is to stop."""
        self._stop.wait(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            rest_s = self._turn_safely()
            self._wake.wait(rest_s)

    def _turn_safely(self) -> float:
        try:
            rest_s = self.turn()
        except RadiarchError as e:
            self._note(e.info, None)
        except Exception as e:
            problem = outage(e)
            self._note(
                problem
                or ErrorInfo(
                    code=ErrorCode.INTERNAL,
                    message=f"the {self._name} loop met an unexpected {type(e).__name__}",
                    remedy="See Orthanc's log; it is tried again.",
                ),
                None if problem else e,
            )
        else:
            if self._problem is not None:
                log.warning("%s: works again", self._name)
            self._problem = None
            return rest_s
        self.failed()
        self._stop.wait(_PAUSE_AFTER_ERROR_S)
        return _PAUSE_AFTER_ERROR_S

    def _note(self, problem: ErrorInfo, unexpected: Exception | None) -> None:
        self._problem = problem
        now = time.monotonic()
        if (problem.message, True) != (self._logged[0], now - self._logged[1] < _REPEAT_LOG_S):
            self._logged = (problem.message, now)
            log.error("%s: %s", self._name, problem.message, exc_info=unexpected)
