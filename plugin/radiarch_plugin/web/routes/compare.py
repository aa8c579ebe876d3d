"""``/compare``: plans side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from radiarch_contract.errors import ConflictError, InvalidRequestError, NotFoundError
from radiarch_contract.places import Place
from radiarch_contract.states import PlanState

from radiarch_plugin.services import ServicesDep
from radiarch_plugin.web import comparing
from radiarch_plugin.web.answers import ComparisonAnswer, PlanCurves

from .ids import whole_id
from .plans import summary

router = APIRouter(prefix="/compare", tags=["plans"])

MAX_PLANS = 8


@router.get("")
def compare(
    services: ServicesDep,
    plans: Annotated[
        str, Query(max_length=1000, description="2 to 8 ids of plans or their beginnings, separated by commas.")
    ],
    curves: Annotated[bool, Query(description="Whether the DVHs are wanted.")] = True,
) -> ComparisonAnswer:
    """DVHs of all, and differences of metrics and goals from the first plan's; every plan must have succeeded."""
    ids = [whole_id(p.strip(), services) for p in plans.split(",") if p.strip()]
    if not 2 <= len(ids) <= MAX_PLANS or len(set(ids)) != len(ids):
        raise InvalidRequestError(
            f"{len(set(ids))} different plans are named ({len(ids)} in all), expected 2 to {MAX_PLANS}, each once",
            remedy="Choose so many (`radiarch compare A B`, ?plans=A,B); the others are compared with the first.",
        )
    found = services.store.plans.get_many(ids)
    for plan_id in ids:
        if plan_id not in found:
            raise NotFoundError(f"plan {plan_id} does not exist", remedy=f"See {Place.PLANS}.")
        if found[plan_id].state is not PlanState.SUCCEEDED:
            raise ConflictError(
                f"plan {plan_id} has no dose to compare: its state is {found[plan_id].state}",
                remedy="Ask again when it has succeeded.",
                plan_id=plan_id,
                state=found[plan_id].state.value,
            )
    views = [found[i] for i in ids]
    return ComparisonAnswer(
        plans=tuple(map(summary, views)),
        dvh=tuple(PlanCurves(plan_id=i, curves=services.store.plans.curves(i).dvh) for i in ids if curves),
        structures=comparing.structures(views),
        goals=comparing.goals(views),
        notes=comparing.notes(views),
    )
