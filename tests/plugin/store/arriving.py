"""A real Orthanc, a store, and a trigger between them that is turned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from pydicom.dataset import Dataset
from radiarch_contract.errors import ErrorCode, ServiceError
from radiarch_contract.protocol import Protocol
from radiarch_plugin.intake.trigger import Trigger
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient, StoredInstance
from radiarch_plugin.protocols.loaded import LoadedProtocol, ProtocolSet
from radiarch_plugin.store import ArrivalView, Ownership, PlanView, Store

from phantoms import PhantomStudy, file_bytes

PROTOCOL = Protocol.model_validate({
    "id": "box",
    "title": "Box",
    "prescription": {"target": "PTV", "dose_gy": 60, "fractions": 30},
    "workflow": "proton-impt-basic",
    "beam_count": 2,
    "goals": ["PTV: D95% >= 95%", "Rectum: Dmean <= 20 Gy"],
})  # fmt: skip


class Orthanc(OrthancClient):
    """Counts what it is asked, and can be made to fail."""

    def __init__(self, rest: HttpRest) -> None:
        super().__init__(rest)
        self.asked: list[str] = []
        self.broken: set[str] = set()

    def instance_metadata(self, orthanc_id: str) -> dict[str, str]:
        self.asked.append("metadata")
        return super().instance_metadata(orthanc_id)

    def instance_file(self, orthanc_id: str) -> bytes:
        self.asked.append("file")
        if "file" in self.broken:
            raise ServiceError("no file", remedy="mend the disk", code=ErrorCode.ORTHANC_UNAVAILABLE)
        return super().instance_file(orthanc_id)

    def find_stored(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[StoredInstance, ...]]:
        self.asked.append("find")
        return super().find_stored(sop_instance_uids)


class World:
    def __init__(self, http: httpx.Client, rest: HttpRest, store: Store, owner: Ownership) -> None:
        self.http = http
        self.orthanc = Orthanc(rest)
        self.store = store
        self.owner = owner
        self.protocols = ProtocolSet((LoadedProtocol(PROTOCOL, "box.yaml", "b" * 64),))
        self.queued = 0
        self.now = 0.0
        self.trigger = self.new_trigger()
        self.turn()

    def new_trigger(self, **kwargs: Any) -> Trigger:
        """As after a restart of Orthanc."""
        return Trigger(
            self.store,
            self.orthanc,
            self.owner,
            lambda: self.protocols,
            self._count_queued,
            monotonic=lambda: self.now,
            **kwargs,
        )

    def _count_queued(self) -> None:
        self.queued += 1

    def turn(self, after_s: float = 1.0) -> None:
        self.now += after_s
        self.trigger.turn()

    def send(self, *datasets: Dataset) -> list[str]:
        """Store instances; their ids."""
        return [self.send_bytes(file_bytes(ds)) for ds in datasets]

    def send_bytes(self, data: bytes) -> str:
        orthanc_id: str = self.http.post("/instances", content=data).raise_for_status().json()["ID"]
        return orthanc_id

    def delete(self, orthanc_id: str) -> None:
        self.http.delete(f"/instances/{orthanc_id}").raise_for_status()

    def arrival(self, study: PhantomStudy) -> ArrivalView:
        ds = study.rtstruct
        uid, owner = str(ds.SOPInstanceUID), {"patient_id": ds.PatientID, "study_instance_uid": ds.StudyInstanceUID}
        # of what could not be read patient and study are not known
        return self.store.arrivals.find(uid, **owner) or self.store.arrivals.get(uid, patient_id="")

    def plan(self, study: PhantomStudy) -> PlanView:
        plan_id = self.arrival(study).plan_id
        assert plan_id is not None
        return self.store.plans.get(plan_id)

    def plans(self) -> list[PlanView]:
        """Oldest first."""
        found = self.store.plans.page(sort="created_at", limit=500).items
        return [self.store.plans.get(plan.id) for plan in found]
