"""Which type each key in Redis has, and putting aside keys that somebody gave another one; it takes a Redis client."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from .transport import TRANSPORT_TTL_S

ASIDE = "radiarch:aside:"
"""Prefix of keys that were moved."""
_AT_ONCE = 500

_TYPES = (
    # RQ's own; the longer ones first
    ("rq:queues", "set"),
    ("rq:queue:", "list"),
    ("rq:workers", "set"),
    ("rq:worker:", "hash"),
    ("rq:job:", "hash"),
    ("rq:executions:", "zset"),
    ("rq:execution:", "hash"),
    ("rq:results:", "stream"),
    *((f"rq:{registry}:", "zset") for registry in ("wip", "finished", "failed", "deferred", "scheduled", "canceled")),
    ("radiarch:fence:", "string"),
    ("radiarch:attempt:", "string"),
    ("radiarch:result:", "string"),
    ("radiarch:worker:", "string"),
    ("radiarch:log:", "list"),
)


def expected_type(key: str) -> str | None:
    """Redis's name of the type that a key has; None for a key that is neither ours nor RQ's.

    Examples
    --------
    >>> expected_type("rq:queue:radiarch-0.2"), expected_type("somebody:else")
    ('list', None)
    """
    if key.startswith("rq:job:") and key.endswith((":dependents", ":dependencies")):
        return "set"
    return next((kind for prefix, kind in _TYPES if key.startswith(prefix)), None)


def is_wrong_type(error: Exception) -> bool:
    """Whether Redis refused a command because its key has another type than the command is for."""
    return "WRONGTYPE" in str(error)


def move_wrong_types(client: Any) -> list[str]:
    """Put every key aside that has another type than it should; their names.

    What nobody can read stops everybody: whoever needs the key makes it anew. The value is kept for some days.
    """
    moved = []
    for pattern in ("rq:*", "radiarch:*"):
        for keys in _chunks(client.scan_iter(match=pattern, count=1000)):
            with client.pipeline(transaction=False) as p:
                for key in keys:
                    p.type(key)
                found = p.execute()
            for key, kind in zip(keys, found, strict=True):
                name = key.decode("utf-8", "replace")
                expected = expected_type(name)
                if expected is None or kind.decode() in (expected, "none"):
                    continue
                client.rename(key, ASIDE + name)
                client.expire(ASIDE + name, TRANSPORT_TTL_S)
                moved.append(name)
    return moved


def _chunks(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(keys, _AT_ONCE)):
        yield chunk
