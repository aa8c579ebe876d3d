"""What the server and a session are asked alike: everything about plans and their results; both kinds of clients."""

from __future__ import annotations

from . import _jobs as jobs
from . import _operations as ops
from ._methods import Async, Sync, awaitable, awaitable_pages, blocking, blocking_pages


class SyncPlans(Sync):
    """What is asked about plans, of the server or of a session."""

    create_plan = blocking(ops.create_plan)
    list_plans = blocking_pages(ops.plans_page)
    get_plan = blocking(ops.get_plan)
    cancel_plan = blocking(ops.cancel_plan)
    reoptimize = blocking(ops.reoptimize)
    dvh = blocking(ops.dvh)
    compare = blocking(ops.compare)
    create_evaluation = blocking(ops.create_evaluation)
    get_evaluation = blocking(ops.get_evaluation)
    create_recalculation = blocking(ops.create_recalculation)
    approve = blocking(ops.approve)
    get_job = blocking(jobs.get_job)
    job_log = blocking(jobs.job_log)
    job_events = blocking(jobs.job_events)
    poll_until_done = blocking(jobs.poll_until_done)
    get_artifact = blocking(jobs.get_artifact)
    get_report = blocking(jobs.get_report)
    get_picture = blocking(jobs.get_picture)
    download_outputs = blocking(jobs.download_outputs)


class AsyncPlans(Async):
    """What is asked about plans, of the server or of a session, without blocking."""

    create_plan = awaitable(ops.create_plan)
    list_plans = awaitable_pages(ops.plans_page)
    get_plan = awaitable(ops.get_plan)
    cancel_plan = awaitable(ops.cancel_plan)
    reoptimize = awaitable(ops.reoptimize)
    dvh = awaitable(ops.dvh)
    compare = awaitable(ops.compare)
    create_evaluation = awaitable(ops.create_evaluation)
    get_evaluation = awaitable(ops.get_evaluation)
    create_recalculation = awaitable(ops.create_recalculation)
    approve = awaitable(ops.approve)
    get_job = awaitable(jobs.get_job)
    job_log = awaitable(jobs.job_log)
    job_events = awaitable(jobs.job_events)
    poll_until_done = awaitable(jobs.poll_until_done)
    get_artifact = awaitable(jobs.get_artifact)
    get_report = awaitable(jobs.get_report)
    get_picture = awaitable(jobs.get_picture)
    download_outputs = awaitable(jobs.download_outputs)
