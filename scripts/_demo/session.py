"""One run of the demo against a running service: send, wait for the arrival's plan, wait for its end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from radiarch_client import Radiarch, RadiarchError
from radiarch_client.models import Arrival, Plan
from radiarch_contract.states import ArrivalState

from scripts._service.errors import ScriptError
from scripts._service.service import Service

from .cases import Case

AET = "RADIARCH_DEMO"
SENDER = "/usr/bin/dcmsend"
_POLL_S = 0.4
_STEP_S = 0.1
_READY_WITHIN_S = 180.0
_SAY_WHY_AFTER_S = 15.0
_BROKEN_GRACE_S = 5.0
_ARRIVES_WITHIN_S = 120.0
_MISSING_GRACE_S = 10.0


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The user asked for the end."""


class Session:
    """Talks to the service and keeps it going meanwhile.

    Parameters
    ----------
    stopping
        Whether the user asked for the end; every wait looks at it.
    """

    def __init__(
        self, service: Service, client: Radiarch, *, say: Callable[[str], None], stopping: Callable[[], bool]
    ) -> None:
        self._service = service
        self._client = client
        self._say = say
        self._stopping = stopping
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        since = time.monotonic()
        yield
        self.timings_s[what] = time.monotonic() - since

    def pause(self, seconds: float) -> None:
        """Let time pass, with the service looked after.

        Raises
        ------
        Stopped
            The user asked for the end.
        """
        until = time.monotonic() + seconds
        while True:
            self._service.step()
            if self._stopping():
                raise Stopped
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(_STEP_S, left))

    def wait_until_ready(self) -> None:
        """
        Raises
        ------
        ScriptError
            With the service's own reasons, when it takes too long.
        """
        since = time.monotonic()
        said = ""
        broken_since: float | None = None
        while True:
            now = time.monotonic()
            info = self._service.info()
            if info is not None and info.get("ready") is True:
                self._service.ready()
                return
            broken = self._service.broken() if info is None else None
            broken_since = None if broken is None else broken_since or now
            if broken is not None and broken_since is not None and now - broken_since > _BROKEN_GRACE_S:
                raise ScriptError(broken, remedy=f"{self._service.settings.state / 'logs' / 'orthanc.log'} has more.")
            if now - since > _SAY_WHY_AFTER_S and (why := self._service.problems(info)) != said:
                said = why
                self._say(f"not ready yet: {why}")
            if now - since > _READY_WITHIN_S:
                raise ScriptError(
                    f"the service is not ready after {_READY_WITHIN_S:.0f} s: {self._service.problems(info)}",
                    remedy=f"Its logs are in {self._service.settings.state / 'logs'}.",
                )
            self.pause(_POLL_S)

    def send(self, case: Case) -> None:
        """C-STORE every file, the structure set last.

        Raises
        ------
        ScriptError
            The sender failed; with its last lines.
        """
        settings = self._service.settings
        command = [SENDER, "-aet", AET, "-aec", settings.aet, "127.0.0.1", str(settings.dicom_port)]
        process = subprocess.Popen(
            [*command, *map(str, case.files)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TCP_NODELAY": "1"},
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        try:
            while process.poll() is None:
                self.pause(_STEP_S)
        finally:
            if process.poll() is None:
                process.kill()
            said = process.communicate()[0].decode("utf-8", "replace").strip()
        if process.returncode != 0:
            raise ScriptError(
                f"dcmsend ended with exit code {process.returncode}: {said[-500:]}",
                remedy="The lines above say which file or association failed.",
            )

    def wait_for_plan(self, case: Case) -> str:
        """The id of the plan that the arrival started.

        Raises
        ------
        ScriptError
            The structure set was seen and not planned, or lacks images; with the service's reason.
        """
        deadline = time.monotonic() + _ARRIVES_WITHIN_S
        missing_since: float | None = None
        while True:
            arrival = self._arrival(case)
            if arrival is not None:
                if arrival.plan_id is not None:
                    return arrival.plan_id
                if arrival.state == ArrivalState.NOT_PLANNED:
                    why = arrival.error
                    raise ScriptError(
                        f"it was not planned: {why.message if why else 'no reason given'}",
                        remedy=why.remedy if why else "GET /radiarch/api/v1/arrivals has more.",
                    )
                if arrival.state == ArrivalState.WAITING:
                    missing_since = missing_since or time.monotonic()
                    if time.monotonic() - missing_since > _MISSING_GRACE_S:
                        raise ScriptError(
                            f"{arrival.missing_instances} of {arrival.referenced_instances} images that the structure "
                            "set references are not among what was sent",
                            remedy="Add them to the folder.",
                        )
            if time.monotonic() > deadline:
                raise ScriptError(
                    f"the structure set was stored, but no plan was made within {_ARRIVES_WITHIN_S:.0f} s",
                    remedy=f"Orthanc's log is {self._service.settings.state / 'logs' / 'orthanc.log'}.",
                )
            self.pause(_POLL_S)

    def _arrival(self, case: Case) -> Arrival | None:
        try:
            return next(iter(self._client.list_arrivals(rtstruct_uid=case.rtstruct_uid)), None)
        except RadiarchError:
            return None  # asked again; the deadline is the bound

    def wait_for_end(self, plan_id: str, show: Callable[[Plan], None]) -> Plan:
        """The plan at its end; ``show`` sees each state on the way."""
        while True:
            try:
                plan = self._client.get_plan(plan_id)
            except RadiarchError:
                self.pause(_POLL_S)  # Orthanc may be starting again; the supervisor says so
                continue
            show(plan)
            if plan.ended:
                return plan
            self.pause(_POLL_S)
