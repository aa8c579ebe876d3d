"""Reading from and storing into Orthanc over its REST interface; what the objects mean is not known here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import Any, Self

import httpx
import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from radiarch_contract.errors import ErrorCode, InputRefusedError, RadiarchError, ServiceError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.images import SeriesKey, decide, locate, wanted_images
from radiarch_contract.job import JobInput, JobSpec, Output, SessionRef
from radiarch_contract.states import OutputKind
from radiarch_contract.transport import STORE_HEADER, result_store_path, session_store_path

from .link import JobLink
from .settings import Settings

MAX_INSTANCE_BYTES = 256 << 20
MAX_TOTAL_BYTES = 8 << 30
MAX_IMAGES = 20_000
_FIND_CHUNK = 500
_LISTED = 10
"""UIDs in an error's details."""
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_STORE_TRIES = 3
_SERVER_FAULT_TRIES = 4
"""A 500 may be a restart, or Orthanc's steady answer to this request: it is not waited for as long as a restart."""

# pydicom's warnings repeat the values it dislikes; a patient's name must not reach the log that way.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE


class Orthanc:
    """A connection to Orthanc that outlasts a restart of it.

    Parameters
    ----------
    settings
        Address, credentials, and for how long a request is tried again.
    log
        Told when there is something to wait for.
    session
        Whose store is meant instead of Orthanc's own; it answers the same requests.
    results
        Path below which results are stored: the plugin's, which takes those of the attempt that counts.
    """

    def __init__(
        self,
        settings: Settings,
        log: Callable[[str], None],
        session: SessionRef | None = None,
        *,
        results: str = "",
    ) -> None:
        auth = (settings.orthanc_user, settings.orthanc_password or "") if settings.orthanc_user else None
        self._client = httpx.Client(
            base_url=settings.orthanc_url + (session_store_path(session.id) if session else ""),
            auth=auth,
            # Orthanc 1.10 compresses at 10 times the cost of sending
            headers={"Accept-Encoding": "identity"} | ({STORE_HEADER: session.token} if session else {}),
            timeout=httpx.Timeout(60.0, connect=5.0),
            trust_env=False,
            verify=settings.orthanc_url.startswith("https"),  # certificates take longer to load than a CT does
        )
        self._patience_s = settings.patience_s
        self._log = log
        self._series: dict[str, SeriesKey] = {}
        self._results = results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def find_instances(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Instances that fit, with Orthanc's ids and main tags."""
        response = self._request(
            "POST",
            "/tools/find",
            json={"Level": "Instance", "Query": query, "Expand": True, "CaseSensitive": True},
        )
        found = response.json()
        return [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []

    def series_key(self, item: dict[str, Any]) -> SeriesKey | None:
        """Patient, study and series of an instance that was found; None where it was deleted since."""
        series_id = str(item.get("ParentSeries", ""))
        if series_id not in self._series:
            series = self._parent("series", series_id)
            study = self._parent("studies", str(series.get("ParentStudy", ""))) if series else {}
            if not study:
                return None
            self._series[series_id] = SeriesKey(
                patient_id=_tag(study, "PatientMainDicomTags", "PatientID"),
                study_instance_uid=_tag(study, "MainDicomTags", "StudyInstanceUID"),
                series_instance_uid=_tag(series, "MainDicomTags", "SeriesInstanceUID"),
            )
        return self._series[series_id]

    def _parent(self, level: str, orthanc_id: str) -> dict[str, Any]:
        if not _is_orthanc_id(orthanc_id):
            return {}
        response = self._request("GET", f"/{level}/{orthanc_id}", missing_ok=True)
        found = response.json() if response.status_code == 200 else {}
        return found if isinstance(found, dict) else {}

    def instance(self, orthanc_id: str) -> bytes | None:
        """The DICOM file of an instance, at most `MAX_INSTANCE_BYTES`; None where Orthanc does not have it."""
        response = self._request("GET", f"/instances/{orthanc_id}/file", missing_ok=True)
        return None if response.status_code == 404 else response.content

    def post_instance(self, data: bytes) -> dict[str, Any]:
        """Store one result; the answer, as Orthanc gives it.

        Raises
        ------
        RadiarchError
            ``cancelled``: the attempt does not count any more.
        """
        path = f"{self._results}/instances"
        response = self._request("POST", path, content=data, headers={"Content-Type": "application/dicom"})
        answer = response.json()
        return answer if isinstance(answer, dict) else {}

    def put_attachment(self, orthanc_id: str, number: int, data: bytes) -> None:
        """Keep bytes beside a result, under a number from 1024 on; what was there is replaced. Raises as above."""
        self._request("PUT", f"{self._results}/instances/{orthanc_id}/attachments/{number}", content=data)

    def _request(self, method: str, path: str, *, missing_ok: bool = False, **kwargs: Any) -> httpx.Response:
        began = time.monotonic()
        pause_s = _FIRST_PAUSE_S
        faults = 0
        while True:
            try:
                response = self._bounded(method, path, **kwargs)
                if response.status_code not in _RETRIED_STATUS:
                    return self._checked(response, method, path, missing_ok)
                what = f"HTTP status {response.status_code}"
                faults += response.status_code == 500
            except httpx.TransportError as e:
                what = type(e).__name__
            waited_s = time.monotonic() - began
            if waited_s + pause_s > self._patience_s or faults >= _SERVER_FAULT_TRIES:
                raise ServiceError(
                    f"Orthanc did not serve {method} {_kind_of(path)}: {what}, tried for {waited_s:.0f} s",
                    remedy="See that Orthanc runs and is reachable from the worker at RADIARCH_ORTHANC_URL.",
                    code=ErrorCode.ORTHANC_UNAVAILABLE,
                )
            self._log(f"Orthanc does not serve {method} {_kind_of(path)} ({what}); trying again in {pause_s:.1f} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _bounded(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """A response whose body is read up to a bound."""
        with self._client.stream(method, path, **kwargs) as response:
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_INSTANCE_BYTES:
                    raise InputRefusedError(
                        f"an answer of Orthanc to {_kind_of(path)} is larger than {MAX_INSTANCE_BYTES >> 20} MB",
                        remedy="Such objects are not planned on; split or reduce the series.",
                        code=ErrorCode.UNREADABLE_IMAGE,
                    )
            return httpx.Response(response.status_code, content=bytes(body))

    def _checked(self, response: httpx.Response, method: str, path: str, missing_ok: bool) -> httpx.Response:
        status = response.status_code
        if status < 300 or (status == 404 and missing_ok):
            return response
        if status == 409 and _code_of(response) == ErrorCode.CANCELLED:
            raise RadiarchError(
                "cancelled or replaced by another attempt before its results were complete; nothing of it is kept",
                remedy="Ask for the plan again if it is wanted.",
                code=ErrorCode.CANCELLED,
            )
        refused = status in (401, 403)
        raise RadiarchError(
            f"Orthanc answered {method} {_kind_of(path)} with HTTP status {status}",
            remedy="Set RADIARCH_ORTHANC_USER and RADIARCH_ORTHANC_PASSWORD_FILE to a user that may read and store."
            if refused
            else "See Orthanc's log; RADIARCH_ORTHANC_URL has to be the Orthanc that Radiarch's plugin runs in.",
            code=ErrorCode.ORTHANC_UNAVAILABLE if refused else ErrorCode.STORE_FAILED,
            status=status,
        )


def connect(settings: Settings, link: JobLink, spec: JobSpec) -> Orthanc:
    """Where a job reads and stores: in its session, or in Orthanc, whose plugin takes the results of its attempt."""
    results = "" if spec.session else result_store_path(spec.plan_id, spec.attempt)
    return Orthanc(settings, link.log, spec.session, results=results)


@dataclass(frozen=True)
class Fetched:
    """What a plan is made on, as stored."""

    rtstruct: Dataset
    images: tuple[Dataset, ...]
    inputs: Mapping[str, Dataset] = field(default_factory=dict)
    """What else the job is about, by its kind in `JobSpec.inputs`."""


def fetch(orthanc: Orthanc, spec: JobSpec, link: JobLink) -> Fetched:
    """Read the RTSTRUCT, and all images of the series that it is drawn on.

    Raises
    ------
    InputRefusedError
        ``input_changed`` where the stored RTSTRUCT is not the one the plan was asked for, ``patient_mismatch``,
        ``missing_instances`` with how many, ``ambiguous_instances``, ``no_image_reference``, or what cannot be read.
    """
    rtstruct = _rtstruct(orthanc, spec)
    link.private(_private_words(rtstruct))
    inputs: dict[str, Dataset] = {i.kind: _input(orthanc, i, spec) for i in spec.inputs}
    images: list[Dataset] = []
    total = 0
    orthanc_ids = _images(orthanc, rtstruct, spec)
    for n, orthanc_id in enumerate(orthanc_ids):
        data = orthanc.instance(orthanc_id)
        if data is None:
            raise InputRefusedError(
                "an image of the CT was deleted from Orthanc while the CT was read",
                remedy="Send the series again; the plan is made when it is there.",
                code=ErrorCode.MISSING_INSTANCES,
            )
        total += len(data)
        if total > MAX_TOTAL_BYTES:
            raise InputRefusedError(
                f"the images of the CT series have more than {MAX_TOTAL_BYTES >> 30} GB together",
                remedy="Plan on a smaller series.",
                code=ErrorCode.UNREADABLE_IMAGE,
            )
        images.append(_read(data, ErrorCode.UNREADABLE_IMAGE, "an image of the CT series"))
        link.progress((n + 1) / len(orthanc_ids) * 0.5)
    link.log(f"read the RTSTRUCT and {len(images)} images, {total / 1e6:.1f} MB")
    return Fetched(rtstruct, tuple(images), inputs)


def _images(orthanc: Orthanc, rtstruct: Dataset, spec: JobSpec) -> list[str]:
    """Orthanc's ids of all images of the series that the RTSTRUCT is drawn on, those that it names first.

    Raises
    ------
    InputRefusedError
        ``no_image_reference``, ``missing_instances``, ``ambiguous_instances``, and what `wanted_images` refuses.
    """
    wanted = wanted_images(rtstruct)
    if not wanted.images:
        raise InputRefusedError(
            "the RTSTRUCT references no images (no ContourImageSequence (3006,0016) has an item)",
            remedy="Export the structure set with its image references.",
            code=ErrorCode.NO_IMAGE_REFERENCE,
        )
    stored: dict[str, dict[SeriesKey, dict[str, Any]]] = {}
    for chunk in _chunks(tuple(wanted.images), _FIND_CHUNK):
        for item in orthanc.find_instances({"SOPInstanceUID": "\\".join(chunk)}):
            if (key := orthanc.series_key(item)) is not None:
                stored.setdefault(_uid_of(item), {})[key] = item
    located = locate(wanted, spec.patient_id, spec.study_instance_uid, stored)
    if located.missing:
        elsewhere = f"; {located.elsewhere_text}" if located.elsewhere else ""
        raise InputRefusedError(
            f"{len(located.missing)} of the {located.wanted} images that the RTSTRUCT references are not in Orthanc "
            f"where it says{elsewhere}",
            remedy="Send the missing images; the plan is made when they are there.",
            code=ErrorCode.MISSING_INSTANCES,
            missing=len(located.missing),
            referenced=located.wanted,
            missing_sop_instance_uids=list(located.missing[:_LISTED]),
        )
    frames: dict[SeriesKey, str] = {}
    if len(located.candidates) > 1:
        examples = {key: item for found in stored.values() for key, item in found.items()}
        frames = {key: _frame_of_reference(orthanc, examples[key]) for key in located.candidates}
    chosen = decide(wanted, located, stored, frames)
    named = {uid: _orthanc_id(stored[uid][chosen]) for uid in wanted.images}
    series_id = next(iter(stored[uid][chosen] for uid in wanted.images)).get("ParentSeries")
    others = [
        _orthanc_id(item)
        for item in orthanc.find_instances({"SeriesInstanceUID": chosen.series_instance_uid})
        if item.get("ParentSeries") == series_id and _uid_of(item) not in named
    ]
    if len(named) + len(others) > MAX_IMAGES:
        raise InputRefusedError(
            f"the CT series has more than {MAX_IMAGES} images",
            remedy="Plan on a smaller series.",
            code=ErrorCode.TOO_LARGE,
        )
    return [*named.values(), *others]


def _frame_of_reference(orthanc: Orthanc, item: dict[str, Any]) -> str:
    data = orthanc.instance(_orthanc_id(item))
    if data is None:
        return ""
    dataset = _read(data, ErrorCode.UNREADABLE_IMAGE, "a referenced image")
    return str(dataset.get("FrameOfReferenceUID") or "").strip(" \0")


def _uid_of(item: dict[str, Any]) -> str:
    return _tag(item, "MainDicomTags", "SOPInstanceUID")


def _rtstruct(orthanc: Orthanc, spec: JobSpec) -> Dataset:
    """The RTSTRUCT that the plan was asked for: the same UID, patient, study and content."""
    uid = spec.rtstruct_sop_instance_uid
    found = orthanc.find_instances({"SOPInstanceUID": uid})
    others: list[str] = []
    for item in found:
        data = orthanc.instance(_orthanc_id(item))
        if data is None:
            continue
        dataset = _read(data, ErrorCode.UNREADABLE_RTSTRUCT, "the RTSTRUCT")
        # first of all: values that were decoded hash differently
        sha256 = dataset_sha256(dataset)
        if dataset.get("SOPClassUID") != RTStructureSetStorage:
            raise _unreadable_rtstruct("its SOP class is not RT Structure Set Storage")
        if sha256 == spec.rtstruct_sha256:
            _check_identity(dataset, spec)
            return dataset
        others.append(sha256)
    raise InputRefusedError(
        f"the RTSTRUCT {uid} in Orthanc has other content than the one the plan was asked for"
        if others
        else f"the RTSTRUCT {uid} is no longer in Orthanc",
        remedy="Nothing, if a plan for the new content is on its way; otherwise send the structure set again.",
        code=ErrorCode.INPUT_CHANGED,
        expected_sha256=spec.rtstruct_sha256,
        found_sha256=others[:5],
    )


_INPUT_NAMES = {"rtplan": "RT plan", "rtdose": "RTDOSE", "reference_rtdose": "reference RTDOSE"}


def _input(orthanc: Orthanc, wanted: JobInput, spec: JobSpec) -> Dataset:
    """Another object that the job was asked for: the same UID, patient and content."""
    name = _INPUT_NAMES[wanted.kind]
    code = ErrorCode.UNREADABLE_RTPLAN if wanted.kind == "rtplan" else ErrorCode.UNREADABLE_RTDOSE
    found = of_others = False
    for item in orthanc.find_instances({"SOPInstanceUID": wanted.sop_instance_uid}):
        data = orthanc.instance(_orthanc_id(item))
        if data is None:
            continue
        dataset = _read(data, code, f"the {name}")
        # first of all: values that were decoded hash differently
        sha256 = dataset_sha256(dataset)
        found = True
        if wanted.sha256 not in (None, sha256):
            continue
        if str(dataset.get("PatientID") or "").strip(" \0") == spec.patient_id.strip(" \0"):
            return dataset
        of_others = True
    if of_others:
        raise InputRefusedError(
            f"the {name}'s PatientID is not that of the structure set",
            remedy="Name objects of one patient.",
            code=ErrorCode.PATIENT_MISMATCH,
            element="PatientID",
        )
    raise InputRefusedError(
        f"the {name} {wanted.sop_instance_uid} in Orthanc has other content than the one the job was asked for"
        if found
        else f"the {name} {wanted.sop_instance_uid} is no longer in Orthanc",
        remedy="Ask again, for what is stored now.",
        code=ErrorCode.INPUT_CHANGED,
    )


def _check_identity(dataset: Dataset, spec: JobSpec) -> None:
    for keyword, expected in (("PatientID", spec.patient_id), ("StudyInstanceUID", spec.study_instance_uid)):
        if str(dataset.get(keyword) or "").strip(" \0") != expected.strip(" \0"):
            raise InputRefusedError(
                f"the RTSTRUCT's {keyword} is not the one the plan was asked for",
                remedy="Ask for the plan again.",
                code=ErrorCode.PATIENT_MISMATCH,
                element=keyword,
            )


def store(orthanc: Orthanc, kind: OutputKind, dataset: Dataset) -> Output:
    """Store one result and read it back; nothing is ever deleted here.

    Raises
    ------
    RadiarchError
        ``store_failed``: it was refused, or what is stored is not what was sent; ``cancelled``: it is not wanted.
    """
    data = _encoded(dataset)
    sent = _read(data, ErrorCode.STORE_FAILED, f"our own {kind}")
    sent_sha256 = dataset_sha256(sent)
    for _ in range(_STORE_TRIES):
        answer = orthanc.post_instance(data)
        status, orthanc_id = answer.get("Status"), str(answer.get("ID", ""))
        if status not in ("Success", "AlreadyStored") or not _is_orthanc_id(orthanc_id):
            raise RadiarchError(
                f"Orthanc did not store the {kind}: its answer is {str(status)[:40]!r}, expected 'Success'",
                remedy="A filter in Orthanc (Lua or a plugin) may refuse it: let RT plans and doses through.",
                code=ErrorCode.STORE_FAILED,
            )
        stored = orthanc.instance(orthanc_id)
        sha256 = None if stored is None else _same(stored, sent, sent_sha256)
        if sha256 is not None:
            return Output(
                kind=kind,
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                series_instance_uid=str(dataset.SeriesInstanceUID),
                orthanc_id=orthanc_id,
                sha256=sha256,
            )
    raise ServiceError(
        f"the {kind} read back from Orthanc is not the one that was sent",
        remedy="See that no other program writes or changes results in Orthanc, and Orthanc's log and disk.",
        code=ErrorCode.STORE_FAILED,
    )


def _same(stored: bytes, sent: Dataset, sent_sha256: str) -> str | None:
    """The hash of what is stored where that is what was sent, else None."""
    dataset = _read(stored, ErrorCode.STORE_FAILED, "a stored result")
    sha256 = dataset_sha256(dataset)
    if sha256 == sent_sha256:
        return sha256
    if dataset.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID or "PixelData" not in sent:
        return None
    # Orthanc was configured to transcode what it stores: then the pixels have to be equal, and all else
    import numpy as np

    if not np.array_equal(dataset.pixel_array, sent.pixel_array):
        return None
    plain = _read(_encoded(sent), ErrorCode.STORE_FAILED, "our own result")
    for ds in (dataset, plain):
        del ds.PixelData
    return sha256 if dataset_sha256(dataset) == dataset_sha256(plain) else None


def _encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _read(data: bytes, code: ErrorCode, what: str) -> Dataset:
    try:
        return pydicom.dcmread(BytesIO(data))
    # A hostile file can raise nearly anything from pydicom; its text may quote values, so only the kind is told.
    except Exception as e:
        raise InputRefusedError(
            f"{what} cannot be read as DICOM ({type(e).__name__})",
            remedy="Export it again from the system that made it.",
            code=code,
        ) from e


def _private_words(dataset: Dataset) -> Iterator[str]:
    """The patient's name and identifiers, whole and in parts, as they might turn up in a message."""
    for keyword in ("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "OtherPatientNames"):
        text = str(dataset.get(keyword) or "")
        yield text
        if "Name" in keyword:
            yield from text.replace("=", "^").replace(" ", "^").split("^")


def _orthanc_id(item: dict[str, Any]) -> str:
    orthanc_id = str(item.get("ID", ""))
    if not _is_orthanc_id(orthanc_id):
        raise ServiceError(
            "an answer of Orthanc has no instance id",
            remedy="See that RADIARCH_ORTHANC_URL is Orthanc's address.",
            code=ErrorCode.ORTHANC_UNAVAILABLE,
        )
    return orthanc_id


def _code_of(response: httpx.Response) -> str:
    """Of an error of the plugin; '' where it is another's."""
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _tag(item: dict[str, Any], group: str, name: str) -> str:
    return str((item.get(group) or {}).get(name, "")).strip(" \0")


def _is_orthanc_id(text: str) -> bool:
    return len(text) == 44 and set(text) <= set("0123456789abcdef-")


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _kind_of(path: str) -> str:
    """A path without ids, for messages."""
    return "/".join("…" if _is_orthanc_id(part) else part for part in path.split("/"))


def _unreadable_rtstruct(what: str) -> InputRefusedError:
    return InputRefusedError(
        f"the RTSTRUCT cannot be read: {what}",
        remedy="Export the structure set again from the system that made it.",
        code=ErrorCode.UNREADABLE_RTSTRUCT,
    )
