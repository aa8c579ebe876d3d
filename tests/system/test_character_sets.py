"""Names keep their letters over DICOMweb, whatever character set their objects have, or none at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO

import pytest
from pydicom.dataset import Dataset

from phantoms import box

from .service import CHECKOUT, Service

pytestmark = pytest.mark.system

NAMES = [
    ("ISO_IR 192", "Иванов^Пётр"),
    ("ISO_IR 192", "王^小東"),
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 144", "Иванов^Пётр"),
    ("GB18030", "王^小东"),
    (None, "Иванов^Пётр"),
    (None, "王^小東"),
    (None, "Müller^Jörg"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    shipped = json.loads((CHECKOUT / "orthanc-config" / "orthanc.json").read_text(encoding="utf-8"))
    encoding = {"DefaultEncoding": shipped["DefaultEncoding"]}
    with Service(tmp_path_factory.mktemp("names") / "s", orthanc=encoding) as running:
        running.start_redis()
        running.start_orthanc()
        yield running


def encoded(ds: Dataset, charset: str | None, name: str) -> bytes:
    """The file; without a character set its texts are UTF-8, as some systems write them."""
    ds.SpecificCharacterSet = charset or "ISO_IR 192"
    ds.PatientName = name
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    element = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
    data = buffer.getvalue()
    assert charset is not None or element in data
    return data if charset is not None else data.replace(element, b"", 1)


@pytest.mark.parametrize(("charset", "name"), NAMES)
def test_a_name_keeps_its_letters(service: Service, charset: str | None, name: str) -> None:
    study = box(shape=(1, 4, 4))
    study.images[0].PatientID = f"NAMES-{study.images[0].StudyInstanceUID[-20:]}"
    stored = service.http.post("/instances", content=encoded(study.images[0], charset, name)).raise_for_status().json()
    uid = study.images[0].StudyInstanceUID
    (found,) = service.http.get("/dicom-web/studies", params={"StudyInstanceUID": uid}).raise_for_status().json()
    assert found["00100010"]["Value"][0]["Alphabetic"] == name
    (metadata,) = service.http.get(f"/dicom-web/studies/{uid}/metadata").raise_for_status().json()
    assert metadata["00100010"]["Value"][0]["Alphabetic"] == name
    assert service.http.get(f"/instances/{stored['ID']}/simplified-tags").json()["PatientName"] == name
    searched = {"Level": "Study", "Query": {"PatientName": name}, "Expand": True}
    by_name = service.http.post("/tools/find", json=searched).raise_for_status().json()
    assert uid in [s["MainDicomTags"]["StudyInstanceUID"] for s in by_name]
