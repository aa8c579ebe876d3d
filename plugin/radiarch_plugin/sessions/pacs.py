"""A session as a tiny Orthanc: the few requests of Orthanc's REST API that planning needs, answered from its catalog.

The plugin's own `OrthancClient` and the workers ask the same way as they ask Orthanc; what a worker may ask is decided
where it is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from radiarch_contract.errors import InvalidRequestError, NotFoundError

from .catalog import Catalog, StoredFile

MAX_VALUES = 5_000
MAX_QUERY_BYTES = 2 << 20
_FIELDS = {
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "PatientID": "patient_id",
    "Modality": "modality",
}
_INSTANCE = re.compile(r"/instances/([0-9a-f-]{44})(/.*)?")
_PARENT = re.compile(r"/(series|studies)/([0-9a-f-]{44})")
_ATTACHMENT = re.compile(r"/attachments/([0-9]{4,5})(/data)?")


class SessionRest:
    """Reads and deletes; storing goes through the catalog, which knows whose it is."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def get(self, path: str) -> bytes:
        if found := _PARENT.fullmatch(path):
            return _dump(self._parent(found[1], found[2]))
        orthanc_id, what = _instance(path)
        if found := _ATTACHMENT.fullmatch(what):
            data = self._catalog.attachments(orthanc_id).get(int(found[1]))
            if data is None:
                raise _nothing()
            return data
        file = self._catalog.by_id(orthanc_id)
        match what:
            case "/file":
                return self._catalog.read(file)
            case "":
                return _dump(_tags(file))
            case "/metadata" | "/metadata?expand":
                return _dump({"SopClassUid": file.header.sop_class_uid})
            case "/patient":
                return _dump({"MainDicomTags": {"PatientID": file.header.patient_id}})
        raise _nothing()

    def _parent(self, level: str, orthanc_id: str) -> dict[str, Any]:
        """A series or study by the id that Orthanc itself would give it."""
        for file in self._catalog.files():
            header = file.header
            if level == "series" and header.series_id == orthanc_id:
                return {
                    "ID": orthanc_id,
                    "ParentStudy": header.study_id,
                    "MainDicomTags": {"SeriesInstanceUID": header.series_instance_uid, "Modality": header.modality},
                    "Instances": [
                        f.header.orthanc_id for f in self._catalog.files() if f.header.series_id == orthanc_id
                    ],
                }
            if level == "studies" and header.study_id == orthanc_id:
                return {
                    "ID": orthanc_id,
                    "MainDicomTags": {"StudyInstanceUID": header.study_instance_uid},
                    "PatientMainDicomTags": {"PatientID": header.patient_id},
                }
        raise _nothing()

    def post(self, path: str, body: bytes) -> bytes:
        if path != "/tools/find":
            raise _nothing()
        return _dump(self.find(body))

    def put(self, path: str, body: bytes) -> bytes:
        orthanc_id, what = _instance(path)
        found = _ATTACHMENT.fullmatch(what)
        if found is None:
            raise _nothing()
        self._catalog.attach(orthanc_id, int(found[1]), body)
        return b"{}"

    def delete(self, path: str) -> bytes:
        orthanc_id, what = _instance(path)
        if what:
            raise _nothing()
        self._catalog.remove(orthanc_id)
        return b"{}"

    def find(self, body: bytes) -> list[dict[str, Any]]:
        """Orthanc's ``/tools/find`` at the levels Instance and Series, with exact values; nothing else is guessed at.

        Raises
        ------
        InvalidRequestError
        """
        level, query = _query(body)
        found = self._fitting(query)
        if level == "Instance":
            return [_tags(f) for f in found]
        series: dict[str, list[StoredFile]] = {}
        for file in found:
            series.setdefault(file.header.series_instance_uid, []).append(file)
        return [
            {
                "ID": uid,
                "MainDicomTags": {"SeriesInstanceUID": uid, "Modality": files[0].header.modality},
                "Instances": [f.header.orthanc_id for f in files],
            }
            for uid, files in series.items()
        ]

    def _fitting(self, query: Mapping[str, frozenset[str]]) -> Iterable[StoredFile]:
        wanted = dict(query)
        if (uids := wanted.pop("SOPInstanceUID", None)) is not None:
            found = [f for uid in sorted(uids) if (f := self._catalog.by_uid(uid)) is not None]
        else:
            found = self._catalog.files()
        return [f for f in found if all(getattr(f.header, _FIELDS[k]) in values for k, values in wanted.items())]


def _query(body: bytes) -> tuple[str, dict[str, frozenset[str]]]:
    if len(body) > MAX_QUERY_BYTES:
        raise _bad("it is too long")
    try:
        asked = json.loads(body)
        level, query = asked["Level"], asked["Query"]
        values = {str(k): frozenset(str(v).split("\\")) for k, v in query.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _bad("it is not an object with Level and Query") from None
    if level not in ("Instance", "Series"):
        raise _bad("Level is neither Instance nor Series")
    if not values or set(values) - set(_FIELDS):
        raise _bad(f"Query asks for something else than {', '.join(_FIELDS)}")
    if sum(map(len, values.values())) > MAX_VALUES:
        raise _bad(f"it has more than {MAX_VALUES} values")
    return str(level), values


def _instance(path: str) -> tuple[str, str]:
    found = _INSTANCE.fullmatch(path)
    if found is None:
        raise _nothing()
    return found[1], found[2] or ""


def _tags(file: StoredFile) -> dict[str, Any]:
    return {
        "ID": file.header.orthanc_id,
        "ParentSeries": file.header.series_id,
        "FileSize": file.bytes,
        "MainDicomTags": {"SOPInstanceUID": file.header.sop_instance_uid},
    }


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _nothing() -> NotFoundError:
    return NotFoundError("a session's store has nothing there", remedy="It answers few of Orthanc's requests.")


def _bad(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"the query cannot be answered: {why}", remedy="Ask as Orthanc's /tools/find is asked.")
