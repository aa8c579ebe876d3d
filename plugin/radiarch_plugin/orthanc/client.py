"""What the plugin asks of Orthanc: in process for short calls, over its own HTTP port for long ones.

``orthanc.RestApi*`` hold Python's lock for as long as they run, so that only calls of a fraction of a
millisecond go that way; a file's bytes come over HTTP, which lets the lock go. No stored-instance
callback may ever be registered, and nothing is stored in process: both together deadlock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import httpx
from radiarch_contract.errors import ConflictError, ErrorCode, NotFoundError, ServiceError
from radiarch_contract.images import SeriesKey, same_patient

MAX_FILE_BYTES = 1024 * 1024 * 1024
FIND_AT_ONCE = 500
MAX_SERIES_KEPT = 10_000


class Rest(Protocol):
    """Orthanc's REST API by one way or the other; raises `NotFoundError` and `ServiceError` only."""

    def get(self, path: str) -> bytes: ...
    def post(self, path: str, body: bytes) -> bytes: ...
    def put(self, path: str, body: bytes) -> bytes: ...
    def delete(self, path: str) -> bytes: ...


class HttpRest:
    """Over HTTP, one connection pool for all threads.

    Parameters
    ----------
    authorization
        Value of the ``Authorization`` header, asked for once a request (Orthanc's token is known after its start).
    """

    def __init__(
        self, url: str, *, authorization: Callable[[], str] | None = None, timeout_s: float = 30.0, verify: bool = True
    ) -> None:
        self._authorization = authorization
        # identity: Orthanc 1.10 compresses by default, which makes reading ten times slower
        # Orthanc closes a connection that was idle for a second: one that old is not used again
        self._client = httpx.Client(
            base_url=url,
            timeout=timeout_s,
            verify=verify,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=0.5),
        )

    def get(self, path: str) -> bytes:
        try:
            return self._request("GET", path)
        except ServiceError as e:
            if not isinstance(e.__cause__, httpx.RemoteProtocolError | httpx.ReadError):
                raise
            return self._request("GET", path)  # the connection was closed just when it was to be used again

    def post(self, path: str, body: bytes) -> bytes:
        return self._request("POST", path, body)

    def put(self, path: str, body: bytes) -> bytes:
        return self._request("PUT", path, body)

    def delete(self, path: str) -> bytes:
        return self._request("DELETE", path)

    def close(self) -> None:
        self._client.close()

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": self._authorization()} if self._authorization else {}
        try:
            with self._client.stream(method, path, content=body, headers=headers) as answer:
                if answer.status_code == 404:
                    raise _not_found(path)
                if answer.status_code != 200:
                    raise _unavailable(f"{method} {path} was answered with status {answer.status_code}, expected 200")
                return _bounded(answer.iter_bytes(), path)
        except httpx.HTTPError as e:
            raise _unavailable(f"{method} {path} failed with {type(e).__name__}") from e


class InProcessRest:
    """Through the module ``orthanc``; for short calls only."""

    def __init__(self, orthanc: Any) -> None:
        self._orthanc = orthanc

    def get(self, path: str) -> bytes:
        return self._call(path, lambda: self._orthanc.RestApiGet(path))

    def post(self, path: str, body: bytes) -> bytes:
        return self._call(path, lambda: self._orthanc.RestApiPost(path, body))

    def put(self, path: str, body: bytes) -> bytes:
        return self._call(path, lambda: self._orthanc.RestApiPut(path, body))

    def delete(self, path: str) -> bytes:
        self._call(path, lambda: self._orthanc.RestApiDelete(path) or b"")
        return b""

    def _call(self, path: str, call: Callable[[], bytes]) -> bytes:
        try:
            return call()
        except self._orthanc.OrthancException as e:
            if e.args[:1] in ((17,), (7,)):  # unknown resource, inexistent item
                raise _not_found(path) from e
            raise _unavailable(f"{path} failed: {e.args[1:] or e.args}") from e


@dataclass(frozen=True)
class StoredInstance:
    """An instance as Orthanc's index has it; the identifiers are Orthanc's."""

    orthanc_id: str
    series_id: str


@dataclass(frozen=True)
class StoredSlice:
    """An image of a series; position and orientation are empty where Orthanc has not indexed them."""

    sop_instance_uid: str
    orthanc_id: str
    position_mm: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()


class OrthancClient:
    """The calls that the plugin makes."""

    def __init__(self, short: Rest, long: Rest | None = None) -> None:
        self._short = short
        self._long = long or short
        self._series: dict[str, SeriesKey] = {}

    def system(self) -> dict[str, Any]:
        return _object(self._short.get("/system"))

    def changes(self, since: int, limit: int) -> dict[str, Any]:
        """``{Changes, Last, Done}``: what was stored after the given sequence number."""
        return _object(self._short.get(f"/changes?since={int(since)}&limit={int(limit)}"))

    def last_change(self) -> int:
        """Sequence number of the newest change that there ever was."""
        return int(_object(self._short.get("/changes?last"))["Last"])

    def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Orthanc's ids of instances by SOP Instance UID; those not stored are left out.

        More than one id for a UID means that it is stored for more than one patient, study or series.
        """
        found = self.find_stored(sop_instance_uids)
        return {uid: tuple(i.orthanc_id for i in instances) for uid, instances in found.items()}

    def find_stored(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[StoredInstance, ...]]:
        """As `find_instances`, with the series of each."""
        found: dict[str, tuple[StoredInstance, ...]] = {}
        uids = list(dict.fromkeys(sop_instance_uids))
        for chunk in (uids[i : i + FIND_AT_ONCE] for i in range(0, len(uids), FIND_AT_ONCE)):
            query = {
                "Level": "Instance",
                "Query": {"SOPInstanceUID": "\\".join(chunk)},
                "Expand": True,
                "CaseSensitive": True,
            }
            for item in _json(self._short.post("/tools/find", json.dumps(query).encode())):
                uid = str(item["MainDicomTags"].get("SOPInstanceUID", "")).strip(" \0")
                if uid in chunk:
                    stored = StoredInstance(item["ID"], str(item.get("ParentSeries", "")))
                    found[uid] = (*found.get(uid, ()), stored)
        return found

    def series_key(self, series_id: str) -> SeriesKey:
        """Patient, study and series of one of Orthanc's series; its id is made of them, so that they never change.

        Raises
        ------
        NotFoundError
        """
        if series_id not in self._series:
            series = _object(self._short.get(f"/series/{_safe(series_id)}"))
            study = _object(self._short.get(f"/studies/{_safe(str(series.get('ParentStudy', '')))}"))
            if len(self._series) >= MAX_SERIES_KEPT:
                self._series.clear()
            self._series[series_id] = SeriesKey(
                patient_id=_tag(study, "PatientMainDicomTags", "PatientID"),
                study_instance_uid=_tag(study, "MainDicomTags", "StudyInstanceUID"),
                series_instance_uid=_tag(series, "MainDicomTags", "SeriesInstanceUID"),
            )
        return self._series[series_id]

    def instance_series(self, orthanc_id: str) -> str:
        """Orthanc's id of an instance's series."""
        return str(self.instance_tags(orthanc_id).get("ParentSeries", ""))

    def series_instances(self, series_id: str) -> frozenset[str]:
        """Orthanc's ids of all instances of one of its series. Raises `NotFoundError`."""
        found = _object(self._short.get(f"/series/{_safe(series_id)}")).get("Instances")
        return frozenset(map(str, found)) if isinstance(found, list) else frozenset()

    def series_slices(self, series_id: str) -> list[StoredSlice]:
        """All images of one of Orthanc's series.

        Raises
        ------
        NotFoundError
        """
        query = {
            "Level": "Instance",
            "Query": {"SeriesInstanceUID": self.series_key(series_id).series_instance_uid},
            "Expand": True,
            "CaseSensitive": True,
        }
        found = _json(self._short.post("/tools/find", json.dumps(query).encode()))
        return [_slice(item) for item in found if item.get("ParentSeries") == series_id]

    def frame_of_reference(self, orthanc_id: str) -> str:
        """Frame of Reference UID of an instance; '' where it has none or is gone."""
        try:
            text = self._short.get(f"/instances/{_safe(orthanc_id)}/content/0020-0052")
        except NotFoundError:
            return ""
        return text.decode("ascii", "replace").strip(" \0")

    def find_instance(
        self, sop_instance_uid: str, *, patient_id: str | None = None, study_instance_uid: str = ""
    ) -> str:
        """Orthanc's id of the one instance with this UID.

        Parameters
        ----------
        patient_id
            Whose it has to be; None: anybody's.
        study_instance_uid
            Where it is taken from, if it is stored in several studies.

        Raises
        ------
        NotFoundError
        ConflictError
            ``ambiguous_instances``: it is stored more than once, and nobody can tell which is meant.
        """
        found: dict[str, SeriesKey] = {}
        for instance in self.find_stored([sop_instance_uid]).get(sop_instance_uid, ()):
            with suppress(NotFoundError):  # deleted since
                key = self.series_key(instance.series_id)
                if patient_id is None or same_patient(key.patient_id, patient_id):
                    found[instance.orthanc_id] = key
        if len(found) > 1 and study_instance_uid:
            found = {i: k for i, k in found.items() if k.study_instance_uid == study_instance_uid} or found
        if not found:
            raise NotFoundError(
                f"no instance with SOP Instance UID {sop_instance_uid} is stored in Orthanc"
                + ("" if patient_id is None else " for this patient"),
                remedy="Send it to Orthanc first.",
                sop_instance_uid=sop_instance_uid,
            )
        if len(found) > 1:
            patients = len({k.patient_id for k in found.values()})
            raise ConflictError(
                f"SOP Instance UID {sop_instance_uid} is stored {len(found)} times in Orthanc, for {patients} "
                f"{'patient' if patients == 1 else 'patients'}, expected once",
                remedy="Delete the copies that are wrong.",
                code=ErrorCode.AMBIGUOUS_INSTANCES,
                sop_instance_uid=sop_instance_uid,
                orthanc_ids=list(found),
            )
        return next(iter(found))

    def patient_names(self, study_instance_uids: Sequence[str]) -> dict[tuple[str, str], str]:
        """Patient's Name by Patient ID and Study Instance UID, of studies that are stored."""
        found: dict[tuple[str, str], str] = {}
        uids = list(study_instance_uids)
        for chunk in (uids[i : i + FIND_AT_ONCE] for i in range(0, len(uids), FIND_AT_ONCE)):
            query = {
                "Level": "Study",
                "Query": {"StudyInstanceUID": "\\".join(chunk)},
                "Expand": True,
                "CaseSensitive": True,
            }
            for item in _json(self._short.post("/tools/find", json.dumps(query).encode())):
                study = _tag(item, "MainDicomTags", "StudyInstanceUID")
                if study in chunk:
                    owner = _tag(item, "PatientMainDicomTags", "PatientID"), study
                    found[owner] = _tag(item, "PatientMainDicomTags", "PatientName")
        return found

    def find_structure_sets(self, study_instance_uid: str) -> list[dict[str, str]]:
        """The RTSTRUCT instances of a study, by what Orthanc has indexed of them (`FIND_AT_ONCE` at most)."""
        query = {
            "Level": "Series",
            "Query": {"StudyInstanceUID": study_instance_uid, "Modality": "RTSTRUCT"},
            "Expand": True,
            "Limit": FIND_AT_ONCE,
        }
        found = []
        for series in _json(self._short.post("/tools/find", json.dumps(query).encode())):
            tags = series["MainDicomTags"]
            for orthanc_id in series["Instances"][:FIND_AT_ONCE]:
                instance = self.instance_tags(orthanc_id)["MainDicomTags"]
                found.append(
                    {
                        "sop_instance_uid": str(instance.get("SOPInstanceUID", "")).strip(" \0"),
                        "orthanc_id": orthanc_id,
                        "series_instance_uid": str(tags.get("SeriesInstanceUID", "")).strip(" \0"),
                        "series_description": str(tags.get("SeriesDescription", "")),
                    }
                )
        return found

    def find_doses(self, study_instance_uid: str) -> list[str]:
        """Orthanc's ids of the RTDOSE instances of a study, in the order in which they were stored."""
        query = {
            "Level": "Series",
            "Query": {"StudyInstanceUID": study_instance_uid, "Modality": "RTDOSE"},
            "Expand": True,
            "Limit": FIND_AT_ONCE,
        }
        series = _json(self._short.post("/tools/find", json.dumps(query).encode()))
        found = [(str(s.get("LastUpdate", "")), str(i)) for s in series for i in s["Instances"][:FIND_AT_ONCE]]
        return [orthanc_id for _, orthanc_id in sorted(found)]

    def all_ids(self, level: Literal["studies", "series"]) -> set[str]:
        """Orthanc's ids of all studies, or of all series."""
        return set(map(str, _json(self._long.get(f"/{level}"))))

    def study(self, orthanc_id: str) -> dict[str, Any]:
        """Orthanc's main tags of a study and its patient. Raises `NotFoundError`."""
        return _object(self._short.get(f"/studies/{_safe(orthanc_id)}"))

    def study_series(self, orthanc_id: str) -> list[dict[str, Any]]:
        """All series of one of Orthanc's studies, each with its main tags and instances. Raises `NotFoundError`."""
        found: list[dict[str, Any]] = _json(self._long.get(f"/studies/{_safe(orthanc_id)}/series"))
        return found

    def study_of_series(self, series_id: str) -> str:
        """Orthanc's id of a series' study. Raises `NotFoundError`."""
        return str(_object(self._short.get(f"/series/{_safe(series_id)}/study"))["ID"])

    def series(self, series_id: str) -> dict[str, Any]:
        """Orthanc's main tags and instances of a series. Raises `NotFoundError`."""
        return _object(self._long.get(f"/series/{_safe(series_id)}"))

    def instances_of(self, series_instance_uids: Sequence[str]) -> list[dict[str, Any]]:
        """All instances of series with these UIDs, by what Orthanc has indexed of them."""
        found: list[dict[str, Any]] = []
        uids = list(series_instance_uids)
        for chunk in (uids[i : i + FIND_AT_ONCE] for i in range(0, len(uids), FIND_AT_ONCE)):
            query = {
                "Level": "Instance",
                "Query": {"SeriesInstanceUID": "\\".join(chunk)},
                "Expand": True,
                "CaseSensitive": True,
            }
            found += _json(self._long.post("/tools/find", json.dumps(query).encode()))
        return found

    def picture(self, orthanc_id: str, size: int) -> bytes:
        """An image as PNG, windowed as its file says, at most so many pixels wide and high. Raises `NotFoundError`."""
        return self._long.get(f"/instances/{_safe(orthanc_id)}/rendered?width={size}&height={size}&smooth=1")

    def simplified_tags(self, orthanc_id: str) -> dict[str, Any]:
        """All data elements of an instance by keyword, sequences as lists; its file is read. Raises `NotFoundError`."""
        return _object(self._long.get(f"/instances/{_safe(orthanc_id)}/simplified-tags"))

    def statistics(self) -> dict[str, Any]:
        """How much Orthanc stores, by its index."""
        return _object(self._short.get("/statistics"))

    def remove(self, sop_instance_uids: Sequence[str]) -> None:
        """Delete the instances with these UIDs, where they are stored."""
        for ids in self.find_instances(sop_instance_uids).values():
            for orthanc_id in ids:
                with suppress(NotFoundError):
                    self._long.delete(f"/instances/{_safe(orthanc_id)}")

    def delete_instance(self, orthanc_id: str) -> None:
        """Delete one instance, where it is stored."""
        with suppress(NotFoundError):
            self._long.delete(f"/instances/{_safe(orthanc_id)}")

    def mark(self, orthanc_id: str, number: int, value: str, label: str) -> None:
        """Give an instance and its series a user's metadata, and the series a label where Orthanc has such (1.12).

        Raises
        ------
        NotFoundError
        """
        series = _safe(str(_object(self._short.get(f"/instances/{_safe(orthanc_id)}"))["ParentSeries"]))
        for path in (f"/instances/{_safe(orthanc_id)}", f"/series/{series}"):
            self._long.put(f"{path}/metadata/{int(number)}", value.encode())
        with suppress(NotFoundError):  # an older Orthanc has no labels
            self._long.put(f"/series/{series}/labels/{label}", b"")

    def store(self, data: bytes) -> str:
        """Store one DICOM file, over HTTP; Orthanc's id of it.

        Raises
        ------
        ServiceError
            ``store_failed``: a filter has dropped it.
        """
        answer = _object(self._long.post("/instances", data))
        if answer.get("Status") not in ("Success", "AlreadyStored"):
            raise ServiceError(
                f"Orthanc did not store an object: its answer is {str(answer.get('Status'))[:40]!r}",
                remedy="A filter in Orthanc (Lua or a plugin) may refuse it: let it through.",
                code=ErrorCode.STORE_FAILED,
            )
        return _safe(str(answer.get("ID", "")))

    def attach(self, orthanc_id: str, number: int, data: bytes) -> None:
        """Keep bytes beside an instance, as the attachment with this number."""
        self._long.put(f"/instances/{_safe(orthanc_id)}/attachments/{int(number)}", data)

    def instance_file(self, orthanc_id: str) -> bytes:
        """The DICOM file as stored."""
        return self._long.get(f"/instances/{_safe(orthanc_id)}/file")

    def attachment(self, orthanc_id: str, number: int) -> bytes:
        """What is kept beside an instance under a number."""
        return self._long.get(f"/instances/{_safe(orthanc_id)}/attachments/{int(number)}/data")

    def instance_metadata(self, orthanc_id: str) -> dict[str, str]:
        """Orthanc's metadata of an instance: ``RemoteAET``, ``Origin``, ``SopClassUid`` …"""
        return _object(self._short.get(f"/instances/{_safe(orthanc_id)}/metadata?expand"))

    def instance_patient(self, orthanc_id: str) -> str:
        """Patient ID of an instance as Orthanc has indexed it; '' where it was deleted meanwhile."""
        try:
            patient = _object(self._short.get(f"/instances/{_safe(orthanc_id)}/patient"))
        except NotFoundError:
            return ""
        return str(patient.get("MainDicomTags", {}).get("PatientID", ""))

    def instance_tags(self, orthanc_id: str) -> dict[str, Any]:
        """Orthanc's main tags of an instance (``MainDicomTags``, ``ParentSeries`` …)."""
        return _object(self._short.get(f"/instances/{_safe(orthanc_id)}"))


def _slice(item: dict[str, Any]) -> StoredSlice:
    return StoredSlice(
        sop_instance_uid=_tag(item, "MainDicomTags", "SOPInstanceUID"),
        orthanc_id=str(item["ID"]),
        position_mm=_numbers(_tag(item, "MainDicomTags", "ImagePositionPatient"), 3),
        orientation=_numbers(_tag(item, "MainDicomTags", "ImageOrientationPatient"), 6),
    )


def _tag(item: dict[str, Any], group: str, name: str) -> str:
    return str((item.get(group) or {}).get(name, "")).strip(" \0")


def _numbers(text: str, count: int) -> tuple[float, ...]:
    """What a scanner wrote is not always numbers: then there are none."""
    try:
        values = tuple(float(v) for v in text.split("\\"))
    except ValueError:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as e:
        raise _unavailable("Orthanc's answer is not JSON") from e


def _object(data: bytes) -> dict[str, Any]:
    value = _json(data)
    if not isinstance(value, dict):
        raise _unavailable("Orthanc's answer is not a JSON object")
    return value


def _safe(orthanc_id: str) -> str:
    """An Orthanc id goes into a path: nothing but its own alphabet."""
    if not orthanc_id or len(orthanc_id) > 64 or not all(c in "0123456789abcdef-" for c in orthanc_id):
        raise NotFoundError("not an Orthanc identifier", remedy="Use an id that Orthanc gave.")
    return orthanc_id


def _bounded(chunks: Iterator[bytes], path: str) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_FILE_BYTES:
            raise _unavailable(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return bytes(data)


def _not_found(path: str) -> NotFoundError:
    return NotFoundError(f"Orthanc has no {path}", remedy="It may have been deleted: send it again.")


def _unavailable(message: str) -> ServiceError:
    return ServiceError(
        message,
        remedy="Ask again in a moment; look into Orthanc's log if it stays.",
        code=ErrorCode.ORTHANC_UNAVAILABLE,
    )
