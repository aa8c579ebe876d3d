"""The two clients: one line an operation, whose logic lives in `_operations` and `_orthanc`."""

from __future__ import annotations

from types import TracebackType
from typing import Self, Unpack

import httpx

from . import _operations as ops
from . import _orthanc as orthanc_ops
from . import _sessions as sessions
from . import _studies as studies
from ._config import Connection, Settings, load_settings
from ._drivers import AsyncDriver, Retry, SyncDriver
from ._methods import Async, Sync, awaitable, awaitable_pages, blocking, blocking_pages
from ._plans import AsyncPlans, SyncPlans
from ._session import AsyncSession, Session


class Orthanc(Sync):
    """Browsing Orthanc: patients, studies, series, instances; reached as ``Radiarch(…).orthanc``."""

    def __init__(self, driver: SyncDriver) -> None:
        self._driver = driver

    system = blocking(orthanc_ops.system)
    plugins = blocking(orthanc_ops.plugins)
    patients = blocking_pages(orthanc_ops.patients_page)
    studies = blocking_pages(orthanc_ops.studies_page)
    series = blocking_pages(orthanc_ops.series_page)
    instances = blocking_pages(orthanc_ops.instances_page)
    find = blocking_pages(orthanc_ops.find_page)
    get_resource = blocking(orthanc_ops.get_resource)
    lookup = blocking(orthanc_ops.lookup)
    instance_tags = blocking(orthanc_ops.instance_tags)
    instance_file = blocking(orthanc_ops.instance_file)
    download = blocking(orthanc_ops.download)
    upload = blocking(orthanc_ops.upload)
    send_folder = blocking(orthanc_ops.send_folder)
    send_folder_dicom = blocking(orthanc_ops.send_folder_dicom)


class AsyncOrthanc(Async):
    """Browsing Orthanc without blocking; reached as ``AsyncRadiarch(…).orthanc``."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    system = awaitable(orthanc_ops.system)
    plugins = awaitable(orthanc_ops.plugins)
    patients = awaitable_pages(orthanc_ops.patients_page)
    studies = awaitable_pages(orthanc_ops.studies_page)
    series = awaitable_pages(orthanc_ops.series_page)
    instances = awaitable_pages(orthanc_ops.instances_page)
    find = awaitable_pages(orthanc_ops.find_page)
    get_resource = awaitable(orthanc_ops.get_resource)
    lookup = awaitable(orthanc_ops.lookup)
    instance_tags = awaitable(orthanc_ops.instance_tags)
    instance_file = awaitable(orthanc_ops.instance_file)
    download = awaitable(orthanc_ops.download)
    upload = awaitable(orthanc_ops.upload)
    send_folder = awaitable(orthanc_ops.send_folder)
    send_folder_dicom = awaitable(orthanc_ops.send_folder_dicom)


class Radiarch(SyncPlans):
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

    def session(self, *, ttl_s: float | None = None, label: str = "") -> Session:
        """Open a session; ``with`` ends it.

        Parameters
        ----------
        ttl_s
            It ends by itself so long after its making; None: what the server has set.
        label
            Plain text for whoever looks at the session; not the patient's name.
        """
        return Session(self._driver, *self._driver.drive(sessions.open_session(ttl_s=ttl_s, label=label)))

    def resume_session(self, session_id: str, secret: str) -> Session:
        """A session that is open, by its id and secret (``session.access``); nothing is asked yet."""
        return Session(self._driver, sessions.Access(session_id, secret), None)

    info = blocking(ops.info)
    list_workflows = blocking(ops.list_workflows)
    get_workflow = blocking(ops.get_workflow)
    list_protocols = blocking(ops.list_protocols)
    get_protocol = blocking(ops.get_protocol)
    list_arrivals = blocking_pages(ops.arrivals_page)
    list_workers = blocking(ops.list_workers)
    list_studies = blocking_pages(studies.studies_page)
    get_study = blocking(studies.get_study)
    list_patients = blocking_pages(studies.patients_page)
    get_patient = blocking(studies.get_patient)
    get_series = blocking(studies.get_series)


class AsyncRadiarch(AsyncPlans):
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

    async def session(self, *, ttl_s: float | None = None, label: str = "") -> AsyncSession:
        """Open a session, as `Radiarch.session`: ``async with await radiarch.session() as session``."""
        return AsyncSession(self._driver, *await self._driver.drive(sessions.open_session(ttl_s=ttl_s, label=label)))

    def resume_session(self, session_id: str, secret: str) -> AsyncSession:
        """A session that is open, by its id and secret (``session.access``); nothing is asked yet."""
        return AsyncSession(self._driver, sessions.Access(session_id, secret), None)

    info = awaitable(ops.info)
    list_workflows = awaitable(ops.list_workflows)
    get_workflow = awaitable(ops.get_workflow)
    list_protocols = awaitable(ops.list_protocols)
    get_protocol = awaitable(ops.get_protocol)
    list_arrivals = awaitable_pages(ops.arrivals_page)
    list_workers = awaitable(ops.list_workers)
    list_studies = awaitable_pages(studies.studies_page)
    get_study = awaitable(studies.get_study)
    list_patients = awaitable_pages(studies.patients_page)
    get_patient = awaitable(studies.get_patient)
    get_series = awaitable(studies.get_series)
