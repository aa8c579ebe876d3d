"""Plans and doses that arrive and that a protocol checks: waiting until all they need is stored, then a job.

What waits is in the database (arrivals of kind rtplan and rtdose in state waiting): nothing is lost by a restart. What
an arriving plan is computed on is named by itself: its structure set, and by that one its images. Its dose names the
plan, not the other way round; so for a while a dose is waited for, and where none comes the plan is computed alone.
Where it comes later still, the plan is computed once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from radiarch_contract.errors import ErrorCode, ErrorInfo, InputRefusedError, NotFoundError, RadiarchError, ServiceError
from radiarch_contract.images import Located, same_patient
from radiarch_contract.job import JobInput

from radiarch_plugin.dicom.images import Search, structure_set_fields
from radiarch_plugin.dicom.rtobjects import Kind, ObjectFacts, read_object
from radiarch_plugin.dicom.rtstruct import MAX_BYTES, RtstructFacts, read_rtstruct, require_plannable
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.protocols.matching import Matched, match, starting_from
from radiarch_plugin.requests.check import (
    StoredObjects,
    as_reference,
    check_structure_set,
    check_together,
    doses_of_plan,
    structure_set_of,
)
from radiarch_plugin.store import ArrivalView, NewArrival, NewPlan, Store

from .admission import planned_by, unread

log = logging.getLogger(__name__)

DOSE_WAIT_S = 60.0
"""How long a plan waits for its dose: systems send both, one right after the other, in either order."""
PAUSE_S = 0.5
"""Between two looks at what waits, while instances stream in."""
IDLE_S = 10.0
"""Between two looks where nothing was stored."""
GIVE_UP = timedelta(days=7)
"""Counted while Orthanc runs, anew after each start."""
MAX_PENDING = 200
"""So many are looked at, those that came last: orphans that were sent in thousands cost no more than that."""


class SecondChecks:
    """Kept by the trigger's thread alone.

    Parameters
    ----------
    queued
        Called when jobs have been made.
    dose_wait_s
        How long a plan waits for its dose.
    """

    def __init__(
        self,
        store: Store,
        orthanc: StoredObjects,
        protocols: Callable[[], ProtocolSet],
        queued: Callable[[], None],
        monotonic: Callable[[], float],
        *,
        dose_wait_s: float = DOSE_WAIT_S,
    ) -> None:
        self._store = store
        self._orthanc = orthanc
        self._protocols = protocols
        self._queued = queued
        self._monotonic = monotonic
        self._dose_wait_s = dose_wait_s
        self._looked_at = float("-inf")
        self._anything = True  # until the database was asked
        self._stale = False
        self._facts: dict[tuple[str, str | None], ObjectFacts] = {}
        self._since: dict[tuple[str, str | None], float] = {}
        self._searches: dict[tuple[str, str], Search] = {}

    def wanted(self, kind: Kind) -> bool:
        """Whether a protocol starts when such an object arrives; else it is none of ours."""
        return bool(starting_from(kind, self._protocols()))

    def forget(self) -> None:
        """Begin anew: everything is in the database."""
        self._facts.clear()
        self._searches.clear()
        self._anything, self._looked_at = True, float("-inf")

    def arrived(self, data: bytes | None, kind: Kind, orthanc_id: str, uid: str, calling_ae: str | None) -> None:
        """Record a plan or dose that was stored.

        Parameters
        ----------
        data
            Its file; None where it is larger than what is read.
        """
        try:
            if data is None:
                raise InputRefusedError(
                    f"the object is larger than {MAX_BYTES} bytes",
                    remedy="Export it on a coarser grid.",
                    code=ErrorCode.UNREADABLE_RTPLAN if kind == "rtplan" else ErrorCode.UNREADABLE_RTDOSE,
                )
            facts = read_object(data, kind, calling_ae=calling_ae)
        except InputRefusedError as e:
            refused = unread(e.info, orthanc_id=orthanc_id, sop_instance_uid=uid, calling_ae=calling_ae)
            self._store.arrivals.admit(refused.model_copy(update={"kind": kind}))
            return
        structure_sets = facts.referenced_structure_sets
        named = structure_sets if len(structure_sets) == 1 else facts.referenced_plans
        self._store.arrivals.admit(
            NewArrival(
                sop_instance_uid=facts.sop_instance_uid,
                kind=kind,
                waits_for=named[0] if named else None,
                awaits_dose=True,
                orthanc_id=orthanc_id,
                series_instance_uid=facts.series_instance_uid,
                study_instance_uid=facts.study_instance_uid,
                patient_id=facts.patient_id,
                patient_name=facts.patient_name,
                sha256=facts.sha256,
                calling_ae=calling_ae,
            )
        )
        self._anything, self._looked_at = True, float("-inf")

    def dose_stored(self, data: bytes) -> None:
        """A dose came: where its plan was computed without it, that is done once more."""
        try:
            dose = read_object(data, "rtdose")
        except InputRefusedError:
            return
        if not dose.is_plan_dose or len(dose.referenced_plans) != 1:
            return
        copies = self._store.arrivals.copies(dose.referenced_plans[0], study_instance_uid=dose.study_instance_uid)
        plan = next((p for p in copies if same_patient(p.patient_id, dose.patient_id)), None)
        if plan is None or plan.kind != "rtplan" or plan.plan_id is None:
            return
        if any(i.kind == "reference_rtdose" for i in self._store.plans.get(plan.plan_id).inputs):
            return
        error = ErrorInfo(
            code=ErrorCode.INPUT_CHANGED,
            message="the plan's dose came after it was taken up without one",
            remedy="See the check that takes its place (superseded_by).",
        )
        self._store.arrivals.reopen(plan.seq, error)
        self._anything, self._looked_at = True, float("-inf")

    def look(self, stored: bool) -> bool:
        """Make jobs of what has become complete; True where another look is wanted soon though nothing is stored."""
        now = self._monotonic()
        self._stale |= stored
        if not self._anything or now - self._looked_at < (PAUSE_S if self._stale else IDLE_S):
            return self._anything and self._stale
        self._looked_at, self._stale = now, False
        pending = self._store.arrivals.pending(MAX_PENDING)
        self._anything = bool(pending)
        self._since = {_content(p): self._since.get(_content(p), now) for p in pending}
        if not pending:
            self._facts.clear()
            self._searches.clear()
            return False
        found = self._orthanc.find_instances([p.waits_for for p in pending if p.waits_for])
        soon = False
        for arrival in pending:
            if arrival.waits_for and arrival.waits_for not in found:
                self._check_age(arrival)
                continue
            soon |= self._one(arrival)
        return soon

    def _one(self, arrival: ArrivalView) -> bool:
        """Look at one whose structure set is there, or may be; True where only time is waited for."""
        try:
            outcome = self._outcome(arrival)
        except ServiceError:
            raise
        except NotFoundError:
            self._store.arrivals.mark_deleted(arrival.seq)
            return False
        except RadiarchError as e:
            outcome = e.info
        except Exception as e:
            log.exception("%s %s: cannot be looked at", arrival.kind, arrival.sop_instance_uid)
            outcome = ErrorInfo(
                code=ErrorCode.INTERNAL,
                message=f"an unexpected {type(e).__name__} came up when it was looked at",
                remedy="See Orthanc's log and report it.",
            )
        if outcome is None:
            return True
        if isinstance(outcome, int):
            self._check_age(arrival)
            return False
        plan_id = self._store.arrivals.begin(arrival.seq, arrival.sha256, outcome)
        said = outcome.code if isinstance(outcome, ErrorInfo) else f"plan {plan_id}"
        log.info("%s %s: %s", arrival.kind, arrival.sop_instance_uid, said)
        if plan_id is not None:
            self._queued()
        return False

    def _outcome(self, arrival: ArrivalView) -> NewPlan | ErrorInfo | int | None:
        """The job, or why there is none; a number: so many objects are missing; None: its dose is waited for."""
        thing = self._read(arrival)
        uid = self._structure_set(arrival, thing)
        if uid is None:
            return 1
        search = self._searches.get((uid, thing.patient_id))
        if search is None:
            search = self._searches[(uid, thing.patient_id)] = Search.of(self._structures(uid, thing))
        if (located := search.look(self._orthanc)).missing:
            return self._missing(arrival, uid, located)
        doses: list[ObjectFacts] = []
        if arrival.kind == "rtplan":
            doses = doses_of_plan(thing, self._orthanc, self._store.plans.is_recalculated)
            waits = arrival.awaits_dose and self._waited_s(arrival) < self._dose_wait_s
            if not doses and waits:
                return None
        facts = self._structures(uid, thing)  # as it is now
        if facts.images != search.wanted:
            self._searches.pop((uid, thing.patient_id))
            return 1
        return self._job(thing, doses, facts)

    def _job(self, thing: ObjectFacts, doses: Sequence[ObjectFacts], facts: RtstructFacts) -> NewPlan | ErrorInfo:
        require_plannable(facts)
        if thing.kind == "rtdose" and not thing.is_whole_dose:
            raise InputRefusedError(
                f"the dose has Dose Summation Type {thing.dose_summation or '(none)'} and Dose Type "
                f"{thing.dose_type or '(none)'}; only doses of whole plans are judged without being asked",
                remedy="Ask for its evaluation, if it is wanted (`radiarch evaluate`, POST /evaluations).",
                code=ErrorCode.UNSUPPORTED_DOSE,
            )
        check_structure_set(facts, [thing, *doses[:1]])
        for dose in doses[:1]:
            check_together(thing, dose)
        found = match(self._protocols(), facts, thing)
        if not isinstance(found, Matched):
            return found.error.info
        protocol = found.protocol
        inputs = [JobInput(kind=thing.kind, sop_instance_uid=thing.sop_instance_uid, sha256=thing.sha256)]
        if doses:
            inputs.append(as_reference(doses))
        return planned_by(found, facts).model_copy(
            update={
                **structure_set_fields(facts, self._orthanc),  # it may have to wait until its series is whole
                "inputs": tuple(inputs),
                "request": {"protocol_id": protocol.id, f"{thing.kind}_sop_instance_uid": thing.sop_instance_uid},
                "requested_by": thing.calling_ae,
                "plan_label": protocol.workflow.upper(),
            }
        )

    def _read(self, arrival: ArrivalView) -> ObjectFacts:
        key = _content(arrival)
        if key not in self._facts:
            kind: Kind = "rtplan" if arrival.kind == "rtplan" else "rtdose"
            data = self._orthanc.instance_file(arrival.orthanc_id)
            self._facts[key] = read_object(data, kind, calling_ae=arrival.calling_ae)
        return self._facts[key]

    def _structure_set(self, arrival: ArrivalView, thing: ObjectFacts) -> str | None:
        """UID of its structure set where that is stored."""
        uid = structure_set_of(thing, self._orthanc)
        with suppress(NotFoundError):
            self._find(uid, thing)
            return uid
        if arrival.waits_for != uid:
            self._store.arrivals.wait(arrival.seq, waits_for=uid, referenced=1, missing=[uid])
        return None

    def _find(self, uid: str, thing: ObjectFacts) -> str:
        """Orthanc's id of the structure set of the same patient."""
        return self._orthanc.find_instance(
            uid, patient_id=thing.patient_id, study_instance_uid=thing.study_instance_uid
        )

    def _structures(self, uid: str, thing: ObjectFacts) -> RtstructFacts:
        return read_rtstruct(self._orthanc.instance_file(self._find(uid, thing)))

    def _missing(self, arrival: ArrivalView, uid: str, located: Located) -> int:
        missing, wanted = list(located.missing), located.wanted
        if (arrival.referenced_count, arrival.missing_count) != (wanted, len(missing)):
            self._store.arrivals.wait(arrival.seq, waits_for=uid, referenced=wanted, missing=missing)
        return len(missing)

    def _waited_s(self, arrival: ArrivalView) -> float:
        """How long this process has known of a content that waits: the wall clock may be set at any time."""
        now = self._monotonic()
        return now - self._since.get(_content(arrival), now)

    def _check_age(self, arrival: ArrivalView) -> None:
        """Give up what has waited for too long."""
        if self._waited_s(arrival) > GIVE_UP.total_seconds():
            error = InputRefusedError(
                f"what it is to be checked with ({arrival.waits_for or 'its structure set'} and its images) has not "
                f"come in {GIVE_UP.days} days",
                remedy="Send the missing objects, then this one again.",
                code=ErrorCode.MISSING_INSTANCES,
            )
            self._store.arrivals.begin(arrival.seq, arrival.sha256, error.info)


def _content(arrival: ArrivalView) -> tuple[str, str | None]:
    return arrival.sop_instance_uid, arrival.sha256
