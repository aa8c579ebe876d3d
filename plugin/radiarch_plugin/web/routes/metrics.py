"""``/radiarch/metrics`` in Prometheus' text format; every figure is read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from radiarch_contract import API_PREFIX, __version__
from radiarch_contract.errors import RadiarchError
from sqlalchemy.exc import DBAPIError

from radiarch_plugin.services import Runtime, RuntimeDep, Services

from .info import engines_of
from .info import info as service_info

PATH = f"{API_PREFIX.split('/api', 1)[0]}/metrics"
router = APIRouter(tags=["service"])


@router.get(PATH, response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
def metrics(runtime: RuntimeDep) -> Response:
    """Figures for Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Figures(runtime))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Figures(Collector):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def describe(self) -> list[Metric]:
        return []  # registering must not read the database

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("radiarch_build", "Version of the plugin.", {"version": __version__})
        ready = service_info(self._runtime).ready
        yield GaugeMetricFamily("radiarch_ready", "1 where an arriving structure set is planned.", float(ready))
        services = self._runtime.services
        if services is not None:
            yield from _database(services)
            yield from _workers(services)


def _database(services: Services) -> Iterator[Metric]:
    try:
        plans, arrivals = services.store.plans.counts(), services.store.arrivals.counts()
    except DBAPIError:
        return
    by_state = GaugeMetricFamily("radiarch_plans", "Plans by state.", labels=["state"])
    for state, count in plans.items():
        by_state.add_metric([state.value], count)
    yield by_state
    seen = GaugeMetricFamily(
        "radiarch_arrivals", "Structure sets that were seen, by what became of them.", labels=["state"]
    )
    for arrival_state, count in arrivals.items():
        seen.add_metric([arrival_state.value], count)
    yield seen


def _workers(services: Services) -> Iterator[Metric]:
    try:
        workers = services.workers()
    except RadiarchError:
        yield GaugeMetricFamily("radiarch_redis_up", "1 where Redis answers.", 0.0)
        return
    yield GaugeMetricFamily("radiarch_redis_up", "1 where Redis answers.", 1.0)
    states = GaugeMetricFamily("radiarch_workers", "Workers with a heartbeat, by state.", labels=["state"])
    for state in ("idle", "busy"):
        states.add_metric([state], sum(w.state == state for w in workers))
    yield states
    engines = GaugeMetricFamily("radiarch_engine_workers", "Workers on which an engine runs.", labels=["engine"])
    for name, engine in engines_of(workers).items():
        engines.add_metric([name], engine.workers)
    yield engines
