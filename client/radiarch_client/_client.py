"""The two clients: one line an operation, whose logic lives in `_operations` and `_orthanc`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from . import _jobs as jobs
from . import _operations as ops
from . import _orthanc as orthanc_ops
from ._config import Connection, Settings, load_settings
from ._drivers import AsyncDriver, Retry, SyncDriver
from ._effects import Flow
from .models import Page

P = ParamSpec("P")
T = TypeVar("T")

PageFlow = Callable[Concatenate[str | None, P], Flow[Page[T]]]


class _Sync:
    _driver: SyncDriver


class _Async:
    _driver: AsyncDriver


def _as_method(operation: Callable[..., Any], method: Callable[..., Any], *, skip: int = 0) -> None:
    """Give a method its operation's documentation and signature, with ``self`` in front."""
    functools.update_wrapper(method, operation)
    own = inspect.signature(operation)
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [this, *list(own.parameters.values())[skip:]]
    method.__signature__ = own.replace(parameters=parameters, return_annotation=own.empty)  # type: ignore[attr-defined]


def _sync(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[_Sync, P], T]:
    def method(self: _Sync, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.drive(operation(*args, **kwargs))

    _as_method(operation, method)
    return method


def _async(operation: Callable[P, Flow[T]]) -> Callable[Concatenate[_Async, P], Awaitable[T]]:
    async def method(self: _Async, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._driver.drive(operation(*args, **kwargs))

    _as_method(operation, method)
    return method


def _sync_pages(operation: PageFlow[P, T]) -> Callable[Concatenate[_Sync, P], Iterator[T]]:
    def method(self: _Sync, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        page = self._driver.drive(operation(None, *args, **kwargs))
        yield from page.items
        while page.next is not None:
            page = self._driver.drive(operation(page.next, *args, **kwargs))
            yield from page.items

    _as_method(operation, method, skip=1)
    return method


def _async_pages(operation: PageFlow[P, T]) -> Callable[Concatenate[_Async, P], AsyncIterator[T]]:
    async def method(self: _Async, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        page = await self._driver.drive(operation(None, *args, **kwargs))
        for item in page.items:
            yield item
        while page.next is not None:
            page = await self._driver.drive(operation(page.next, *args, **kwargs))
            for item in page.items:
                yield item

    _as_method(operation, method, skip=1)
    return method


class Orthanc(_Sync):
    """Browsing Orthanc: patients, studies, series, instances; reached as ``Radiarch(…).orthanc``."""

    def __init__(self, driver: SyncDriver) -> None:
        self._driver = driver

    system = _sync(orthanc_ops.system)
    plugins = _sync(orthanc_ops.plugins)
    patients = _sync_pages(orthanc_ops.patients_page)
    studies = _sync_pages(orthanc_ops.studies_page)
    series = _sync_pages(orthanc_ops.series_page)
    instances = _sync_pages(orthanc_ops.instances_page)
    find = _sync_pages(orthanc_ops.find_page)
    get_resource = _sync(orthanc_ops.get_resource)
    lookup = _sync(orthanc_ops.lookup)
    instance_tags = _sync(orthanc_ops.instance_tags)
    instance_file = _sync(orthanc_ops.instance_file)
    download = _sync(orthanc_ops.download)
    upload = _sync(orthanc_ops.upload)
    send_folder = _sync(orthanc_ops.send_folder)
    send_folder_dicom = _sync(orthanc_ops.send_folder_dicom)


class AsyncOrthanc(_Async):
    """Browsing Orthanc without blocking; reached as ``AsyncRadiarch(…).orthanc``."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    system = _async(orthanc_ops.system)
    plugins = _async(orthanc_ops.plugins)
    patients = _async_pages(orthanc_ops.patients_page)
    studies = _async_pages(orthanc_ops.studies_page)
    series = _async_pages(orthanc_ops.series_page)
    instances = _async_pages(orthanc_ops.instances_page)
    find = _async_pages(orthanc_ops.find_page)
    get_resource = _async(orthanc_ops.get_resource)
    lookup = _async(orthanc_ops.lookup)
    instance_tags = _async(orthanc_ops.instance_tags)
    instance_file = _async(orthanc_ops.instance_file)
    download = _async(orthanc_ops.download)
    upload = _async(orthanc_ops.upload)
    send_folder = _async(orthanc_ops.send_folder)
    send_folder_dicom = _async(orthanc_ops.send_folder_dicom)


class Radiarch(_Sync):
    """A Radiarch server, blocking; may be used from several threads.

    Parameters
    ----------
    url
        Of Orthanc, such as ``http://127.0.0.1:8042``. This and the credentials come, where not given, from the
        environment (``RADIARCH_URL``, ``RADIARCH_USER``, ``RADIARCH_PASSWORD``, ``RADIARCH_PASSWORD_FILE``,
        ``RADIARCH_TOKEN``, ``RADIARCH_TOKEN_FILE``, ``RADIARCH_CA_FILE``) or the configuration file.
    user, password, password_file
        For Basic authentication.
    token, token_file
        For a bearer token.
    ca_file
        Certificates to trust for https, PEM.
    timeout_s
        Longest wait for one answer (transfers of data have more).
    retry
        How a request is sent again after a lost connection or a 503, where that does nothing twice.

    Examples
    --------
    >>> with Radiarch() as radiarch:  # doctest: +SKIP
    ...     plan = radiarch.create_plan("1.2.3.4", protocol="prostate")
    ...     plan = radiarch.poll_until_done(plan.id)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008 -- frozen
        settings: Settings | None = None,
        transport: httpx.BaseTransport | None = None,
        **connection: Unpack[Connection],
    ) -> None:
        chosen = settings or load_settings(url, **connection)
        self._driver = SyncDriver(chosen, timeout_s, retry, transport)
        self.orthanc = Orthanc(self._driver)

    @property
    def settings(self) -> Settings:
        return self._driver.settings

    def close(self) -> None:
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    info = _sync(ops.info)
    list_workflows = _sync(ops.list_workflows)
    get_workflow = _sync(ops.get_workflow)
    list_protocols = _sync(ops.list_protocols)
    get_protocol = _sync(ops.get_protocol)
    create_plan = _sync(ops.create_plan)
    list_plans = _sync_pages(ops.plans_page)
    get_plan = _sync(ops.get_plan)
    cancel_plan = _sync(ops.cancel_plan)
    reoptimize = _sync(ops.reoptimize)
    dvh = _sync(ops.dvh)
    compare = _sync(ops.compare)
    create_evaluation = _sync(ops.create_evaluation)
    get_evaluation = _sync(ops.get_evaluation)
    create_recalculation = _sync(ops.create_recalculation)
    approve = _sync(ops.approve)
    get_job = _sync(jobs.get_job)
    job_log = _sync(jobs.job_log)
    job_events = _sync(jobs.job_events)
    poll_until_done = _sync(jobs.poll_until_done)
    get_artifact = _sync(jobs.get_artifact)
    get_report = _sync(jobs.get_report)
    get_picture = _sync(jobs.get_picture)
    download_outputs = _sync(jobs.download_outputs)
    list_arrivals = _sync_pages(ops.arrivals_page)
    list_workers = _sync(ops.list_workers)


class AsyncRadiarch(_Async):
    """A Radiarch server without blocking, in asyncio or trio; parameters as for `Radiarch`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008 -- frozen
        settings: Settings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        **connection: Unpack[Connection],
    ) -> None:
        chosen = settings or load_settings(url, **connection)
        self._driver = AsyncDriver(chosen, timeout_s, retry, transport)
        self.orthanc = AsyncOrthanc(self._driver)

    @property
    def settings(self) -> Settings:
        return self._driver.settings

    async def close(self) -> None:
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        await self.close()

    info = _async(ops.info)
    list_workflows = _async(ops.list_workflows)
    get_workflow = _async(ops.get_workflow)
    list_protocols = _async(ops.list_protocols)
    get_protocol = _async(ops.get_protocol)
    create_plan = _async(ops.create_plan)
    list_plans = _async_pages(ops.plans_page)
    get_plan = _async(ops.get_plan)
    cancel_plan = _async(ops.cancel_plan)
    reoptimize = _async(ops.reoptimize)
    dvh = _async(ops.dvh)
    compare = _async(ops.compare)
    create_evaluation = _async(ops.create_evaluation)
    get_evaluation = _async(ops.get_evaluation)
    create_recalculation = _async(ops.create_recalculation)
    approve = _async(ops.approve)
    get_job = _async(jobs.get_job)
    job_log = _async(jobs.job_log)
    job_events = _async(jobs.job_events)
    poll_until_done = _async(jobs.poll_until_done)
    get_artifact = _async(jobs.get_artifact)
    get_report = _async(jobs.get_report)
    get_picture = _async(jobs.get_picture)
    download_outputs = _async(jobs.download_outputs)
    list_arrivals = _async_pages(ops.arrivals_page)
    list_workers = _async(ops.list_workers)
