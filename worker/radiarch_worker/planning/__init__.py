"""Makes plans: one function for all workflows; what a modality has of its own is in its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from radiarch_contract.errors import ErrorCode, InvalidRequestError
from radiarch_contract.job import BeamResult
from radiarch_contract.structures import StructureRef
from radiarch_contract.workflows import Prescription, WorkflowParameters, get_workflow

from radiarch_worker.engines.arraycache import ArrayCache
from radiarch_worker.model import Beam, Patient, PlanResult, Reporter

from .modality import Modality
from .photon import PHOTON
from .prepare import needed_rois, overridden_rois, prepare
from .proton import PROTON
from .targets import untreated_notes

__all__ = ["MODALITIES", "beam_results", "needed_rois", "overridden_rois", "plan", "prepare"]

MODALITIES: Mapping[str, Modality] = {"proton": PROTON, "photon": PHOTON}
"""By the name that workflows have."""


def plan(
    workflow_id: str,
    patient: Patient,
    prescription: Prescription,
    parameters: WorkflowParameters,
    structures: Mapping[str, StructureRef],
    reporter: Reporter,
    job_dir: Path,
    threads: int,
    cache: ArrayCache | None = None,
    goals: Sequence[str] = (),
) -> PlanResult:
    """Plan a patient, as `prepare` made it.

    The result depends on nothing but the arguments: the same bits for any ``threads``, on CPUs for which the
    engine has the same binary (its name is in the result's provenance).

    Parameters
    ----------
    structures
        What the names in prescription and objectives stand for.
    job_dir
        A folder of this attempt alone; engine runs make new folders in it and remove them.
    threads
        Engine processes at a time.
    cache
        Where beamlets are kept for later plans, and taken from; does not change any bit of plan and dose.
    goals
        What objectives are tuned to where that is asked for (`tune_to_goals`).

    Raises
    ------
    RadiarchError
        Refusals of the input or request, and failures of the engine.
    """
    workflow = get_workflow(workflow_id)
    modality = MODALITIES.get(workflow.modality)
    run = None if modality is None else modality.workflows.get(workflow_id)
    if modality is None or run is None or type(parameters) is not workflow.parameters:
        raise InvalidRequestError(
            f"workflow {workflow_id!r} cannot be planned by this worker with {type(parameters).__name__}",
            remedy="Use a worker of the plugin's version; GET /workers shows them.",
            code=ErrorCode.UNKNOWN_WORKFLOW,
        )
    made = run(
        modality.job(patient, prescription, parameters, structures, reporter, job_dir, threads, cache, tuple(goals))
    )
    untreated = untreated_notes(patient, prescription, structures, parameters.derived)
    return replace(made, notes=(*made.notes, *untreated, *parameters.notes))


def beam_results(beams: Sequence[Beam]) -> tuple[BeamResult, ...]:
    """Beams as answers show them."""
    by_type = {modality.beam: modality.beam_result for modality in MODALITIES.values()}
    return tuple(by_type[type(beam)](beam) for beam in beams)
