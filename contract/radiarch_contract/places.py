"""Where a reader finds a thing, for remedies: on a page, with the command line and by REST, whichever is used."""

from __future__ import annotations

from enum import StrEnum


class Place(StrEnum):
    """Texts that go on after "see" or "is in"."""

    PLANS = "the list of plans (page Plans, `radiarch list`, GET /plans)"
    PLAN = "the plan (its page, `radiarch show ID`, GET /plans/{id})"
    ARRIVALS = "the list of arrivals (page Arrivals, `radiarch arrivals`, GET /arrivals)"
    PROTOCOLS = "the list of protocols (page Protocols, `radiarch protocols list`, GET /protocols)"
    WORKFLOWS = "the list of workflows (page New plan, `radiarch workflows`, GET /workflows)"
    PARAMETERS = "the workflow's parameters (page New plan, `radiarch workflows ID`, GET /workflows/{id})"
    SERVICE = "the state of the service (page Workers, `radiarch info`, GET /info)"
    WORKERS = "the list of workers (page Workers, `radiarch workers`, GET /workers)"
    SCALES = "the list of machine scales (GET /machine-scales)"
    NEW_PLAN = "a new plan (page New plan, `radiarch plan`, POST /plans)"
