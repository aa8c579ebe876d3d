"""Planning runs: plan, evaluate, write, report."""

from __future__ import annotations

from radiarch_contract import __version__
from radiarch_contract.job import JobResult
from radiarch_contract.states import OutputKind, Stage
from radiarch_contract.workflows import WorkflowParameters

from radiarch_worker import dicom, planning
from radiarch_worker.engines.arraycache import ArrayCache

from .run import Computed, Datasets, Run


def make_plan(run: Run, parameters: WorkflowParameters) -> Computed:
    """Plan by the workflow's steps."""
    spec, link = run.spec, run.here.link
    with run.timed("plan"):
        plan = planning.plan(
            spec.workflow_id,
            run.patient,
            spec.prescribed,
            parameters,
            run.structures,
            link,
            run.here.folder / "work",
            run.here.settings.threads,
            _cache(run),
            spec.goals,
        )
    link.stage(Stage.EXPORTING)
    with run.timed("evaluate"):
        judged = run.judge(plan.dose.dose_gy, plan.dose.grid, plan.dose.rbe)
    link.progress(0.4)
    datasets: Datasets = {}
    with run.timed("write"):
        datasets[OutputKind.RTPLAN] = dicom.write_rtplan(spec, run.patient, plan)
        datasets[OutputKind.RTDOSE] = run.write_dose(plan, judged)
        run.add_extras(datasets, plan)
    pictures = run.report(plan, judged, datasets)
    provenance = {str(k): v for k, v in plan.provenance.items()}
    result = JobResult(
        plan_id=spec.plan_id,
        attempt=spec.attempt,
        beams=planning.beam_results(plan.beams),
        dvh=judged.dvh,
        metrics=judged.metrics,
        goals=judged.goals,
        dose_quantity="RBE_WEIGHTED" if plan.dose.rbe != 1 else "PHYSICAL",
        uncertainty_percent=plan.uncertainty_percent,
        notes=run.all_notes(plan.notes, judged.notes),
        provenance={**provenance, **plan.run, "worker_version": __version__},
        solver_trace=tuple(dict(t) for t in plan.solver_trace),
        robustness=plan.robustness,
        timings_s=dict(plan.timings_s),
    )
    return Computed(result, datasets, pictures)


def _cache(run: Run) -> ArrayCache | None:
    if run.spec.session is not None:
        return None  # nothing of a session may outlive it
    settings = run.here.settings
    return ArrayCache(settings.beamlet_cache, settings.cache_mb << 20) if settings.cache_mb else None
