"""Seeing what arrives in Orthanc: its change log is read from where we were, so that nothing is missed.

Callbacks only wake the thread up. What waits for images is looked after by `waiting`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from pydicom.uid import CTImageStorage, RTStructureSetStorage
from radiarch_contract.errors import ErrorCode, ErrorInfo, NotFoundError, RadiarchError, ServiceError
from radiarch_contract.places import Place
from sqlalchemy.exc import DBAPIError

from radiarch_plugin.dicom.rtobjects import KIND_OF_CLASS, Kind
from radiarch_plugin.dicom.rtstruct import MAX_BYTES
from radiarch_plugin.jobs.inputs import Inputs, InputWatch
from radiarch_plugin.jobs.loop import Loop
from radiarch_plugin.protocols.loaded import ProtocolSet
from radiarch_plugin.requests.check import StoredObjects
from radiarch_plugin.store import NewArrival, Ownership, Store

from .admission import consider, too_large, unread
from .growth import GrowthWatch
from .reading import LARGE_BYTES, Reading, ReadingThread
from .second_checks import DOSE_WAIT_S, SecondChecks
from .waiting import WaitingRoom

log = logging.getLogger(__name__)

CURSOR_FACT = "orthanc_changes"
INTERVAL_S = 0.15
"""Between two looks while instances stream in: a look costs the same for one instance as for twenty."""
PAGE = 200
_SAVE_S = 2.0
_IDLE_S = 5.0
_STANDBY_S = 2.0
_TRIES = 5


class Orthanc(StoredObjects, Protocol):
    """What the trigger asks of Orthanc; `orthanc.client.OrthancClient` is one."""

    def system(self) -> dict[str, Any]: ...
    def changes(self, since: int, limit: int) -> dict[str, Any]: ...
    def last_change(self) -> int: ...
    def instance_metadata(self, orthanc_id: str) -> dict[str, str]: ...
    def instance_tags(self, orthanc_id: str) -> dict[str, Any]: ...
    def instance_patient(self, orthanc_id: str) -> str: ...
    def instance_series(self, orthanc_id: str) -> str: ...
    def series_instances(self, series_id: str) -> frozenset[str]: ...


class Trigger(Loop):
    """One for each plugin; only the owner of the database acts.

    Parameters
    ----------
    protocols
        Those in use.
    queued
        Called when plans have become `queued`, or were cancelled: to wake the reconcile loop.
    inputs
        The one that the reconcile loop asks too.
    first_cursor
        Where Orthanc's change log was when Orthanc started. Used once in a database's life: what
        was stored before Radiarch was there is not planned by itself.
    """

    def __init__(
        self,
        store: Store,
        orthanc: Orthanc,
        ownership: Ownership,
        protocols: Callable[[], ProtocolSet],
        queued: Callable[[], None],
        *,
        first_cursor: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        dose_wait_s: float = DOSE_WAIT_S,
        inputs: Inputs | None = None,
    ) -> None:
        super().__init__("trigger")
        self._store = store
        self._orthanc = orthanc
        self._ownership = ownership
        self._protocols = protocols
        self._first_cursor = first_cursor
        self._monotonic = monotonic
        self._cursor: int | None = None
        self._saved: tuple[int, float] = (-1, 0.0)
        self._tries: tuple[int, int] = (-1, 0)
        self._reading = ReadingThread(self.wake)
        self._room = WaitingRoom(store, orthanc, queued, monotonic)
        inputs = inputs or Inputs(store, orthanc, monotonic)
        self._watch = InputWatch(store, orthanc, inputs, queued, monotonic)
        self._growth = GrowthWatch(store, orthanc, queued, monotonic)
        self._checks = SecondChecks(store, orthanc, protocols, queued, monotonic, dose_wait_s=dose_wait_s)

    def deleted(self) -> None:
        """Something was deleted from Orthanc: check whether a plan has lost its inputs. For callbacks."""
        self._room.check_structure_sets = True
        self.look_at_inputs()

    def look_at_inputs(self) -> None:
        """Look now whether the inputs of plans that have begun are still there. For any thread."""
        self._watch.check_now = True
        self.wake()

    def failed(self) -> None:
        self._room.forget()
        self._checks.forget()

    def turn(self) -> float:
        if not self._ownership.acquire():
            self._cursor = None  # the owner moves it
            self._reading.forget()
            self._room.forget()
            self._checks.forget()
            self._growth.forget()
            return _STANDBY_S
        if self._cursor is None:
            self._cursor = self._where_we_were()
        began = self._monotonic()
        self._take_read()
        stored = self._read_changes()
        soon = self._room.look(stored) | self._checks.look(stored) | self._watch.look() | self._growth.look()
        self._save(force=False)
        # A stream of instances is looked at in portions.
        self.pause(max(0.0, INTERVAL_S - (self._monotonic() - began)) if stored else 0.0)
        return INTERVAL_S if soon else _IDLE_S

    def stop(self, timeout_s: float = 5.0) -> None:
        super().stop(timeout_s)
        if self._cursor is not None:
            self._save(force=True)
        self._reading.stop(timeout_s)

    # -- the change log -----------------------------------------------------------------------------------------

    def _where_we_were(self) -> int:
        last = self._orthanc.last_change()
        kept = self._store.journal.get_fact(CURSOR_FACT)
        if kept is None:
            cursor = last if self._first_cursor is None else min(self._first_cursor, last)
            self._store.journal.set_fact(CURSOR_FACT, cursor)
            return cursor
        if kept > last:
            log.warning("Orthanc's change log is shorter than what was read of it: another index; reading all of it")
            return 0
        return int(kept)

    def _read_changes(self) -> bool:
        """Work off what was stored since; True where there was something."""
        assert self._cursor is not None
        any_stored = False
        looked = self._monotonic()
        while not self.stopping:
            page = self._orthanc.changes(self._cursor, PAGE)
            for change in page["Changes"]:
                if change["ChangeType"] == "NewInstance":
                    any_stored = True
                    self._instance(change["ID"], change["Seq"])
                self._cursor = int(change["Seq"])
                if self.stopping:
                    break
            if page["Done"]:
                break
            self._save(force=False)
            if self._monotonic() - looked > INTERVAL_S:  # others wait while a long log is read
                self._room.look(any_stored)
                self._checks.look(any_stored)
                looked = self._monotonic()
        return any_stored

    def _save(self, *, force: bool) -> None:
        """Keep the cursor; not at every turn: what is read twice is known already."""
        now = self._monotonic()
        if self._cursor is None:
            return
        cursor = self._reading.before(self._cursor)
        if cursor != self._saved[0] and (force or now - self._saved[1] > _SAVE_S):
            self._store.journal.set_fact(CURSOR_FACT, cursor)
            self._saved = (cursor, now)

    # -- one instance -------------------------------------------------------------------------------------------

    def _take_read(self) -> None:
        """Admit the large structure sets that have been read."""
        for reading in self._reading.finished():
            try:
                self._guarded(reading.orthanc_id, reading.seq, partial(self._admit_read, reading))
            except ServiceError:
                self._reading.again(reading)
                raise
            self._reading.forget(reading)
            self._room.check_structure_sets = True  # it may have been deleted while it was read

    def _instance(self, orthanc_id: str, seq: int) -> None:
        self._guarded(orthanc_id, seq, lambda: self._look_at(orthanc_id, seq))

    def _look_at(self, orthanc_id: str, seq: int) -> None:
        metadata = self._orthanc.instance_metadata(orthanc_id)
        sop_class, calling_ae = metadata.get("SopClassUid", ""), metadata.get("RemoteAET") or None
        if sop_class == RTStructureSetStorage:
            self._rtstruct(orthanc_id, seq, calling_ae)
        elif sop_class == CTImageStorage:
            self._growth.stored(orthanc_id)
        elif (kind := KIND_OF_CLASS.get(sop_class)) and (self._checks.wanted(kind) or self._dose_wanted(kind)):
            self._plan_or_dose(orthanc_id, kind, calling_ae)

    def _guarded(self, orthanc_id: str, seq: int, work: Callable[[], None]) -> None:
        """Do what one instance asks for; what is wrong with it, or with us, becomes its record."""
        try:
            work()
        except NotFoundError:
            return  # deleted since
        except ServiceError as e:
            if not self._give_up(seq):
                raise
            self._admit_unread(orthanc_id, e.info)
        except DBAPIError:
            raise
        except Exception as e:
            log.exception("instance %s: cannot be looked at", orthanc_id)
            self._admit_unread(
                orthanc_id,
                ErrorInfo(
                    code=ErrorCode.INTERNAL,
                    message=f"an unexpected {type(e).__name__} came up when the object was looked at",
                    remedy=f"See Orthanc's log and report it; ask by hand for {Place.NEW_PLAN}.",
                ),
            )

    def _rtstruct(self, orthanc_id: str, seq: int, calling_ae: str | None) -> None:
        tags = self._orthanc.instance_tags(orthanc_id)
        uid = str(tags["MainDicomTags"].get("SOPInstanceUID", "")).strip(" \0")
        if self._store.plans.plan_of_output(uid) is not None:
            return  # a result of ours
        size = int(tags.get("FileSize", 0))

        def read() -> NewArrival:
            if size > MAX_BYTES:
                return unread(too_large(size), orthanc_id=orthanc_id, sop_instance_uid=uid, calling_ae=calling_ae)
            data, protocols = self._orthanc.instance_file(orthanc_id), self._protocols()
            return consider(data, protocols, orthanc_id=orthanc_id, sop_instance_uid=uid, calling_ae=calling_ae)

        if size > LARGE_BYTES or self._reading.holds(orthanc_id):
            self._reading.submit(Reading(seq, orthanc_id, read))
        else:
            self._admit(read())

    def _admit_read(self, reading: Reading) -> None:
        self._admit(reading.result())

    def _admit(self, new: NewArrival) -> None:
        admission = self._store.arrivals.admit(new)
        self._room.refresh_now()
        if new.error is not None:
            log.info("RTSTRUCT %s: not planned: %s", new.sop_instance_uid, new.error.code)
        elif admission.plan_id is not None:
            log.info("RTSTRUCT %s: plan %s", new.sop_instance_uid, admission.plan_id)

    def _plan_or_dose(self, orthanc_id: str, kind: Kind, calling_ae: str | None) -> None:
        tags = self._orthanc.instance_tags(orthanc_id)
        uid = str(tags["MainDicomTags"].get("SOPInstanceUID", "")).strip(" \0")
        if self._store.plans.plan_of_output(uid) is not None:
            return  # a result of ours
        large = int(tags.get("FileSize", 0)) > MAX_BYTES
        data = None if large else self._orthanc.instance_file(orthanc_id)
        if self._checks.wanted(kind):
            self._checks.arrived(data, kind, orthanc_id, uid, calling_ae)
        if data is not None and self._dose_wanted(kind):
            self._checks.dose_stored(data)

    def _dose_wanted(self, kind: Kind) -> bool:
        """Whether a dose is looked at for the plan that it is of."""
        return kind == "rtdose" and self._checks.wanted("rtplan")

    def _give_up(self, seq: int) -> bool:
        """True where Orthanc answers, but will not give this one instance: the others cannot wait for it for ever."""
        tries = self._tries[1] + 1 if self._tries[0] == seq else 1
        self._tries = (seq, tries)
        if tries < _TRIES:
            return False
        self._orthanc.system()
        return True

    def _admit_unread(self, orthanc_id: str, error: ErrorInfo) -> None:
        try:
            uid = str(self._orthanc.instance_tags(orthanc_id)["MainDicomTags"].get("SOPInstanceUID", orthanc_id))
        except (RadiarchError, KeyError):
            uid = orthanc_id
        log.error("instance %s: %s", orthanc_id, error.message)
        self._store.arrivals.admit(
            unread(error, orthanc_id=orthanc_id, sop_instance_uid=uid.strip(" \0"), calling_ae=None)
        )
