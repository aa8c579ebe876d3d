"""Whether what a plan is made of is still in Orthanc; a plan whose inputs were deleted is cancelled.

Orthanc's events only say when to look: a look asks for everything that a plan needs, so that none is missed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from radiarch_contract.errors import ErrorCode, ErrorInfo, ServiceError
from radiarch_contract.images import same_patient
from radiarch_contract.states import PlanState

from radiarch_plugin.store import PlanInputs, Store

log = logging.getLogger(__name__)

GRACE_S = 1.0
"""What is gone for so long was deleted; what is overwritten may be away for a moment."""
RUNNING_S = 10.0
"""Between two checks of running plans without an event: another Orthanc on the same database may delete too."""
QUEUED_S = 60.0
"""The same for those that wait for a worker; images are looked for when one begins."""
MAX_TOLD = 20


class Orthanc(Protocol):
    def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[str, ...]]: ...
    def instance_patient(self, orthanc_id: str) -> str: ...


@dataclass(frozen=True)
class Gone:
    """Inputs that are not in Orthanc; ``sure`` where they were not for some time."""

    error: ErrorInfo
    sop_instance_uids: tuple[str, ...]
    sure: bool


class Inputs:
    """Safe in any thread.

    Parameters
    ----------
    wake
        Called where something is seen to be gone: whoever decides should look.
    """

    def __init__(
        self, store: Store, orthanc: Orthanc, monotonic: Callable[[], float], wake: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._orthanc = orthanc
        self._monotonic = monotonic
        self._wake = wake
        self._guard = threading.Lock()
        self._gone_since: dict[str, float] = {}

    def gone(self, plan_id: str, *, all_images: bool = True) -> Gone | None:
        """What of a plan's inputs is gone; None where all are there, or the plan has ended.

        Parameters
        ----------
        all_images
            False: the first one stands for all.

        Raises
        ------
        ServiceError
        """
        inputs = self._store.attempts.inputs(plan_id)
        found = None if inputs is None else self._look(inputs, None if all_images else 1)
        with self._guard:
            if found is None:
                self._gone_since.pop(plan_id, None)
                return None
            since = self._gone_since.setdefault(plan_id, self._monotonic())
        error, uids = found
        return Gone(error, uids, sure=self._monotonic() - since >= GRACE_S)

    def require(self, plan_id: str) -> None:
        """Raise `ServiceError` where inputs are gone: nothing is stored while that is being looked into."""
        if (gone := self.gone(plan_id, all_images=False)) is not None:
            self._wake()
            raise ServiceError(
                f"{gone.error.message}; nothing of the plan is stored",
                remedy="Ask again in a moment: the plan is cancelled, or what was deleted is there again.",
                code=ErrorCode.NOT_READY,
            )

    def cancel(self, plan_id: str, gone: Gone) -> None:
        """End a plan without its inputs."""
        if self._store.attempts.cancel_deleted(plan_id, gone.error, gone.sop_instance_uids):
            log.warning("plan %s: cancelled: %s", plan_id, gone.error.message)

    def _look(self, inputs: PlanInputs, images_at_most: int | None) -> tuple[ErrorInfo, tuple[str, ...]] | None:
        objects = (inputs.rtstruct_sop_instance_uid, *inputs.object_uids)
        asked = inputs.image_uids[:images_at_most]
        found = self._orthanc.find_instances([*objects, *asked])
        # of images only the first: a copy of one is a copy of all
        of_patient = [*objects, *asked[:1]]
        found |= {uid: self._of_patient(found.get(uid, ()), inputs.patient_id) for uid in of_patient}
        gone = tuple(uid for uid in objects if not found.get(uid))
        images = tuple(uid for uid in asked if not found.get(uid))
        if gone:
            what = "the structure set" if inputs.rtstruct_sop_instance_uid in gone else "the object"
            return _error(ErrorCode.INPUT_CHANGED, f"{what} {gone[0]} was deleted", gone), gone
        if images:
            text = f"{len(images)} of the {len(inputs.image_uids)} images of the structure set were deleted"
            return _error(ErrorCode.MISSING_INSTANCES, text, images), images
        return None

    def _of_patient(self, ids: Sequence[str], patient_id: str) -> tuple[str, ...]:
        return tuple(i for i in ids if same_patient(self._orthanc.instance_patient(i), patient_id))


class InputWatch:
    """Kept by the trigger's thread alone, but for ``check_now``, which any thread may set.

    Parameters
    ----------
    changed
        Called when plans were cancelled: to wake the reconcile loop, which ends their processes.
    """

    def __init__(
        self,
        store: Store,
        orthanc: Orthanc,
        inputs: Inputs,
        changed: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._orthanc = orthanc
        self._inputs = inputs
        self._changed = changed
        self._monotonic = monotonic
        self._running_at = self._queued_at = float("-inf")
        self._unsure_until: float | None = None
        self.check_now = False

    def look(self) -> bool:
        """Cancel plans whose inputs were deleted; True where another look is wanted soon."""
        now = self._monotonic()
        told = self.check_now
        unsure = self._unsure_until is not None and now >= self._unsure_until
        if not (told or unsure or now - self._running_at > RUNNING_S):
            return self._unsure_until is not None
        self.check_now, self._running_at, self._unsure_until = False, now, None
        active = self._store.attempts.live()
        suspects = [plan_id for plan_id, state, _ in active if state is PlanState.RUNNING]
        if told or unsure or now - self._queued_at > QUEUED_S:
            self._queued_at = now
            stored = self._orthanc.find_instances(sorted({uid for _, _, uid in active}))
            suspects += [i for i, state, uid in active if state is not PlanState.RUNNING and uid not in stored]
        cancelled = False
        for plan_id in suspects:
            gone = self._inputs.gone(plan_id)
            if gone is not None and gone.sure:
                self._inputs.cancel(plan_id, gone)
                cancelled = True
            elif gone is not None:
                self._unsure_until = now + GRACE_S
        if cancelled:
            self._changed()
        return self._unsure_until is not None


def _error(code: ErrorCode, what: str, uids: Sequence[str]) -> ErrorInfo:
    return ErrorInfo(
        code=code,
        message=f"{what} from Orthanc before the plan was ready",
        remedy="Send what was deleted again, the structure set last, where it is still to be planned.",
        details={"sop_instance_uids": list(uids[:MAX_TOLD]), "deleted": len(uids)},
    )
