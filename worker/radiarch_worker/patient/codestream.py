"""The image size that a compressed frame declares in its own header; decoding is pydicom's business."""

from __future__ import annotations

import struct

_SOI, _SOC, _SIZ, _SOS = 0xFFD8, 0xFF4F, 0xFF51, 0xFFDA
# SOF0-SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS (ISO/IEC 10918-1 table B.1, 14495-1 C.1.1).
_SOF = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC})


def declared_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) in the header of a JPEG, JPEG-LS or JPEG 2000 codestream; None for anything else.

    Raises
    ------
    ValueError
        It begins like one of these and then is none.
    """
    if len(frame) < 4:
        raise ValueError("the frame is empty")
    if frame[:12] == b"\0\0\0\x0cjP  \r\n\x87\n":  # the boxes of a JP2 file, not allowed in DICOM but met
        start = frame.find(b"\xffO\xffQ")
        if start < 0:
            raise ValueError("a JP2 file without a codestream")
        return _jpeg2000(frame[start:])
    (marker,) = struct.unpack_from(">H", frame)
    if marker == _SOC:
        return _jpeg2000(frame)
    return _jpeg(frame) if marker == _SOI else None


def _jpeg2000(codestream: bytes) -> tuple[int, int]:
    """SIZ is the first segment (ISO/IEC 15444-1 A.5.1)."""
    if len(codestream) < 24 or struct.unpack_from(">H", codestream, 2)[0] != _SIZ:
        raise ValueError("no SIZ segment")
    width, height, left, top = struct.unpack_from(">4I", codestream, 8)
    return height - top, width - left


def _jpeg(frame: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(frame):
        (marker,) = struct.unpack_from(">H", frame, at)
        if marker == 0xFFFF:  # fill byte
            at += 1
            continue
        if marker in _SOF:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return rows, columns
        if marker == _SOS or marker < 0xFF00:
            break
        (length,) = struct.unpack_from(">H", frame, at + 2)
        at += 2 + length
    raise ValueError("no frame header")
