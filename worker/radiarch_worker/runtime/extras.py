"""Results that a job can do without: what goes wrong with one is a note, and never costs the plan or check."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from radiarch_contract.errors import ErrorCode, RadiarchError

T = TypeVar("T")


def attempted(what: str, make: Callable[[], T], log: Callable[[str], None], notes: list[str]) -> T | None:
    """What ``make`` gives; None, a note and the reason in the log where it fails.

    Parameters
    ----------
    what
        The result, as the note names it.
    """
    try:
        return make()
    except Exception as e:
        if isinstance(e, RadiarchError):
            if e.code is ErrorCode.CANCELLED:
                raise
            reason = e.info.message.rstrip(".")
        else:
            reason = f"an unexpected {type(e).__name__} came up (see the job's log)"
        for line in traceback.format_exc().splitlines():
            log(line)
        notes.append(f"There is no {what}: {reason}. Everything else is complete.")
        return None
