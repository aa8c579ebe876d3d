"""Keyset pages: a cursor says where the last page ended, so that a later page costs no more than the first."""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata
from datetime import datetime
from typing import Any

from radiarch_contract.errors import InvalidRequestError
from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

MAX_LIMIT = 500
_APART = str.maketrans("^=,", "   ")
"""What stands between the parts of a DICOM name (PS3.5 6.2.1), and between those of one as people write it."""

Key = str | int | float | datetime


def encode(sort: str, key: Key, seq: int) -> str:
    value = key.isoformat() if isinstance(key, datetime) else key
    return base64.urlsafe_b64encode(json.dumps([sort, value, seq]).encode()).decode().rstrip("=")


def decode(cursor: str, sort: str, *, is_time: bool) -> tuple[Key, int]:
    """Raises `InvalidRequestError` where it is not a cursor of this sort order."""
    try:
        found, key, seq = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if found != sort or not isinstance(seq, int) or not isinstance(key, str | int) or abs(seq) > 1 << 62:
            raise ValueError("of another list")
        return (datetime.fromisoformat(str(key)) if is_time else key), seq
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError(
            f"the cursor {cursor[:60]!r} is not one of a list sorted by {sort}",
            remedy="Give the 'next' of the page before, with the same sort; or none for the first page.",
        ) from None


def bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequestError(
            f"limit is {limit}, expected 1 to {MAX_LIMIT}", remedy=f"Ask for at most {MAX_LIMIT} items a page."
        )
    return limit


def keyset(
    query: Select[Any],
    sort: str,
    column: InstrumentedAttribute[Any],
    seq: InstrumentedAttribute[int],
    cursor: str | None,
    *,
    is_time: bool,
) -> Select[Any]:
    """Order ``query`` by ``column`` and ``seq`` and start it after ``cursor``."""
    down = sort.startswith("-")
    if cursor is not None:
        query = query.where(_after(column, seq, *decode(cursor, sort, is_time=is_time), down=down))
    if column is seq:
        return query.order_by(seq.desc() if down else seq)
    return query.order_by(column.desc() if down else column, seq.desc() if down else seq)


def _after(
    column: InstrumentedAttribute[Any], seq: InstrumentedAttribute[int], key: Key, last: int, *, down: bool
) -> ColumnElement[bool]:
    if column is seq:
        return seq < last if down else seq > last
    # the first condition alone lets both databases seek in the index
    if down:
        return and_(column <= key, or_(column < key, seq < last))
    return and_(column >= key, or_(column > key, seq > last))


def searched(*values: str | None) -> str:
    """The text in which words are looked for: small letters of one form, names' parts apart.

    >>> searched("P1", "Doe^John")
    'p1 doe john'
    """
    text = unicodedata.normalize("NFKC", " ".join(v for v in values if v))
    return text.lower().translate(_APART)


def words_in(column: InstrumentedAttribute[str], q: str) -> list[ColumnElement[bool]]:
    """Conditions that every word of ``q`` is somewhere in a column of `searched` text."""
    return [column.like(_contains(word), escape="\\") for word in searched(q).split()]


def _contains(text: str) -> str:
    """A LIKE pattern (escape character ``\\``) for texts that contain ``text``."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
