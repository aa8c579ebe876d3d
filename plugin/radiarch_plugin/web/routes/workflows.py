"""``/workflows``: what can be asked for, as JSON schema with defaults."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter
from radiarch_contract.errors import ErrorCode, InvalidRequestError, NotFoundError
from radiarch_contract.workflows import WORKFLOWS, Workflow, get_workflow

from radiarch_plugin.web.answers import Page, WorkflowAnswer

router = APIRouter(prefix="/workflows", tags=["workflows"])


@router.get("")
def list_workflows() -> Page[WorkflowAnswer]:
    """Every way of planning."""
    return Page(items=tuple(map(_view, WORKFLOWS.values())))


@router.get("/{workflow_id}")
def get(workflow_id: str) -> WorkflowAnswer:
    """One way of planning."""
    try:
        return _view(get_workflow(workflow_id))
    except InvalidRequestError as e:  # wrong in a body, not found in a path
        raise NotFoundError(str(e)[:300], remedy=e.info.remedy, code=ErrorCode.UNKNOWN_WORKFLOW) from None


@cache
def _view(workflow: Workflow) -> WorkflowAnswer:
    return WorkflowAnswer(
        id=workflow.id,
        title=workflow.title,
        description=workflow.description,
        modality=workflow.modality,
        starts_from=workflow.starts_from,
        parameters=workflow.schema(),
        defaults=workflow.defaults,
    )
