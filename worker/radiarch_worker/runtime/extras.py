"""Optional results: an error in one becomes a note, and does not fail the plan or check."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from radiarch_contract.errors import ErrorCode, RadiarchError

T = TypeVar("T")


def attempted(what: str, make: Callable[[], T], log: Callable[[str], None], notes: list[str]) -> T | None:
    """The result of ``make``; None, a note and the reason in the log where it fails.

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
            reason = f"unexpected {type(e).__name__} (see the job's log)"
        for line in traceback.format_exc().splitlines():
            log(line)
        notes.append(f"There is no {what}: {reason}. Everything else is complete.")
        return None
