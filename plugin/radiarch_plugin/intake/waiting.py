"""Plans that wait for images: seeing cheaply, while thousands of instances stream in, when the last one has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydicom.uid import CTImageStorage
from radiarch_contract.errors import ErrorInfo, InputRefusedError, NotFoundError
from radiarch_contract.images import Located, WantedImages, same_patient
from radiarch_contract.states import ArrivalState, PlanState

from radiarch_plugin.dicom import images
from radiarch_plugin.dicom.images import Search
from radiarch_plugin.dicom.rtstruct import not_ct
from radiarch_plugin.orthanc.client import StoredInstance
from radiarch_plugin.store import Store, WaitingPlan

from .admission import deleted

log = logging.getLogger(__name__)

COUNT_S = 1.0
"""How often the missing images of one plan are counted while they stream in."""
COUNT_SLOWEST_S = 2.0
"""How often at least where nothing of a plan comes, for each ten plans that wait."""
RECHECK_S = 60.0
"""How often everything is checked without an event: images may have been deleted."""
REFRESH_S = 0.5
"""How soon a plan that another thread or another Orthanc made is waited for."""
BUDGET_S = 0.3
"""For counting, in one look: complete plans must not wait for it."""
TRUST_S = 10.0
"""An image seen longer ago is looked for once more before a plan is queued."""
SETTLING_S = 0.5
"""Between two looks at a series that may not be whole, though nothing is missing."""


class Orthanc(images.Orthanc, Protocol):
    def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, ...]]: ...
    def instance_metadata(self, orthanc_id: str) -> dict[str, str]: ...


@dataclass
class _Wait:
    """One waiting plan.

    ``missing`` keeps the order of the structure set's references; its last one is the probe: where images are sent in
    order, it comes last, and one look for one UID tells that all are there. ``grown`` says how many instances the
    series had, and since when, once nothing is missing.
    """

    plan: WaitingPlan
    search: Search
    missing: list[str]
    counted_at: float = float("-inf")
    pause_s: float = COUNT_S
    stale: bool = True
    seen_since: float | None = None
    grown: tuple[int, float] | None = None
    message: str = ""

    @classmethod
    def of(cls, plan: WaitingPlan) -> _Wait:
        wanted = WantedImages(
            dict.fromkeys(plan.image_uids, ""),
            plan.image_study_uid,
            plan.image_series_uid,
            plan.frame_of_reference_uid or "",
        )
        search = Search(wanted, plan.patient_id, plan.study_instance_uid)
        return cls(plan, search, list(wanted.images), message=plan.message)

    def restart(self) -> None:
        """Look for all images anew."""
        self.missing, self.seen_since, self.stale, self.grown = list(self.search.wanted.images), None, True, None


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
                self._waits.setdefault(plan.id, _Wait.of(plan))

    def _recheck(self, now: float) -> None:
        """Structure sets may be gone, and images too."""
        self.check_structure_sets = False
        self._rechecked_at = now
        stored = self._orthanc.find_stored(sorted({w.plan.rtstruct_sop_instance_uid for w in self._waits.values()}))
        for wait in list(self._waits.values()):
            if self._is_stored(wait.plan, stored):
                wait.restart()
            else:
                self._gone(wait)

    def _is_stored(self, plan: WaitingPlan, stored: Mapping[str, Sequence[StoredInstance]]) -> bool:
        """Whether a plan's structure set is among what was found; another patient's copy is another one."""
        for instance in stored.get(plan.rtstruct_sop_instance_uid, ()):
            try:
                if same_patient(self._orthanc.series_key(instance.series_id).patient_id, plan.patient_id):
                    return True
            except NotFoundError:
                continue
        return False

    def _probe(self, waits: list[_Wait]) -> None:
        """Look for the last missing image of each; only where it is there, for all others."""
        probes = {w.missing[-1] for w in waits if w.missing}
        if not probes:
            return
        found = self._orthanc.find_stored(sorted(probes))
        for wait in waits:
            if wait.missing and wait.search.may_be(self._orthanc, found.get(wait.missing[-1], ())):
                self._scan(wait)

    def _count(self, now: float, *, quiet: bool) -> bool:
        """Count again what is out of date: what is new at once, the others when the stream pauses or after a while.

        Nothing but the number that is shown depends on it: that a plan is complete is seen by its probe. Whether a
        series that may have more images than are named is whole is looked at here too.
        """
        later = False
        slowest_s = COUNT_SLOWEST_S * max(1.0, len(self._waits) / 10)
        for wait in sorted(self._waits.values(), key=lambda w: w.counted_at):
            if not wait.stale:
                continue
            new = wait.counted_at == float("-inf")
            due = new or now - wait.counted_at > wait.pause_s or (quiet and wait.pause_s <= COUNT_S)
            if wait.grown is not None:
                due = now - wait.counted_at >= SETTLING_S
            if not due or (not new and self._monotonic() - now > BUDGET_S):
                later = True
                continue
            before = len(wait.missing)
            self._scan(wait)
            wait.pause_s = min(2 * wait.pause_s, slowest_s) if len(wait.missing) == before else COUNT_S
            later |= wait.grown is not None and wait.plan.id in self._waits
        self._tell()
        return later

    def _tell(self) -> None:
        """Keep what is missing where it has changed."""
        changed = {
            w.plan.id: w
            for w in self._waits.values()
            if (len(w.missing), w.message) != (w.plan.missing_count, w.plan.message)
        }
        if not changed:
            return
        self._store.plans.set_missing(
            {i: w.missing for i, w in changed.items()}, {i: w.message for i, w in changed.items()}
        )
        for wait in changed.values():
            told = {"missing_count": len(wait.missing), "message": wait.message}
            wait.plan = wait.plan.model_copy(update=told)

    def _scan(self, wait: _Wait) -> None:
        """See which of the missing images are there now; with none missing, the plan is queued when they are all."""
        now = self._monotonic()
        if wait.seen_since is not None and now - wait.seen_since > TRUST_S and len(wait.missing) <= 1:
            wait.restart()
        before = len(wait.missing)
        anew = before in (0, len(wait.search.wanted.images))
        located = wait.search.look(self._orthanc, None if anew else wait.missing)
        if not located.missing and not anew:
            located = wait.search.look(self._orthanc)  # of those that came first, copies may have come since
        wait.counted_at, wait.stale = now, False
        wait.missing = list(located.missing)
        wait.message = images.not_stored_text(located)
        if wait.missing:
            wait.grown = None
            if len(wait.missing) < before and wait.seen_since is None:
                wait.seen_since = now
        else:
            self._complete(wait, located, now)

    def _complete(self, wait: _Wait, located: Located, now: float) -> None:
        plan = wait.plan
        if not self._is_stored(plan, self._orthanc.find_stored([plan.rtstruct_sop_instance_uid])):
            self._gone(wait)
            return
        try:
            example = wait.search.chosen(self._orthanc, located)
            found = images.extent(self._orthanc, example.series_id, wait.search.wanted)
            sop_class = self._orthanc.instance_metadata(example.orthanc_id).get("SopClassUid")
        except InputRefusedError as e:
            self._refuse(wait, e.info)
            return
        except NotFoundError:
            wait.restart()  # deleted since
            return
        if sop_class and sop_class != CTImageStorage:
            # the references need not say it, or may be wrong; the worker looks at every image, this spares it a job
            self._refuse(wait, not_ct({sop_class}).info)
        elif self._settled(wait, found, now):
            del self._waits[plan.id]
            if self._store.plans.promote(plan.id, example.series_id, found.count):
                log.info("plan %s: all %d images are stored", plan.id, len(plan.image_uids))
                self._queued()

    def _settled(self, wait: _Wait, found: images.Extent, now: float) -> bool:
        """Whether the series is whole, as far as can be known: nothing of it has come for long enough."""
        if wait.grown is None or wait.grown[0] != found.count:
            wait.grown = (found.count, now)
        if now - wait.grown[1] >= found.settle_s:
            return True
        wait.message = (
            f"All {len(wait.search.wanted.images)} images that the structure set names are stored, {found.count} of "
            f"their series; waiting until nothing more of it has come for {found.settle_s:g} s."
        )
        wait.stale = True
        return False

    def _refuse(self, wait: _Wait, error: ErrorInfo) -> None:
        del self._waits[wait.plan.id]
        log.info("plan %s: not planned: %s", wait.plan.id, error.code)
        self._store.plans.refuse_waiting(wait.plan.id, error, arrival_state=ArrivalState.NOT_PLANNED)

    def _gone(self, wait: _Wait) -> None:
        del self._waits[wait.plan.id]
        log.info("plan %s: its RTSTRUCT was deleted while it waited", wait.plan.id)
        self._store.plans.refuse_waiting(
            wait.plan.id,
            deleted(wait.plan.rtstruct_sop_instance_uid),
            arrival_state=ArrivalState.DELETED,
            state=PlanState.CANCELLED,
        )
