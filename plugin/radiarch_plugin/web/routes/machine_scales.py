"""``/machine-scales``: what checks have found of machines' meterset scales; a person confirms or deletes an entry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.web.answers import MachineScaleAnswer, Page
from radiarch_plugin.web.requester import RequesterDep

from .ids import known_id
from .queries import PageQuery

router = APIRouter(prefix="/machine-scales", tags=["checks"])


class MachineScaleQuery(PageQuery):
    """Filters of the list."""

    machine: str | None = None


@router.get("")
def list_scales(services: ServicesDep, query: Annotated[MachineScaleQuery, Query()]) -> Page[MachineScaleAnswer]:
    """Newest first. Plans of a machine are judged by the last confirmed one, else by the median of those that count."""
    page = services.store.scales.page(machine=query.machine, cursor=query.cursor, limit=query.limit)
    return Page(items=tuple(MachineScaleAnswer.model_validate(v) for v in page.items), next=page.next)


@router.post("/{scale_id}/confirmation")
def confirm(scale_id: str, services: ServicesDep, requester: RequesterDep) -> MachineScaleAnswer:
    """Say that this is the machine's scale: its plans are judged by it from now on, and by it alone."""
    return MachineScaleAnswer.model_validate(services.store.scales.confirm(_known(scale_id), requester))


@router.delete("/{scale_id}")
def delete(scale_id: str, services: ServicesDep) -> MachineScaleAnswer:
    """Forget an entry, such as that of a check of a wrong plan; checks that have ended stay as they are."""
    return MachineScaleAnswer.model_validate(services.store.scales.delete(_known(scale_id)))


def _known(scale_id: str) -> str:
    return known_id(scale_id, "machine scale", "/machine-scales")
