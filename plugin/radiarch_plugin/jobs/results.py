"""The one way for results into Orthanc, and out of it again; which attempt counts is the database's to say.

Workers hand their results to the plugin, which stores them: a worker that was thought lost and comes back finds that
its attempt no longer counts, and can neither overwrite nor delete what a later one has stored. Storing and removing of
one plan's results exclude each other. A plan that ends while a result of it is being stored is seen afterwards, and the
result is taken away again before anything else of the plan can be stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO

import pydicom
from radiarch_contract.errors import ConflictError, ErrorCode, NotFoundError, RadiarchError
from radiarch_contract.identity import dataset_sha256
from radiarch_contract.job import Output
from radiarch_contract.states import PlanState

from radiarch_plugin.dicom.header import read_header
from radiarch_plugin.orthanc.client import OrthancClient
from radiarch_plugin.store import Store, SupersededResults

from .inputs import Inputs

log = logging.getLogger(__name__)

SUPERSEDED_METADATA = 1105
"""Of instances and series, `radiarch-superseded` in Orthanc's configuration: the plan that replaces theirs."""
SUPERSEDED_LABEL = "radiarch-superseded"
"""Of series, where Orthanc has labels."""


class Results:
    """Safe in any thread, and beside other plugins on the same database.

    Parameters
    ----------
    put
        Stores a file for a plan and gives its id; None: Orthanc's own way.
    inputs
        Whether what a plan is made of is still there; None: nobody can delete it.
    """

    def __init__(
        self,
        store: Store,
        orthanc: OrthancClient,
        *,
        inputs: Inputs | None = None,
        put: Callable[[str, bytes], str] | None = None,
    ) -> None:
        self._store = store
        self._orthanc = orthanc
        self._inputs = inputs
        self._put = put or (lambda plan_id, data: orthanc.store(data))

    def store(self, plan_id: str, attempt: int, data: bytes) -> tuple[str, bool]:
        """Store a result of a running attempt; what is there of an earlier one under its UID is replaced.

        Returns
        -------
        tuple
            Orthanc's id of it, and whether it is new: False where the very same was there.

        Raises
        ------
        ConflictError
            ``cancelled``: the attempt does not count, or the object is none of the plan's results.
        ServiceError
            Orthanc cannot store it now, or inputs have just been deleted: what becomes of the plan is decided soon.
        """
        uid = read_header(data).sop_instance_uid
        with self._exclusive(plan_id):
            self._require(plan_id, attempt)
            if uid not in self._uids(plan_id):
                raise ConflictError(
                    f"{uid} is no result of plan {plan_id}", remedy="A worker stores its own plan's results only."
                )
            orthanc_id, new = self._replace(plan_id, uid, data)
            try:
                self._require(plan_id, attempt)
            except RadiarchError:
                # nothing else of the plan was stored meanwhile: it is this one
                self._orthanc.remove([uid])
                raise
        return orthanc_id, new

    def attach(self, plan_id: str, attempt: int, orthanc_id: str, number: int, data: bytes) -> None:
        """Keep bytes beside a result of a running attempt. Raises like `store`."""
        with self._exclusive(plan_id):
            self._require(plan_id, attempt)
            stored = self._orthanc.find_instances(self._uids(plan_id))
            if orthanc_id not in {i for ids in stored.values() for i in ids}:
                raise ConflictError(
                    f"this object is no result of plan {plan_id}", remedy="Leave inputs and others' results alone."
                )
            self._orthanc.attach(orthanc_id, number, data)

    def missing(self, outputs: Sequence[Output]) -> list[str]:
        """Ask Orthanc for results: what is wrong with each that is not there as it was stored.

        Raises
        ------
        ServiceError
            Orthanc does not answer.
        """
        found = self._orthanc.find_instances([o.sop_instance_uid for o in outputs])
        return [wrong for o in outputs if (wrong := self._wrong(o, found.get(o.sop_instance_uid, ())))]

    def remove(self, plan_id: str) -> None:
        """Delete what is stored of a plan that has ended without results, or whose attempt has. Raises `ServiceError`.

        Nothing is deleted of a plan that has succeeded.
        """
        with self._exclusive(plan_id):
            plan = self._store.plans.get(plan_id)
            if plan.state is not PlanState.SUCCEEDED:
                self._orthanc.remove([o.sop_instance_uid for o in plan.outputs])

    def supersede(self, plan_id: str, *, remove: bool) -> None:
        """Remove what is stored of a superseded plan, or mark it as such in Orthanc; either is recorded.

        Only the very instances that the plan's own attempt has stored are touched. Their content cannot say it: a
        changed one would be another object under the same UID.

        Raises
        ------
        ServiceError
        """
        with self._exclusive(plan_id):
            plan = self._store.plans.get(plan_id)
            if plan.superseded_at is None or plan.state is not PlanState.SUCCEEDED:
                return
            stored = [(o.sop_instance_uid, o.orthanc_id) for o in plan.outputs if o.orthanc_id is not None]
            for _, orthanc_id in stored:
                if remove:
                    self._orthanc.delete_instance(orthanc_id)
                    continue
                with suppress(NotFoundError):  # deleted by a user
                    self._orthanc.mark(
                        orthanc_id, SUPERSEDED_METADATA, plan.superseded_by or "superseded", SUPERSEDED_LABEL
                    )
            what = SupersededResults.REMOVED if remove else SupersededResults.MARKED
            self._store.plans.set_superseded_results(plan_id, what, [uid for uid, _ in stored])
            log.info("plan %s is superseded: its %d results were %s", plan_id, len(stored), what)

    # -- inside -------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self, plan_id: str) -> Iterator[None]:
        with self._store.database.exclusive(f"results of plan {plan_id}"):
            yield

    def _require(self, plan_id: str, attempt: int) -> None:
        if self._store.attempts.current([plan_id]).get(plan_id) != attempt:
            raise ConflictError(
                f"attempt {attempt} at plan {plan_id} does not count: the plan has ended, or another attempt has begun",
                remedy="Nothing: what counts is said by GET /plans/{id}.",
                code=ErrorCode.CANCELLED,
            )
        if self._inputs is not None:
            self._inputs.require(plan_id)

    def _uids(self, plan_id: str) -> list[str]:
        return [o.sop_instance_uid for o in self._store.plans.get(plan_id).outputs]

    def _replace(self, plan_id: str, uid: str, data: bytes) -> tuple[str, bool]:
        there = self._orthanc.find_instances([uid]).get(uid, ())
        own = _sha256(data)
        same = [i for i in there if _sha256(self._orthanc.instance_file(i)) == own]
        if len(there) == len(same) == 1:
            return same[0], False
        if there:
            log.info("plan %s: %s, stored by an earlier attempt, is replaced", plan_id, uid)
            self._orthanc.remove([uid])
        return self._put(plan_id, data), True

    def _wrong(self, output: Output, ids: Sequence[str]) -> str | None:
        name = f"{output.kind} ({output.sop_instance_uid})"
        if list(ids) != [output.orthanc_id]:
            return f"{name} is stored {len(ids)} times" if len(ids) != 1 else f"{name} is stored for another patient"
        try:
            data = self._orthanc.instance_file(output.orthanc_id)
        except NotFoundError:
            return f"{name} was deleted just now"
        return None if _sha256(data) == output.sha256 else f"{name} has another content than was stored"


def _sha256(data: bytes) -> str:
    """Of the content; what cannot be read is another content than any."""
    try:
        return dataset_sha256(pydicom.dcmread(BytesIO(data)))
    except Exception as e:  # whatever is wrong with the file; its text may quote values
        return f"unreadable ({type(e).__name__})"
