from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from radiarch_contract import transport
from radiarch_contract.job import AttemptStatus, JobResult, JobSpec
from radiarch_contract.workflows import Prescription
from rq import Queue
from rq.serializers import JSONSerializer

from tests.system.processes import Server, alive, children, command_name, free_port, processes_in, wait_for

CHECKOUT = Path(__file__).resolve().parents[3]


def make_spec(behaviour: str = "succeed", *, attempt: int = 1, **changes: Any) -> JobSpec:
    """A specification whose plan the worker of `odd_worker.py` makes in the way that ``behaviour`` names."""
    values: dict[str, Any] = {
        "plan_id": os.urandom(16).hex(),
        "attempt": attempt,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "rtstruct_sop_instance_uid": "1.2.3",
        "rtstruct_sha256": "0" * 64,
        "patient_id": "RADIARCH-BOX",
        "study_instance_uid": "1.2",
        "workflow_id": "proton-impt-basic",
        "prescription": Prescription(target="PTV", dose_gy=60, fractions=30),
        "parameters": {},
        "plan_label": behaviour,
    }
    return JobSpec(**{**values, **changes})


class Bench:
    """A Redis and workers of odd behaviour."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work_dir = folder / "work"
        self.port = free_port()
        self.server = Server(
            "redis",
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            folder=folder,
        )
        self.redis = redis.Redis(port=self.port, socket_timeout=5)
        self.workers: list[Server] = []

    def start_redis(self) -> None:
        self.server.start()
        wait_for(self._answers, "Redis answers")

    def add_worker(self, *, wait: bool = True, **env: str) -> Server:
        worker = Server(
            f"worker-{len(self.workers) + 1}",
            [sys.executable, str(Path(__file__).parent / "odd_worker.py")],
            folder=self.folder,
            env={
                "PYTHONPATH": os.pathsep.join(str(CHECKOUT / p) for p in ("contract", "worker")),
                "RADIARCH_REDIS_URL": f"redis://127.0.0.1:{self.port}/0",
                "RADIARCH_WORK_DIR": str(self.work_dir),
                "RADIARCH_PATIENCE_S": "30",
                **env,
            },
        )
        worker.start()
        self.workers.append(worker)
        if wait:
            self.wait(lambda: self.status_of(worker) is not None, "the worker tells that it is there")
        return worker

    def stop(self) -> None:
        for server in (*self.workers, self.server):
            server.stop()
        left = processes_in(self.folder)
        for pid, _ in left:
            os.kill(pid, 9)
        self.redis.close()
        assert not left, f"still running: {left}"

    def submit(self, spec: JobSpec, **kwargs: Any) -> str:
        queue = Queue(transport.QUEUE_NAME, connection=self.redis, serializer=JSONSerializer)
        self.redis.set(transport.fence_key(spec.plan_id), spec.attempt)
        job_id = transport.job_id(spec.plan_id, spec.attempt)
        queue.enqueue(transport.JOB_FUNCTION, spec.model_dump(mode="json"), job_id=job_id, **kwargs)
        return job_id

    def fence(self, spec: JobSpec, value: str) -> None:
        self.redis.set(transport.fence_key(spec.plan_id), value)

    def status_of(self, worker: Server) -> dict[str, Any] | None:
        for key in self.redis.scan_iter(transport.worker_key("*")):
            text = self.redis.get(key)
            status: dict[str, Any] = json.loads(text) if isinstance(text, bytes) else {}
            if status.get("pid") == worker.pid:
                return status
        return None

    def result(self, spec: JobSpec) -> JobResult | None:
        text = self.redis.get(transport.result_key(spec.plan_id, spec.attempt))
        return JobResult.model_validate_json(text) if isinstance(text, bytes) else None

    def status(self, spec: JobSpec) -> AttemptStatus | None:
        text = self.redis.get(transport.attempt_key(spec.plan_id, spec.attempt))
        return AttemptStatus.model_validate_json(text) if isinstance(text, bytes) else None

    def log(self, spec: JobSpec) -> list[str]:
        lines = self.redis.lrange(transport.log_key(spec.plan_id, spec.attempt), 0, -1)
        return [line.decode() if isinstance(line, bytes) else line for line in lines]

    def wait(self, condition: Callable[[], Any], what: str, *, within_s: float = 30.0) -> Any:
        return wait_for(
            condition,
            what,
            within_s=within_s,
            describe=lambda: "\n".join(w.tail() for w in (*self.workers, self.server)),
        )

    def wait_for_result(self, spec: JobSpec) -> JobResult:
        found = self.wait(lambda: self.result(spec), "the attempt has a result")
        assert isinstance(found, JobResult)
        return found

    def wait_until_running(self, spec: JobSpec) -> None:
        """Until the odd job says that it has come to the point of its behaviour."""
        self.wait(lambda: any("[job] here" in line for line in self.log(spec)), "the job runs")

    def job_process(self, worker: Server) -> int | None:
        return next((p for p in children(worker.pid) if command_name(p) == "radiarch-job" and alive(p)), None)

    def _answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.RedisError:
            return False


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A Redis of the test's own, to be killed; no worker yet."""
    made = Bench(tmp_path)
    made.start_redis()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A Redis with one worker, for tests that leave both as they are."""
    made = Bench(tmp_path_factory.mktemp("shared"))
    made.start_redis()
    try:
        made.add_worker(RADIARCH_ORTHANC_PASSWORD="open sesame")
        yield made
    finally:
        made.stop()
