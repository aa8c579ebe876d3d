"""A hash of a data set's content that survives re-encoding; it takes pydicom data sets."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import MutableSequence
from typing import Any

_BINARY = {"US": "<H", "SS": "<h", "UL": "<L", "SL": "<l", "UV": "<Q", "SV": "<q", "FL": "<f", "FD": "<d"}


def dataset_sha256(dataset: Any) -> str:
    """Hash of a DICOM data set's elements, equal for equal content in any transfer syntax with little-endian values.

    Orthanc may store other bytes than were sent (another transfer syntax, another file meta
    group), so the file's hash does not tell whether the content changed.

    Parameters
    ----------
    dataset
        A ``pydicom.Dataset``; values not yet decoded are hashed as their raw bytes.

    Returns
    -------
    str
        64 hexadecimal characters.
    """
    digest = hashlib.sha256()
    _update(digest, dataset)
    return digest.hexdigest()


def _update(digest: Any, dataset: Any) -> None:
    for tag in sorted(dataset.keys()):
        if tag.element == 0 or tag.group == 2:  # group lengths and file meta are encoding
            continue
        raw = dataset.get_item(tag)
        # explicit encodings give the VR in the raw element, implicit ones do not
        is_sequence = raw.VR == "SQ" or (raw.VR in (None, "UN") and _dictionary_vr(tag) == "SQ")
        digest.update(int(tag).to_bytes(4, "big"))
        if is_sequence:
            items = dataset[tag].value or []
            digest.update(b"S%d" % len(items))
            for item in items:
                _update(digest, item)
                digest.update(b"E")
        else:
            value = _encoded(raw.VR, raw.value).rstrip(b" \0")
            digest.update(b"V%d:" % len(value))
            digest.update(value)


def _dictionary_vr(tag: Any) -> str | None:
    """The standard's VR of a tag; asking the data set would decode the value, a second for a prostate's contours."""
    from pydicom.datadict import dictionary_VR  # the caller has pydicom: the data set is one of pydicom's

    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def _encoded(vr: str | None, value: Any) -> bytes:
    """The bytes an element has before it is decoded, from either form."""
    if isinstance(value, bytes):
        return value
    values: list[Any]
    if value is None:
        values = []
    elif isinstance(value, MutableSequence):
        values = list(value)
    else:
        values = [value]
    if vr in _BINARY:
        return b"".join(struct.pack(_BINARY[vr], v) for v in values)
    if vr == "AT":
        return b"".join(struct.pack("<HH", v >> 16, v & 0xFFFF) for v in map(int, values))
    return b"\\".join(str(v).encode() for v in values)
