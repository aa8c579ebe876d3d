"""The Lua scripts in a real Orthanc, with real senders and receivers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, generate_uid

from phantoms import PhantomStudy, box, file_bytes
from tests.system.processes import FRESH, Server, free_port, wait_for
from tests.system.service import orthanc_command

pytestmark = pytest.mark.system

LUA = Path(__file__).resolve().parents[2] / "lua"
DCMTK = Path("/usr/bin")  # pynetdicom puts programs of the same names into the environment


class Orthanc:
    """An Orthanc with both scripts and nothing else of ours."""

    def __init__(self, folder: Path, configuration: dict[str, Any]) -> None:
        self.dicom_port, http_port = free_port(), free_port()
        path = folder / "orthanc.json"
        (folder / "db").mkdir()
        own = {
            "HttpPort": http_port,
            "DicomPort": self.dicom_port,
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "OverwriteInstances": True,
            "LuaScripts": [str(LUA / "intake.lua"), str(LUA / "forward.lua")],
        }
        path.write_text(json.dumps(own | configuration))
        self.server = Server("orthanc", orthanc_command(path), folder=folder)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=30, trust_env=False, limits=FRESH)

    def start(self) -> None:
        self.server.start()
        wait_for(self._answers, "Orthanc answers", describe=self.server.tail, check=self._check)

    def _answers(self) -> bool:
        try:
            return self.http.get("/system").status_code == 200
        except httpx.TransportError:
            return False

    def _check(self) -> None:
        assert self.server.running, self.server.tail()

    def send(self, aet: str, *paths: Path) -> None:
        subprocess.run(
            [
                str(DCMTK / "storescu"),
                "-aet",
                aet,
                "-aec",
                "ORTHANC",
                "127.0.0.1",
                str(self.dicom_port),
                *map(str, paths),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def post(self, dataset: Dataset) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.post("/instances", content=file_bytes(dataset)).raise_for_status().json()
        return answer

    def sop_instance_uids(self) -> set[str]:
        query = {"Level": "Instance", "Query": {}, "Expand": True}
        found = self.http.post("/tools/find", json=query).raise_for_status().json()
        return {i["MainDicomTags"]["SOPInstanceUID"] for i in found}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    started: list[Orthanc] = []

    def start(**configuration: Any) -> Orthanc:
        orthanc = Orthanc(tmp_path, configuration)
        started.append(orthanc)
        orthanc.start()
        return orthanc

    yield start
    for orthanc in started:
        orthanc.http.close()
        orthanc.server.kill()  # an orderly stop takes seconds, and there is nothing to keep


class Receiver:
    """A DICOM node: DCMTK's storescp."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / "received"
        self.folder.mkdir()
        command = [str(DCMTK / "storescp"), "--aetitle", "TPS", "-od", str(self.folder), "-fe", ".dcm", str(self.port)]
        self.server = Server("storescp", command, folder=folder)

    def start(self) -> None:
        self.server.start()

        def answers() -> bool:
            echo = subprocess.run(
                [str(DCMTK / "echoscu"), "127.0.0.1", str(self.port)], capture_output=True, timeout=30
            )
            return echo.returncode == 0

        wait_for(answers, "storescp answers")

    def received(self) -> list[str]:
        return [str(dcmread(p).SOPInstanceUID) for p in sorted(self.folder.glob("*.dcm"))]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.server.stop()


@pytest.fixture
def study() -> PhantomStudy:
    return box(shape=(3, 16, 16))


def dose(manufacturer: str = "Radiarch") -> Dataset:
    """What the scripts look at in an RTDOSE; no dose in it."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = RTDoseStorage
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID = generate_uid(), generate_uid()
    d.PatientID, d.Modality, d.Manufacturer = "LUA", "RTDOSE", manufacturer
    return d


def forward_to(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {
        "DicomModalities": {"tps": ["TPS", "127.0.0.1", receiver.port]},
        "RadiarchForward": {"Modalities": ["tps"], **more},
    }


def test_both_are_off_until_configured(start: Callable[..., Orthanc], study: PhantomStudy, tmp_path: Path) -> None:
    orthanc = start()
    orthanc.send("ANYONE", *study.save(tmp_path / "study"))
    orthanc.post(dose())
    assert len(orthanc.sop_instance_uids()) == len(study.datasets) + 1
    assert orthanc.http.get("/jobs").json() == []


def test_intake_goes_by_calling_aet_and_sop_class(
    start: Callable[..., Orthanc], study: PhantomStudy, tmp_path: Path
) -> None:
    rules = [{"CallingAet": "CT_SIM?", "Accept": ["CT"]}, {"CallingAet": "ROUTER*", "Accept": ["RTSTRUCT"]}]
    orthanc = start(RadiarchIntake={"Rules": rules})
    *images, rtstruct = study.save(tmp_path / "study")
    image_uids = {str(d.SOPInstanceUID) for d in study.images}

    orthanc.send("CT_SIM", *images)  # ? is one character, not none
    orthanc.send("CT_SIM1", rtstruct)
    orthanc.send("ROUTER", *images)
    orthanc.send("OTHER", *images, rtstruct)
    assert orthanc.sop_instance_uids() == set()

    orthanc.send("CT_SIM1", *images)
    assert orthanc.sop_instance_uids() == image_uids
    orthanc.send("ROUTER7", rtstruct)
    assert orthanc.sop_instance_uids() == image_uids | {str(study.rtstruct.SOPInstanceUID)}


def test_intake_says_what_it_dropped_but_not_for_each_object(
    start: Callable[..., Orthanc], study: PhantomStudy, tmp_path: Path
) -> None:
    orthanc = start(RadiarchIntake={"Rules": [{"CallingAet": "CT", "Accept": ["CT"]}]})
    *images, _ = study.save(tmp_path / "study")
    orthanc.send("OTHER", *images)
    dropped = [line for line in orthanc.server.log().splitlines() if "Radiarch intake: dropped" in line]
    assert len(dropped) == 1
    assert "1.2.840.10008.5.1.4.1.1.2 from OTHER" in dropped[0]
    assert str(study.rtstruct.PatientName) not in orthanc.server.log()


def test_intake_leaves_rest_alone(start: Callable[..., Orthanc]) -> None:
    orthanc = start(RadiarchIntake={"Rules": [{"CallingAet": "CT", "Accept": ["CT"]}]})
    result = dose()
    assert orthanc.post(result)["Status"] == "Success"
    assert orthanc.sop_instance_uids() == {str(result.SOPInstanceUID)}


@pytest.mark.parametrize(
    ("configuration", "named"),
    [
        ({"RadiarchIntake": {}}, "no list Rules"),
        ({"RadiarchIntake": {"Rules": [{"CallingAet": "CT"}]}}, "rule 1 has no CallingAet"),
        ({"RadiarchIntake": {"Rules": [{"CallingAet": "*", "Accept": ["C"]}]}}, 'accepts "C"'),
        ({"RadiarchForward": {}}, "no list Modalities"),
        ({"RadiarchForward": {"Modalities": ["nowhere"]}}, '"nowhere" is not in DicomModalities'),
        (
            {"RadiarchForward": {"Modalities": ["a"], "Kinds": ["CT"]}, "DicomModalities": {"a": ["A", "h", 104]}},
            '"CT" in Kinds',
        ),
    ],
)
def test_a_mistake_in_a_section_stops_orthanc_and_is_named(
    tmp_path: Path, configuration: dict[str, Any], named: str
) -> None:
    orthanc = Orthanc(tmp_path, configuration)
    orthanc.http.close()
    orthanc.server.start()
    try:
        wait_for(lambda: not orthanc.server.running, "Orthanc has stopped", describe=orthanc.server.tail)
        assert orthanc.server.exit_code != 0
    finally:
        orthanc.server.stop()
    assert named in orthanc.server.log()


def test_results_and_only_they_are_sent_on(
    start: Callable[..., Orthanc], receiver: Receiver, study: PhantomStudy, tmp_path: Path
) -> None:
    receiver.start()
    orthanc = start(**forward_to(receiver))
    foreign, back_again, result = dose("Someone else"), dose(), dose()
    dcmwrite(tmp_path / "back.dcm", back_again, enforce_file_format=True)

    orthanc.send("TPS", *study.save(tmp_path / "study"), tmp_path / "back.dcm")  # by C-STORE: not stored by a worker
    orthanc.post(foreign)
    orthanc.post(result)
    wait_for(lambda: str(result.SOPInstanceUID) in receiver.received(), "the result arrives")
    # events are worked off in their order, so what came before the result would have been queued by now
    assert len(orthanc.http.get("/jobs").json()) == 1
    assert receiver.received() == [str(result.SOPInstanceUID)]


def test_a_result_is_sent_again_when_the_node_is_back(start: Callable[..., Orthanc], receiver: Receiver) -> None:
    orthanc = start(**forward_to(receiver, RetryAfterSeconds=0))
    result, other = dose(), dose("Someone else")
    orthanc.post(result)
    wait_for(
        lambda: "will be tried again" in orthanc.server.log(), "the failure is logged", describe=orthanc.server.tail
    )
    receiver.start()
    orthanc.post(other)  # any event will do
    wait_for(lambda: receiver.received() == [str(result.SOPInstanceUID)], "the result arrives")


def test_tries_end(start: Callable[..., Orthanc], receiver: Receiver) -> None:
    orthanc = start(**forward_to(receiver, Retries=0))
    orthanc.post(dose())
    wait_for(lambda: "given up; send it with" in orthanc.server.log(), "it gives up", describe=orthanc.server.tail)
