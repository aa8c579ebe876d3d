"""Plans whose CT series has more images now than when they were queued: made anew, or marked.

A structure set may name only some images of its series (`images`), so that a plan may begin before the last of them has
come. What came after that is seen in Orthanc's change log, which loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from radiarch_contract.errors import ErrorCode, ErrorInfo, NotFoundError, RadiarchError, ServiceError

from radiarch_plugin.dicom import images
from radiarch_plugin.dicom.images import structure_set_fields
from radiarch_plugin.dicom.rtstruct import RtstructFacts, read_rtstruct
from radiarch_plugin.requests.check import StoredObjects
from radiarch_plugin.store import NewPlan, PlanView, Store

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Between two looks while images stream in."""


class Orthanc(StoredObjects, Protocol):
    def instance_series(self, orthanc_id: str) -> str: ...
    def series_instances(self, series_id: str) -> frozenset[str]: ...


class GrowthWatch:
    """Kept by the trigger's thread alone.

    Parameters
    ----------
    changed
        Called when plans were cancelled: to wake the reconcile loop, which ends their processes.
    """

    def __init__(
        self,
        store: Store,
        orthanc: Orthanc,
        changed: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._orthanc = orthanc
        self._changed = changed
        self._monotonic = monotonic
        self._touched: set[str] | None = None  # until the database was asked
        self._arrived: set[str] = set()
        self._looked_at = float("-inf")

    def stored(self, orthanc_id: str) -> None:
        """A CT image was stored; of which series is asked at the next look, once for all that came together."""
        self._arrived.add(orthanc_id)

    def forget(self) -> None:
        """Begin anew: what came meanwhile is found by the plans that have not ended."""
        self._touched = None

    def _series(self) -> set[str]:
        if self._touched is None:
            self._touched = self._store.plans.live_image_series()
        return self._touched

    def look(self) -> bool:
        """See to the plans of series that have grown; True where another look is wanted soon."""
        now = self._monotonic()
        touched = self._series()
        if not touched and not self._arrived:
            return False
        if now - self._looked_at < LOOK_S:
            return True
        self._looked_at = now
        self._touch(touched)
        cancelled = False
        for plan, count in self._store.plans.of_image_series(touched):
            try:
                cancelled |= self._see_to(plan, count)
            except ServiceError:
                raise
            except RadiarchError as e:  # its structure set is gone or has another content: others see to that
                log.info("plan %s: its series was not looked at: %s", plan.id, e.code)
        touched.clear()
        if cancelled:
            self._changed()
        return False

    def _touch(self, series: set[str]) -> None:
        """Add the series of what has arrived."""
        while self._arrived:
            orthanc_id = next(iter(self._arrived))
            try:
                series_id = self._orthanc.instance_series(orthanc_id)
                together = self._orthanc.series_instances(series_id)
            except NotFoundError:  # deleted again
                self._arrived.discard(orthanc_id)
                continue
            series.add(series_id)
            self._arrived -= together | {orthanc_id}

    def _see_to(self, plan: PlanView, count: int) -> bool:
        facts = self._structure_set(plan)
        search = images.Search.of(facts)
        located = search.look(self._orthanc)
        if located.missing or facts.problem is not None:
            return False
        found = images.extent(self._orthanc, search.chosen(self._orthanc, located).series_id, facts.images)
        if found.count <= count:
            return False
        error = ErrorInfo(
            code=ErrorCode.INPUT_CHANGED,
            message=f"the CT series has {found.count} images now, it had {count} when the plan was queued",
            remedy="See the plan that takes its place (superseded_by); where there is none, ask again.",
        )
        new = _again(plan, facts)
        made = self._store.plans.outgrown(plan.id, new, error)
        log.info("plan %s: its CT series has grown from %d to %d images: plan %s", plan.id, count, found.count, made)
        return True

    def _structure_set(self, plan: PlanView) -> RtstructFacts:
        orthanc_id = self._orthanc.find_instance(
            plan.rtstruct_sop_instance_uid,
            patient_id=plan.patient_id,
            study_instance_uid=plan.study_instance_uid,
        )
        facts = read_rtstruct(self._orthanc.instance_file(orthanc_id))
        if facts.sha256 != plan.rtstruct_sha256:
            raise NotFoundError("the structure set has another content", remedy="See the plan of that.")
        return facts


def _again(plan: PlanView, facts: RtstructFacts) -> NewPlan:
    """The same plan once more; it waits until the series is whole."""
    fields = {**structure_set_fields(facts), "goals": plan.goal_texts}
    kept = {name: getattr(plan, name) for name in NewPlan.model_fields if name in PlanView.model_fields}
    return NewPlan(**kept | fields)
