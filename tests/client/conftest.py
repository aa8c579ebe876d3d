"""One Orthanc with Redis for all tests of the client, a phantom in it, and the app in front of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from radiarch_client import Radiarch, Retry

from tests.phantoms import PhantomStudy, box
from tests.system.service import BOX_PROTOCOLS, Service

from .served import Served, serve

QUICK = Retry(attempts=2, first_pause_s=0.01)


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a configuration of their own."""
    for name in ("URL", "USER", "PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE", "CA_FILE", "CONFIG"):
        monkeypatch.delenv(f"RADIARCH_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Orthanc with the plugin, and Redis; no worker."""
    with Service(tmp_path_factory.mktemp("real")) as service:
        service.start(workers=0)
        yield service


@dataclass(frozen=True)
class Stored:
    """A phantom that is in Orthanc."""

    study: PhantomStudy
    folder: Path
    rtstruct_uid: str
    rtstruct_orthanc_id: str

    @property
    def study_uid(self) -> str:
        return str(self.study.rtstruct.StudyInstanceUID)


@pytest.fixture(scope="session")
def stored(real: Service, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    study = box(shape=(6, 16, 16), spacing_mm=(8.0, 8.0, 8.0), patient_id="CLIENT-BOX")
    folder = tmp_path_factory.mktemp("phantom")
    study.save(folder)
    uid = str(study.rtstruct.SOPInstanceUID)
    with Radiarch(real.orthanc_url) as client:
        assert client.orthanc.send_folder(folder).ok
        (found,) = client.orthanc.lookup(uid)
    return Stored(study, folder, uid, found.id)


@pytest.fixture(scope="session")
def served(real: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    before = set(threading.enumerate())
    folder = tmp_path_factory.mktemp("served")
    with serve(folder, BOX_PROTOCOLS, real.orthanc_url, real.dicom_port, real.redis) as running:
        yield running
    left = [t for t in set(threading.enumerate()) - before if not t.daemon]
    assert not left, f"threads left: {left}"


@pytest.fixture
def client(served: Served) -> Iterator[Radiarch]:
    with Radiarch(served.url, retry=QUICK) as one:
        yield one
