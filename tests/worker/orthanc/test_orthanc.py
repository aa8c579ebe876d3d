"""Reading from and storing into a real Orthanc, also one that is killed meanwhile."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGLSLossless, SecondaryCaptureImageStorage, generate_uid
from radiarch_contract.errors import ErrorCode, RadiarchError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.job import JobSpec
from radiarch_contract.states import OutputKind
from radiarch_worker.orthanc.client import Orthanc
from radiarch_worker.orthanc.fetch import Fetched, fetch_inputs
from radiarch_worker.orthanc.store import store_result
from radiarch_worker.settings import Settings

from phantoms import PhantomStudy, box, faults
from tests.system.processes import Server, free_port, wait_for
from tests.worker.runtime.conftest import make_spec

pytestmark = pytest.mark.system


class Told:
    """Stands where the job's link to its worker is: keeps what is said."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.lines: list[str] = []
        self.fractions: list[float] = []

    def private(self, words: Any) -> None:
        self.words += list(words)

    def log(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, fraction: float, message: str = "") -> None:
        self.fractions.append(fraction)


class Pacs:
    """An Orthanc without our plugin."""

    def __init__(self, folder: Path, **configuration: Any) -> None:
        self.port = free_port()
        folder.mkdir(exist_ok=True)
        path = folder / "orthanc.json"
        path.write_text(
            json.dumps(
                {
                    "Name": "test",
                    "HttpPort": self.port,
                    "DicomServerEnabled": False,
                    "StorageDirectory": str(folder / "db"),
                    "IndexDirectory": str(folder / "db"),
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {"worker": "secret"},
                    "Plugins": [],
                    **configuration,
                }
            )
        )
        self.server = Server("orthanc", ["Orthanc", str(path)], folder=folder)
        self.settings = Settings(
            orthanc_url=f"http://127.0.0.1:{self.port}",
            orthanc_user="worker",
            orthanc_password="secret",
            patience_s=30.0,
        )
        self.http = httpx.Client(
            base_url=self.settings.orthanc_url, auth=("worker", "secret"), trust_env=False, timeout=30
        )

    def start(self) -> None:
        self.server.start()
        wait_for(self._up, "Orthanc answers", describe=self.server.tail)

    def put(self, datasets: list[Dataset]) -> list[str]:
        ids = []
        for dataset in datasets:
            buffer = BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
            ids.append(str(self.http.post("/instances", content=buffer.getvalue()).raise_for_status().json()["ID"]))
        return ids

    def clear(self) -> None:
        for patient in self.http.get("/patients").json():
            self.http.delete(f"/patients/{patient}").raise_for_status()

    def stored(self, uid: str) -> list[Dataset]:
        ids = self.http.post("/tools/find", json={"Level": "Instance", "Query": {"SOPInstanceUID": uid}}).json()
        return [pydicom.dcmread(BytesIO(self.http.get(f"/instances/{i}/file").content)) for i in ids]

    def stop(self) -> None:
        self.http.close()
        self.server.stop()

    def _up(self) -> bool:
        try:
            return self.http.get("/system").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    made = Pacs(tmp_path_factory.mktemp("pacs"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(running: Pacs) -> Pacs:
    running.clear()
    return running


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return box(shape=(6, 12, 12), target_mm=8, seed="pacs", patient_name="Muster^Änne")


def spec_for(study: PhantomStudy, **changes: Any) -> JobSpec:
    stored = BytesIO()
    pydicom.dcmwrite(stored, study.rtstruct, enforce_file_format=True)
    stored.seek(0)
    values = {
        "rtstruct_sop_instance_uid": str(study.rtstruct.SOPInstanceUID),
        "rtstruct_sha256": dataset_sha256(pydicom.dcmread(stored)),
        "patient_id": str(study.rtstruct.PatientID),
        "study_instance_uid": str(study.rtstruct.StudyInstanceUID),
    }
    return make_spec(**{**values, **changes})


def fetch(server: Pacs, spec: JobSpec, told: Told | None = None) -> Fetched:
    told = told or Told()
    with Orthanc(server.settings, told.log) as orthanc:
        return fetch_inputs(orthanc, spec, told)  # type: ignore[arg-type]


def error_of(call: Callable[[], object]) -> RadiarchError:
    with pytest.raises(RadiarchError) as caught:
        call()
    return caught.value


# -- fetch ----------------------------------------------------------------------------------------------------------


def test_the_whole_series_is_read_and_nothing_else(server: Pacs, study: PhantomStudy) -> None:
    other, elsewhere = study.copy().images[0], study.copy().images[1]
    for image in (other, elsewhere):
        image.SOPInstanceUID = generate_uid()  # referenced by nobody
    elsewhere.SeriesInstanceUID = generate_uid()
    server.put([*study.datasets, other, elsewhere])
    told = Told()
    fetched = fetch(server, spec_for(study), told)
    uids = [str(d.SOPInstanceUID) for d in fetched.images]
    assert uids == [*(str(d.SOPInstanceUID) for d in study.images), str(other.SOPInstanceUID)]
    assert fetched.rtstruct.SOPInstanceUID == study.rtstruct.SOPInstanceUID
    assert {"Muster", "Änne", "RADIARCH-BOX"} <= set(told.words)
    assert told.fractions == sorted(told.fractions)


def test_missing_images_are_counted(server: Pacs, study: PhantomStudy) -> None:
    server.put([*study.images[2:], study.rtstruct])
    error = error_of(lambda: fetch(server, spec_for(study)))
    assert error.code is ErrorCode.MISSING_INSTANCES
    missing = [str(d.SOPInstanceUID) for d in study.images[:2]]
    assert error.info.details == {
        "missing": 2,
        "referenced": len(study.images),
        "missing_sop_instance_uids": missing,
    }
    assert not error.retryable


def test_an_rtstruct_that_is_gone_or_changed_is_not_planned_on(server: Pacs, study: PhantomStudy) -> None:
    assert error_of(lambda: fetch(server, spec_for(study))).code is ErrorCode.INPUT_CHANGED
    changed = study.copy()
    changed.rtstruct.ROIContourSequence[1].ContourSequence[0].ContourData[0] += 1
    server.put(changed.datasets)
    error = error_of(lambda: fetch(server, spec_for(study)))
    assert error.code is ErrorCode.INPUT_CHANGED
    assert fetch(server, spec_for(changed)).rtstruct is not None


@pytest.mark.parametrize("field", ["patient_id", "study_instance_uid"])
def test_an_rtstruct_of_another_patient_or_study_is_refused(server: Pacs, study: PhantomStudy, field: str) -> None:
    server.put(study.datasets)
    error = error_of(lambda: fetch(server, spec_for(study, **{field: "1.2.3.4"})))
    assert error.code is ErrorCode.PATIENT_MISMATCH
    assert str(study.rtstruct.PatientID) not in error.info.message


@pytest.mark.parametrize("kind", faults.COPIES)
@pytest.mark.parametrize("named", [True, False])
def test_of_several_copies_the_named_one_is_read(server: Pacs, study: PhantomStudy, kind: str, named: bool) -> None:
    meant = study if named else faults.naming_no_series(study)
    copied = faults.copies(study, kind)
    for order in ((copied, meant.datasets), (meant.datasets, copied), (copied[:2], meant.datasets)):
        server.clear()
        for datasets in order:
            server.put(datasets)
        if kind == "another series" and not named:
            error = error_of(lambda: fetch(server, spec_for(meant)))
            assert (error.code, "2 series" in error.info.message) == (ErrorCode.AMBIGUOUS_INSTANCES, True)
            continue
        fetched = fetch(server, spec_for(meant))
        assert [faults.stored(d).max() for d in fetched.images] == [faults.stored(d).max() for d in study.images]
        assert {str(d.SeriesInstanceUID) for d in fetched.images} == {str(study.images[0].SeriesInstanceUID)}
        assert {str(d.PatientID) for d in fetched.images} == {"RADIARCH-BOX"}
        assert len(fetched.images) == len(study.images)


@pytest.mark.parametrize("kind", faults.COPIES)
def test_a_copy_alone_is_not_taken_for_what_is_named(server: Pacs, study: PhantomStudy, kind: str) -> None:
    server.put([*faults.copies(study, kind), study.rtstruct])
    error = error_of(lambda: fetch(server, spec_for(study)))
    assert error.code is ErrorCode.MISSING_INSTANCES
    assert f"{len(study.images)} are stored " in error.info.message
    assert "SOMEBODY" not in str(error.info)


def test_a_series_that_is_merely_listed_is_not_needed(server: Pacs, study: PhantomStudy) -> None:
    listing = faults.listing_pet(study)
    server.put(listing.datasets)
    assert len(fetch(server, spec_for(listing)).images) == len(study.images)


def test_an_rtstruct_without_image_references_is_refused(server: Pacs, study: PhantomStudy) -> None:
    bare = study.copy()
    del bare.rtstruct.ReferencedFrameOfReferenceSequence
    for roi in bare.rtstruct.ROIContourSequence:
        for contour in roi.ContourSequence:
            contour.pop("ContourImageSequence", None)
    server.put(bare.datasets)
    assert error_of(lambda: fetch(server, spec_for(bare))).code is ErrorCode.NO_IMAGE_REFERENCE


def test_a_uid_that_is_none_never_reaches_a_query(server: Pacs, study: PhantomStudy) -> None:
    hostile = study.copy()
    contour = hostile.rtstruct.ROIContourSequence[0].ContourSequence[0]
    contour.ContourImageSequence[0].ReferencedSOPInstanceUID = "*"
    server.put(hostile.datasets)
    assert error_of(lambda: fetch(server, spec_for(hostile))).code is ErrorCode.UNREADABLE_RTSTRUCT


def test_credentials_that_are_refused_are_said_at_once(server: Pacs, study: PhantomStudy) -> None:
    wrong = Settings(orthanc_url=server.settings.orthanc_url, orthanc_user="worker", orthanc_password="other")
    with Orthanc(wrong, print) as orthanc:
        error = error_of(lambda: orthanc.find_instances({"SOPInstanceUID": "1.2"}))
    assert error.code is ErrorCode.ORTHANC_UNAVAILABLE
    assert "RADIARCH_ORTHANC_PASSWORD_FILE" in error.info.remedy
    assert "other" not in str(error.info)


def test_an_orthanc_that_is_not_there_is_waited_for_and_then_said(study: PhantomStudy) -> None:
    told = Told()
    nobody = Settings(orthanc_url=f"http://127.0.0.1:{free_port()}", patience_s=1.0)
    with Orthanc(nobody, told.log) as orthanc:
        error = error_of(lambda: orthanc.instance("x"))
    assert error.code is ErrorCode.ORTHANC_UNAVAILABLE
    assert error.retryable
    assert told.lines


def test_an_orthanc_that_restarts_meanwhile_is_waited_for(server: Pacs, study: PhantomStudy) -> None:
    server.put(study.datasets)
    server.server.kill()
    told = Told()
    fetched: list[Fetched] = []
    thread = threading.Thread(target=lambda: fetched.append(fetch(server, spec_for(study), told)))
    thread.start()
    wait_for(lambda: told.lines, "the job waits")
    server.start()
    thread.join(30)
    assert len(fetched[0].images) == len(study.images)


# -- store ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def result(study: PhantomStudy) -> Dataset:
    dataset = copy.deepcopy(study.images[0])
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    dataset.SeriesInstanceUID = "1.2.3"
    return dataset


def store(server: Pacs, dataset: Dataset) -> Any:
    with Orthanc(server.settings, print) as orthanc:
        return store_result(orthanc, OutputKind.RTDOSE, dataset)


def test_what_is_stored_is_what_was_sent(server: Pacs, result: Dataset) -> None:
    output = store(server, result)
    (stored,) = server.stored("1.2.3.4")
    assert np.array_equal(stored.pixel_array, result.pixel_array)
    assert server.http.get(f"/instances/{output.orthanc_id}").status_code == 200
    assert (output.kind, output.sop_instance_uid, output.series_instance_uid) == ("rtdose", "1.2.3.4", "1.2.3")


def test_storing_again_leaves_one(server: Pacs, result: Dataset) -> None:
    first = store(server, result)
    changes = server.http.get("/changes?last").json()["Last"]
    assert store(server, result) == first
    assert len(server.stored("1.2.3.4")) == 1
    assert server.http.get("/changes?last").json()["Last"] == changes, "equal content was left alone"


def test_other_content_under_the_same_uid_is_an_error_and_stays(server: Pacs, result: Dataset) -> None:
    """Replacing is the plugin's part, which knows what counts; this Orthanc has none."""
    store(server, result)
    changed = copy.deepcopy(result)
    changed.PixelData = bytes(len(result.PixelData))
    error = error_of(lambda: store(server, changed))
    assert (error.code, error.retryable) == (ErrorCode.STORE_FAILED, True)
    (stored,) = server.stored("1.2.3.4")
    assert stored.pixel_array.any()


def test_the_hash_is_of_what_is_stored(server: Pacs, result: Dataset) -> None:
    (stored,) = (store(server, result), server.stored("1.2.3.4"))[1]
    assert store(server, result).sha256 == dataset_sha256(stored)


def test_an_object_that_a_filter_drops_is_an_error(tmp_path: Path, result: Dataset) -> None:
    script = tmp_path / "filter.lua"
    script.write_text("function ReceivedInstanceFilter(dicom, origin, info) return false end\n")
    filtering = Pacs(tmp_path, LuaScripts=[str(script)])
    filtering.start()
    try:
        error = error_of(lambda: store(filtering, result))
    finally:
        filtering.stop()
    assert error.code is ErrorCode.STORE_FAILED
    assert not error.retryable
    assert "filter" in error.info.remedy


def test_a_result_that_orthanc_compresses_is_still_the_same(tmp_path: Path, result: Dataset) -> None:
    transcoding = Pacs(tmp_path, IngestTranscoding=JPEGLSLossless)
    transcoding.start()
    try:
        store(transcoding, result)
        store(transcoding, result)
        (stored,) = transcoding.stored("1.2.3.4")
    finally:
        transcoding.stop()
    assert stored.file_meta.TransferSyntaxUID == JPEGLSLossless


def test_an_orthanc_that_is_killed_while_it_stores_ends_with_one(server: Pacs, result: Dataset) -> None:
    stored: list[Any] = []
    thread = threading.Thread(target=lambda: stored.extend(store(server, result) for _ in range(50)))
    thread.start()
    wait_for(lambda: stored, "something is stored")
    server.server.kill()
    server.start()
    thread.join(60)
    assert len(stored) == 50
    assert len(server.stored("1.2.3.4")) == 1
