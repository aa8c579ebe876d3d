"""``/changes``: what open pages ask again and again; made to cost little, however many they are."""

from __future__ import annotations

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.store import ChangesView
from radiarch_plugin.web.answers import ChangesAnswer

from .plans import summary

router = APIRouter(prefix="/changes", tags=["jobs"])

SHORTEST_S = 1.5
LONGEST_S = 20.0
POLLS_PER_S = 12.0
_FRESH_S = 0.4
_KEPT = 64


class Pace:
    """When a page is to ask again, and the last answers.

    Each page is given the next free turn: a few pages ask every `SHORTEST_S`, a hundred share `POLLS_PER_S` and come
    one after the other, not all at once. Answers are kept for `_FRESH_S`: pages that ask the same get the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = 0.0
        self._answers: dict[int, tuple[float, ChangesAnswer]] = {}

    def wait_s(self) -> float:
        with self._lock:
            now = time.monotonic()
            self._turn = min(max(self._turn + 1 / POLLS_PER_S, now + SHORTEST_S), now + LONGEST_S)
            return round(self._turn - now, 2)

    def kept(self, since: int) -> ChangesAnswer | None:
        with self._lock:
            at, answer = self._answers.get(since, (0.0, None))
            return answer if time.monotonic() - at < _FRESH_S else None

    def keep(self, since: int, answer: ChangesAnswer) -> None:
        with self._lock:
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            self._answers[since] = (time.monotonic(), answer)


@router.get("")
def changes(
    request: Request,
    services: ServicesDep,
    since: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of the last answer.")] = None,
) -> ChangesAnswer:
    """Plans that changed since the last time, as lists show them; without ``since``, only where to begin."""
    pace: Pace = request.app.state.pace
    answer = None if since is None else pace.kept(since)
    if answer is None:
        if since is None:
            newest, arrivals = services.store.changes.position()
            found = ChangesView(next=newest, arrivals=arrivals, complete=True)
        else:
            found = services.store.changes.since(since)
        plans = services.store.plans.get_many(found.plan_ids) if found.plan_ids else {}
        answer = ChangesAnswer(
            next=str(found.next),
            arrivals=str(found.arrivals),
            complete=found.complete,
            plans=tuple(map(summary, plans.values())),
            ask_again_s=0,
        )
        if since is not None:
            pace.keep(since, answer)
    return answer.model_copy(update={"ask_again_s": pace.wait_s()})
