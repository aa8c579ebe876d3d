"""Who may do what: one table of methods and paths of Orthanc's whole port, and the roles that each of them needs.

What no rule names is refused to everybody. Standard library only, as `filter` is.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an account is for; each but the last may do what those before it may."""

    VIEWER = "viewer"
    DOSIMETRIST = "dosimetrist"
    PHYSICIST = "physicist"
    ADMIN = "admin"
    WORKER = "worker"
    """A worker's account: it reads what it plans on and hands over results, and nothing else."""


_PEOPLE = (Role.VIEWER, Role.DOSIMETRIST, Role.PHYSICIST, Role.ADMIN)
_VIEWERS = frozenset(_PEOPLE)
_DOSIMETRISTS = frozenset(_PEOPLE[1:])
_PHYSICISTS = frozenset(_PEOPLE[2:])
_ADMINS = frozenset(_PEOPLE[3:])
_WORKERS = frozenset({Role.WORKER})


@dataclass(frozen=True)
class Rule:
    """Who may send these methods to these paths.

    Attributes
    ----------
    methods : ``GET``, ``POST``, ``PUT``, ``DELETE``, as Orthanc will act on them
    pattern : of the whole path, decoded and without a slash at its end
    what : for people
    """

    methods: frozenset[str]
    pattern: re.Pattern[str]
    roles: frozenset[Role]
    what: str

    def fits(self, method: str, path: str) -> bool:
        return method in self.methods and self.pattern.fullmatch(path) is not None


def _rule(methods: str, path: str, roles: Collection[Role], what: str) -> Rule:
    return Rule(frozenset(methods.split()), re.compile(path, re.DOTALL), frozenset(roles), what)


_API = "/radiarch/api/v1"
_RUNS = rf"{_API}(?:/sessions/[^/]+)?"
_LEVELS = "/(?:patients|studies|series|instances)"

RULES = (
    # -- ours
    _rule("GET", f"{_API}/info", _VIEWERS | _WORKERS, "state of the service"),
    _rule("POST PUT", rf"{_API}/plans/[^/]+/attempts/[^/]+/store/.+", _WORKERS, "hand over results"),
    _rule("GET POST PUT", rf"{_API}/sessions/[^/]+/store/.+", _WORKERS, "read a session, hand over its results"),
    _rule("POST", rf"{_RUNS}/plans/[^/]+/approval", _PHYSICISTS, "approve or reject a plan"),
    _rule("POST", rf"{_RUNS}/(?:plans|evaluations|recalculations)", _DOSIMETRISTS, "ask for plans and checks"),
    _rule("POST", rf"{_RUNS}/plans/[^/]+/reoptimize", _DOSIMETRISTS, "plan again with other objectives"),
    _rule("DELETE", rf"{_RUNS}/plans/[^/]+", _DOSIMETRISTS, "cancel a plan"),
    _rule("POST", f"{_API}/sessions", _DOSIMETRISTS, "open a session"),
    _rule("PUT DELETE", rf"{_API}/sessions/[^/]+", _DOSIMETRISTS, "prolong or end a session"),
    _rule("POST", f"{_API}/measurements", _DOSIMETRISTS, "measure on images"),
    _rule("PUT DELETE", f"{_API}/measurements/[^/]+", _DOSIMETRISTS, "change or delete a measurement"),
    _rule("POST", rf"{_API}/sessions/[^/]+/(?:instances|keep)", _DOSIMETRISTS, "upload to a session, keep its results"),
    _rule("POST", rf"{_API}/machine-scales/[^/]+/confirmation", _PHYSICISTS, "confirm the angle scale of a machine"),
    _rule("DELETE", rf"{_API}/machine-scales/[^/]+", _PHYSICISTS, "take back such a confirmation"),
    _rule(
        "GET",
        rf"{_API}/(?:workflows|protocols|plans|jobs|artifacts|arrivals|workers|structure-sets|changes|evaluations"
        r"|recalculations|compare|machine-scales|sessions|statistics|patients|studies|series|instances"
        r"|measurements)(?:/.*)?",
        _VIEWERS,
        "read studies, plans, checks, jobs, reports and pictures",
    ),
    _rule("GET", r"/radiarch/api/(?:docs|openapi\.json)", _VIEWERS, "description of the interface"),
    _rule("GET", "/radiarch/metrics", _VIEWERS, "Prometheus metrics"),
    _rule("GET", "/radiarch/(?:ui|static|elements|vendor)(?:/.*)?", _VIEWERS, "pages"),
    _rule("GET", "/ohif(?:/.*)?", _VIEWERS, "OHIF"),
    # -- Orthanc's
    _rule("POST", "/tools/find", _VIEWERS | _WORKERS, "search"),
    _rule("GET", "/(?:studies|series)/[^/]+|/instances/[^/]+/file", _VIEWERS | _WORKERS, "read studies and files"),
    _rule("GET", f"{_LEVELS}(?:/.*)?", _VIEWERS, "read patients, studies, series and instances"),
    _rule("POST", "/(?:patients|studies|series)/[^/]+/(?:archive|media)", _VIEWERS, "download"),
    _rule(
        "POST",
        "/tools/(?:lookup|bulk-content|count-resources|create-archive|create-media|create-media-extended)",
        _VIEWERS,
        "look up, and download several",
    ),
    _rule(
        "GET",
        r"/tools(?:/(?:accepted-sop-classes|accepted-transfer-syntaxes|create-archive|create-media|create-media-extended|default-encoding"
        r"|dicom-conformance|generate-uid|labels|log-level(?:-[a-z]+)?|metrics|metrics-prometheus|now|now-local"
        r"|unknown-sop-class-accepted))?",
        _VIEWERS,
        "Orthanc's state",
    ),
    _rule("GET", "/(?:system|statistics|changes|exports)", _VIEWERS, "Orthanc's state and changes"),
    _rule("GET", "/jobs(?:/.*)?", _VIEWERS, "Orthanc's jobs"),
    _rule("GET", "/|/app(?:/.*)?|/plugins|/plugins/explorer\\.js", _VIEWERS, "Orthanc Explorer"),
    _rule(
        "GET",
        "/(?:ui|stone-webviewer|volview|web-viewer|osimis-viewer)(?:/.*)?",
        _VIEWERS,
        "Orthanc's other pages and viewers",
    ),
    _rule("GET", "/dicom-web/(?:studies|series|instances)(?:/.*)?|/wado", _VIEWERS, "DICOMweb: search and retrieve"),
    _rule("POST", "/instances|/dicom-web/studies(?:/[^/]+)?", _DOSIMETRISTS, "store DICOM"),
    _rule("POST PUT DELETE", f"{_LEVELS}/.+", _ADMINS, "delete, change, anonymize, split and merge"),
    _rule("DELETE", "/(?:changes|exports)", _ADMINS, "forget Orthanc's log of changes"),
    _rule("POST PUT DELETE", "/tools/.+", _ADMINS, "reset, shut down, scripts, settings, bulk changes"),
    _rule("POST PUT DELETE", "/jobs/.+", _ADMINS, "cancel, pause and resume Orthanc's jobs"),
    _rule(
        "GET POST PUT DELETE",
        "/(?:modalities|peers|queries|plugins|storage-commitment|dicom-web/servers)(?:/.*)?",
        _ADMINS,
        "query, retrieve and send to other nodes; their addresses",
    ),
    _rule("GET PUT DELETE", "/webdav(?:/.*)?", _ADMINS, "WebDAV"),
)
"""The first one that fits decides."""


def roles_for(method: str, path: str) -> frozenset[Role]:
    """Whose accounts may do this; none where no rule names it.

    Examples
    --------
    >>> sorted(roles_for("POST", "/radiarch/api/v1/plans/x/approval"))
    [<Role.ADMIN: 'admin'>, <Role.PHYSICIST: 'physicist'>]
    >>> roles_for("GET", "/something/new")
    frozenset()
    """
    path = path.rstrip("/") or "/"
    return next((rule.roles for rule in RULES if rule.fits(method, path)), frozenset())
