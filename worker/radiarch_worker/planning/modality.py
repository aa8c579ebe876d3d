"""What planning has of its own for each kind of radiation; a modality's package makes one, `planning` registers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from radiarch_contract.job import BeamResult
from radiarch_contract.workflows import WorkflowParameters

from radiarch_worker.model import Beam, PlanResult


@dataclass(frozen=True)
class Modality:
    """Planning of one kind of radiation.

    Attributes
    ----------
    parameters : what its workflows' parameters derive from
    job : makes the input of its workflows from the arguments of `planning.plan`
    workflows : by id; each takes such a job
    beam : type of its beams
    beam_result : a beam as answers show it
    warm_up : loads tables and compiled code that its jobs need, by next to no work; called once before all jobs
    """

    parameters: type[WorkflowParameters]
    job: Callable[..., Any]
    workflows: Mapping[str, Callable[[Any], PlanResult]]
    beam: type[Beam]
    beam_result: Callable[[Any], BeamResult]
    warm_up: Callable[[], None]
