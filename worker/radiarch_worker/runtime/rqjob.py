"""RQ's job as this worker takes it: one function with one checked argument, in JSON; nothing else is ever run or read.

What RQ itself would do with a job's hash and is left out here: unpickle (a job without this class reads ``data``,
``meta`` and ``result`` with pickle), import functions and callbacks by name, call webhooks, follow dependencies,
repeat and retry. Attempts are the plugin's business.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

from pydantic import ValidationError
from radiarch_contract import transport
from radiarch_contract.job import JobSpec
from radiarch_contract.strict import STORED
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import as_text


class RefusedJobError(Exception):
    """A job that this worker does not run; says why."""


class PlanJob(Job):
    """A job of the queue; `specification` is the only way to what it asks for."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)
        self._raw: Any = None

    def refresh(self) -> None:
        """Read the few fields that are needed, within bounds."""
        if self.connection.hstrlen(self.key, "data") > transport.MAX_JOB_BYTES:
            self._raw, origin, timeout = b"", None, None
        else:
            self._raw, origin, timeout = self.connection.hmget(self.key, "data", "origin", "timeout")
        if self._raw is None:
            raise NoSuchJobError(f"No such job: {self.key}")
        self.origin = as_text(origin) if origin else transport.QUEUE_NAME
        self.timeout = float(timeout) if timeout and timeout.isdigit() else None
        self._status = JobStatus.QUEUED
        self.failure_ttl = self.result_ttl = transport.TRANSPORT_TTL_S
        self.description = self.id

    def restore(self, raw_data: Any) -> NoReturn:
        raise RefusedJobError("a job is read with refresh() only")

    def specification(self) -> JobSpec:
        """What is to be planned.

        Raises
        ------
        RefusedJobError
            The job is not exactly one call of the one allowed function with one valid specification.
        """
        function, instance, args, kwargs = self._call()
        if function not in transport.ALLOWED_FUNCTIONS or instance is not None:
            raise RefusedJobError("its function is not one of " + ", ".join(sorted(transport.ALLOWED_FUNCTIONS)))
        if kwargs or not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
            raise RefusedJobError("its arguments are not exactly one object")
        try:
            spec = JobSpec.model_validate_json(json.dumps(args[0]), context=STORED)
        except (ValidationError, ValueError, RecursionError) as e:
            fields = {".".join(map(str, i["loc"])) for i in e.errors()} if isinstance(e, ValidationError) else set()
            raise RefusedJobError(
                f"its specification is not valid ({', '.join(sorted(fields)[:5]) or type(e).__name__}); "
                "are plugin and worker of the same version?"
            ) from None
        if self.id != transport.job_id(spec.plan_id, spec.attempt):
            raise RefusedJobError("its id is not that of the plan and attempt it names")
        return spec

    def _call(self) -> tuple[Any, Any, Any, Any]:
        try:
            inflater = zlib.decompressobj()
            data = inflater.decompress(self._raw or b"", transport.MAX_JOB_BYTES)
            if inflater.unconsumed_tail:
                raise RefusedJobError(f"its data is larger than {transport.MAX_JOB_BYTES} bytes")
        except zlib.error:
            data = self._raw or b""
        try:
            function, instance, args, kwargs = json.loads(data)
        except (ValueError, TypeError, RecursionError):
            raise RefusedJobError("its data is not a call written in JSON") from None
        if not isinstance(function, str):
            raise RefusedJobError("it names no function")
        return function, instance, args, kwargs

    # What RQ would import or follow. The worker asks for none of it; should RQ ask, there is nothing.

    @property
    def func(self) -> Any:
        raise RefusedJobError("functions are not imported by name")

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    @property
    def should_retry(self) -> bool:
        return False
