"""Plans that wait for images: seeing cheaply, while thousands of instances stream in, when the last one has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydicom.uid import CTImageStorage
from radiarch_contract.errors import NotFoundError
from radiarch_contract.states import ArrivalState, PlanState

from .arrivals import deleted
from .rtstruct import not_ct
from .store import Store, WaitingPlan

log = logging.getLogger(__name__)

COUNT_S = 1.0
"""How often the missing images of one plan are counted while they stream in."""
COUNT_SLOWEST_S = 2.0
"""How often at least where nothing of a plan comes, for each ten plans that wait."""
RECHECK_S = 60.0
"""How often everything is looked at though nothing was told: images may have been deleted."""
REFRESH_S = 0.5
"""How soon a plan that another thread or another Orthanc made is waited for."""
BUDGET_S = 0.3
"""For counting, in one look: whoever is complete must not wait for it."""
TRUST_S = 10.0
"""An image seen longer ago is looked for once more before a plan is queued."""


class Orthanc(Protocol):
    def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, ...]]: ...
    def instance_metadata(self, orthanc_id: str) -> dict[str, str]: ...


@dataclass
class _Wait:
    """One waiting plan.

    ``missing`` keeps the order of the structure set's references; its last one is the probe: where images are sent in
    order, it comes last, and one look for one UID tells that all are there.
    """

    plan: WaitingPlan
    missing: list[str]
    counted_at: float = float("-inf")
    pause_s: float = COUNT_S
    stale: bool = True
    seen: dict[str, str] = field(default_factory=dict)
    seen_since: float | None = None


class WaitingRoom:
    """Kept by the trigger's thread alone, but for ``check_structure_sets``, which any thread may set."""

    def __init__(
        self, store: Store, orthanc: Orthanc, queued: Callable[[], None], monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._orthanc = orthanc
        self._queued = queued
        self._monotonic = monotonic
        self._waits: dict[str, _Wait] = {}
        self._rechecked_at = float("-inf")
        self._refreshed_at = float("-inf")
        self.check_structure_sets = False

    def forget(self) -> None:
        """Begin anew: everything is in the database."""
        self._waits.clear()
        self._rechecked_at = float("-inf")
        self.refresh_now()

    def refresh_now(self) -> None:
        """A plan was made: read from the database at the next look who waits."""
        self._refreshed_at = float("-inf")

    def look(self, stored: bool) -> bool:
        """Queue what has become complete.

        Parameters
        ----------
        stored
            Whether instances were stored since the last look.

        Returns
        -------
        bool
            Whether another look is wanted soon though nothing may be stored until then.
        """
        now = self._monotonic()
        fresh = now - self._refreshed_at >= REFRESH_S
        if fresh:
            self._refreshed_at = now
            self._refresh()
        if not self._waits:
            return not fresh  # who woke us up may have made a plan
        if self.check_structure_sets or now - self._rechecked_at > RECHECK_S:
            self._recheck(now)
        if stored:
            for wait in self._waits.values():
                wait.stale = True
        self._probe([w for w in self._waits.values() if w.stale and w.counted_at > float("-inf")])
        return self._count(now, quiet=not stored) or not fresh

    def _refresh(self) -> None:
        ids = self._store.plans.waiting_ids()
        for plan_id in self._waits.keys() - ids:
            del self._waits[plan_id]
        if ids - self._waits.keys():
            for plan in self._store.plans.waiting():
                self._waits.setdefault(plan.id, _Wait(plan, list(dict.fromkeys(plan.image_uids))))

    def _recheck(self, now: float) -> None:
        """Structure sets may be gone, and images too."""
        self.check_structure_sets = False
        self._rechecked_at = now
        uids = {w.plan.rtstruct_sop_instance_uid for w in self._waits.values()}
        stored = self._orthanc.find_instances(sorted(uids))
        for wait in list(self._waits.values()):
            if wait.plan.rtstruct_sop_instance_uid not in stored:
                self._gone(wait)
            else:
                wait.missing, wait.seen, wait.seen_since = list(dict.fromkeys(wait.plan.image_uids)), {}, None
                wait.stale = True

    def _probe(self, waits: list[_Wait]) -> None:
        """Look for the last missing image of each; only where it is there, for all others."""
        probes = {w.missing[-1] for w in waits if w.missing}
        if not probes:
            return
        found = self._orthanc.find_instances(sorted(probes))
        for wait in waits:
            if wait.missing and wait.missing[-1] in found:
                self._scan(wait)

    def _count(self, now: float, *, quiet: bool) -> bool:
        """Count again what is out of date: what is new at once, the others when the stream pauses or after a while.

        Nothing but the number that is shown depends on it: that a plan is complete is seen by its probe.
        """
        changed: dict[str, list[str]] = {}
        later = False
        slowest_s = COUNT_SLOWEST_S * max(1.0, len(self._waits) / 10)
        for wait in sorted(self._waits.values(), key=lambda w: w.counted_at):
            if not wait.stale:
                continue
            new = wait.counted_at == float("-inf")
            due = new or now - wait.counted_at > wait.pause_s or (quiet and wait.pause_s <= COUNT_S)
            if not due or (not new and self._monotonic() - now > BUDGET_S):
                later = True
                continue
            before = len(wait.missing)
            self._scan(wait)
            wait.pause_s = min(2 * wait.pause_s, slowest_s) if len(wait.missing) == before else COUNT_S
        for wait in self._waits.values():
            if len(wait.missing) != wait.plan.missing_count:
                changed[wait.plan.id] = wait.missing
                wait.plan = wait.plan.model_copy(update={"missing_count": len(wait.missing)})
        if changed:
            self._store.plans.set_missing(changed)
        return later

    def _scan(self, wait: _Wait) -> None:
        """See which of the missing images are there now; with none missing, the plan is queued."""
        now = self._monotonic()
        if wait.seen_since is not None and now - wait.seen_since > TRUST_S and len(wait.missing) <= 1:
            wait.missing, wait.seen, wait.seen_since = list(dict.fromkeys(wait.plan.image_uids)), {}, None
        found = self._orthanc.find_instances(wait.missing)
        wait.counted_at, wait.stale = now, False
        if found:
            wait.seen_since = now if wait.seen_since is None else wait.seen_since
            wait.seen |= {uid: ids[0] for uid, ids in found.items()}
            wait.missing = [uid for uid in wait.missing if uid not in found]
        if not wait.missing:
            self._complete(wait)

    def _complete(self, wait: _Wait) -> None:
        plan = wait.plan
        if plan.rtstruct_sop_instance_uid not in self._orthanc.find_instances([plan.rtstruct_sop_instance_uid]):
            self._gone(wait)
            return
        foreign = self._foreign_class(wait)
        del self._waits[plan.id]
        if foreign:
            self._store.plans.refuse_waiting(plan.id, not_ct({foreign}).info, arrival_state=ArrivalState.NOT_PLANNED)
        elif self._store.plans.promote(plan.id):
            log.info("plan %s: all %d images are stored", plan.id, len(plan.image_uids))
            self._queued()

    def _foreign_class(self, wait: _Wait) -> str | None:
        """The class of the first image where it is not CT: the references need not say it, or may be wrong.

        The worker looks at every image; this spares it a job that can only be refused.
        """
        try:
            found = self._orthanc.instance_metadata(next(iter(wait.seen.values()))).get("SopClassUid")
        except (NotFoundError, StopIteration):
            return None
        return found if found and found != CTImageStorage else None

    def _gone(self, wait: _Wait) -> None:
        del self._waits[wait.plan.id]
        log.info("plan %s: its RTSTRUCT was deleted while it waited", wait.plan.id)
        self._store.plans.refuse_waiting(
            wait.plan.id,
            deleted(wait.plan.rtstruct_sop_instance_uid),
            arrival_state=ArrivalState.DELETED,
            state=PlanState.CANCELLED,
        )
