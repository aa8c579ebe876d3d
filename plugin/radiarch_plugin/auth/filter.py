"""Which HTTP requests Orthanc answers: those to a host that it is known by and that no other site's page has sent.

Orthanc's REST API has no defence of its own: ``GET …?_method=delete`` deletes a patient, and any page can make a
browser send that; and it answers whatever name it is asked by, so that a page whose name is made to lead here (DNS
rebinding) can read everything. `refusal` decides on one request; `radiarch_orthanc` registers it for all of Orthanc's
port, before anything else. Standard library only: it has to stand where the rest of the plugin cannot be imported.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any
from urllib.parse import urlsplit

METHODS: Mapping[object, str] = {1: "GET", 2: "POST", 3: "PUT", 4: "DELETE"}
"""``orthanc.HttpMethod`` as the filter gets it. HEAD, OPTIONS and PROPFIND come as GET; MKCOL and LOCK as PUT; a
GET with ``_method`` or ``X-HTTP-Method-Override`` as what Orthanc makes of it."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Pages that show nothing before their own scripts ask for it; the second line has those of Orthanc's other plugins
_PAGES = re.compile(
    r"/(app(/explorer\.html)?|ohif(/[^.]*)?|radiarch/ui|radiarch/api/docs"
    r"|(ui/app|stone-webviewer|volview|web-viewer/app|osimis-viewer/app)(/[^/.]*|/[^/]*\.html)?)?/?"
)
# What makes Orthanc call others or work for long by GET alone
_COSTLY = re.compile(
    r"/(tools|jobs|exports|modalities|peers|queries|plugins|dicom-web/servers)(/.*)?|/.*/(archive|media)/?"
)


@dataclass(frozen=True)
class Address:
    """A host (in lower case and without a last dot, or a canonical IP address) and a port; None: none is given."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """From a ``Host`` header; None for anything but a plain name or address with or without a port."""
        found = re.fullmatch(
            r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::([0-9]{1,5}))?", text.strip(" \t")
        )
        if found is None:
            return None
        host = found[1].lower().removesuffix(".")
        port = int(found[2]) if found[2] else None
        if port is not None and not 0 < port < 65536:
            return None
        try:
            return cls(str(ipaddress.ip_address(host.strip("[]"))), port)
        except ValueError:
            return None if host.startswith("[") else cls(host, port)

    @property
    def is_loopback(self) -> bool:
        """This machine. A name that ends in ``.localhost`` is not: a name server may be asked for it."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True)
class WebOrigin:
    """Where a page comes from (RFC 6454); its address always has a port."""

    scheme: str
    address: Address

    @classmethod
    def parse(cls, url: str) -> WebOrigin | None:
        """From an ``Origin`` or ``Referer`` header; None for ``null``, for other schemes, and for anything unclear."""
        try:
            parts = urlsplit(url.strip(" \t"))
        except ValueError:
            return None
        address = Address.parse(parts.netloc) if parts.scheme in _DEFAULT_PORTS else None
        if address is None:
            return None
        return cls(parts.scheme, Address(address.host, address.port or _DEFAULT_PORTS[parts.scheme]))

    def is_at(self, host: Address) -> bool:
        """Whether its pages come from the server that was asked by this host. TLS may end at a proxy in front."""
        return self.address == Address(host.host, host.port or _DEFAULT_PORTS[self.scheme])

    def __str__(self) -> str:
        default = self.address.port == _DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{Address(self.address.host) if default else self.address}"


class InvalidKnownHostsError(ValueError):
    """``Radiarch.KnownHosts`` cannot be used; the text says which entry, and not what is in it."""


@dataclass(frozen=True)
class KnownHosts:
    """What this server is called, besides the names and addresses of the loopback interface.

    Attributes
    ----------
    addresses : without a port: on every port
    origins : what a browser's address bar shows, where a proxy in front asks Orthanc by another name
    forwarded : whether ``X-Forwarded-Host`` is from such a proxy, and to be believed
    """

    addresses: frozenset[Address] = frozenset()
    origins: frozenset[WebOrigin] = frozenset()
    forwarded: bool = False

    @classmethod
    def parse(cls, entries: Iterable[object], *, forwarded: bool = False) -> KnownHosts:
        """From texts such as ``pacs``, ``pacs:8042``, ``[fd00::1]`` and ``https://pacs.example``.

        Raises
        ------
        InvalidKnownHostsError
        """
        addresses, origins = set(), set()
        for number, entry in enumerate(entries, start=1):
            text = entry if isinstance(entry, str) else ""
            origin, address = WebOrigin.parse(text), Address.parse(text)
            if origin is not None and text.rstrip("/").count("/") == 2:
                origins.add(origin)
            elif address is not None:
                addresses.add(address)
            else:
                raise InvalidKnownHostsError(f"entry {number} is no host, expected name, name:port or https://name")
        return cls(frozenset(addresses), frozenset(origins), forwarded)

    @classmethod
    def read(cls, configuration: Mapping[str, Any]) -> KnownHosts:
        """From the whole of Orthanc's configuration: ``Radiarch.KnownHosts``, and where Orthanc is said to listen.

        Raises
        ------
        InvalidKnownHostsError
        """
        section = configuration.get("Radiarch")
        section = section if isinstance(section, Mapping) else {}
        entries = section.get("KnownHosts", [])
        if not isinstance(entries, list):
            raise InvalidKnownHostsError("not a list, expected a list of names")
        bound = configuration.get("HttpBindAddresses") or []
        own = [f"[{a}]" if ":" in str(a) else a for a in bound if a not in ("0.0.0.0", "::")]  # noqa: S104 - not bound here
        url = section.get("OrthancUrl")
        asked = urlsplit(url).netloc if isinstance(url, str) else ""
        trusts = section.get("TrustForwardedHost", False) is True
        return cls.parse([*entries, *own, *([asked] if asked else [])], forwarded=trusts)

    def knows(self, host: Address) -> bool:
        named = host in self.addresses or Address(host.host) in self.addresses
        return host.is_loopback or named or any(o.is_at(host) for o in self.origins)

    def owns(self, origin: WebOrigin, host: Address) -> bool:
        """Whether a page of this origin is ours, where we are asked by this host."""
        return origin.is_at(host) or origin in self.origins

    @property
    def names(self) -> tuple[str, ...]:
        """For people."""
        return "localhost", "127.0.0.1", "[::1]", *sorted(map(str, self.addresses)), *sorted(map(str, self.origins))


@dataclass(frozen=True)
class HttpRequest:
    """What is known of a request before its body is read.

    Attributes
    ----------
    method : the one that Orthanc will act on
    path : decoded, without the query
    headers : by name in lower case; of a repeated one the first
    """

    method: str
    path: str
    headers: Mapping[str, str]


class RefusedFor(StrEnum):
    """Why a request is refused."""

    HOST = "host"
    OTHER_PAGE = "other_page"
    UNKNOWN_PAGE = "unknown_page"
    NAVIGATION = "navigation"
    ROLE = "role"
    CLOSED = "closed"


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused, and what to do where it should not be.

    ``culprit`` is the host, origin or user that it is about, as the client has sent it.
    """

    reason: RefusedFor
    culprit: str
    message: str
    remedy: str


def refusal(request: HttpRequest, known: KnownHosts) -> Refusal | None:
    """Why a request must not be answered; None where it may.

    Whatever is not a browser (a worker, a DICOMweb client, ``curl``) may do everything by a known host: nobody but its
    user has made it ask. Of a browser's requests those that change something must come from a page of this server;
    those that read may also be typed in, and other sites may link to pages.
    """
    host = _host(request.headers, known)
    if isinstance(host, Refusal):
        return host
    sender = _sender(request.headers, host, known)
    if sender is _Sender.PROGRAM:
        return None
    navigation = _Navigation.of(request.headers)
    if request.method == "GET":
        return _refused_read(request, sender, navigation)
    if sender is not _Sender.OWN_PAGE:
        return _from_elsewhere(request.headers, sender)
    embedded = request.headers.get("sec-fetch-mode") == "no-cors"
    if request.method != "POST" and (embedded or navigation is not _Navigation.NONE):
        # links, forms and images send GET and POST only: this is a GET that asks to be taken for something else
        return Refusal(
            RefusedFor.NAVIGATION,
            "",
            f"a {request.method} that is a link's or an image's address, expected one that a script sends",
            "Use the pages' buttons, or a program such as curl.",
        )
    return None


class _Sender(Enum):
    PROGRAM = "not a browser"
    OWN_PAGE = "a page of this server"
    PERSON = "typed in, a bookmark, or a link in another program such as mail"
    OTHER_PAGE = "a page of another site"
    UNKNOWN_PAGE = "a browser that does not say for which page"


class _Navigation(Enum):
    NONE = "a script, an image, a style"
    TOP = "a page in a window of its own"
    NESTED = "a page within another"

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> _Navigation:
        mode = headers.get("sec-fetch-mode")
        if mode is None:  # over plain HTTP; a page within another looks alike there
            asks_for_page = "upgrade-insecure-requests" in headers or "text/html" in headers.get("accept", "")
            return cls.TOP if asks_for_page else cls.NONE
        if mode != "navigate":
            return cls.NONE
        return cls.TOP if headers.get("sec-fetch-dest", "document") == "document" else cls.NESTED


def _host(headers: Mapping[str, str], known: KnownHosts) -> Address | Refusal:
    """The host by which people know us, or why the one that was asked for is none of ours."""
    host = _known(headers.get("host", ""), known)
    if isinstance(host, Address) and known.forwarded and (through := headers.get("x-forwarded-host")):
        return _known(through.rpartition(",")[2], known)  # of several proxies the last is ours
    return host


def _known(text: str, known: KnownHosts) -> Address | Refusal:
    host = Address.parse(text)
    if host is not None and known.knows(host):
        return host
    return Refusal(
        RefusedFor.HOST,
        text.strip(),
        f"asked for by the host {_shown(text)}, expected one of {', '.join(known.names)}",
        "Ask by one of these, or add the name to Radiarch.KnownHosts in Orthanc's configuration.",
    )


def _sender(headers: Mapping[str, str], host: Address, known: KnownHosts) -> _Sender:
    def is_own(url: str) -> bool:
        origin = WebOrigin.parse(url)
        return origin is not None and known.owns(origin, host)

    origin, site, referer = headers.get("origin"), headers.get("sec-fetch-site"), headers.get("referer")
    if origin is not None and not is_own(origin):  # also null: a sandboxed frame, a file
        return _Sender.OTHER_PAGE
    if site is not None:
        # same-site is another port of this machine, or a neighbour in the domain
        return {"same-origin": _Sender.OWN_PAGE, "none": _Sender.PERSON}.get(site, _Sender.OTHER_PAGE)
    # over plain HTTP (but for the loopback interface) browsers send no Sec-Fetch-…
    if origin is not None:
        return _Sender.OWN_PAGE
    if referer:
        return _Sender.OWN_PAGE if is_own(referer) else _Sender.OTHER_PAGE
    agent = headers.get("user-agent", "")
    if "upgrade-insecure-requests" in headers or (agent.startswith("Mozilla/") and "PowerShell/" not in agent):
        return _Sender.UNKNOWN_PAGE
    return _Sender.PROGRAM


def _refused_read(request: HttpRequest, sender: _Sender, navigation: _Navigation) -> Refusal | None:
    if sender in (_Sender.OWN_PAGE, _Sender.PERSON):
        return None
    if sender is _Sender.UNKNOWN_PAGE:
        return _from_elsewhere(request.headers, sender) if _COSTLY.fullmatch(request.path) else None
    opens_page = navigation is _Navigation.TOP and "origin" not in request.headers and _PAGES.fullmatch(request.path)
    return None if opens_page else _from_elsewhere(request.headers, sender)


def _from_elsewhere(headers: Mapping[str, str], sender: _Sender) -> Refusal:
    if sender is not _Sender.OTHER_PAGE:
        return Refusal(
            RefusedFor.UNKNOWN_PAGE,
            "",
            f"sent by {sender.value}, expected a page of this server",
            "Use this server's pages, or a program such as curl.",
        )
    named = headers.get("origin") or headers.get("referer") or ""
    origin = WebOrigin.parse(named)
    culprit = str(origin) if origin else named
    where = f" ({_shown(culprit)})" if culprit else ""
    remedy = "Other sites' pages may link to Orthanc Explorer, /ohif and /radiarch/ui, and nothing else."
    if origin is not None:
        remedy += (
            f" If people know this server as {origin} and a proxy in front asks it by another name, add that to"
            " Radiarch.KnownHosts in Orthanc's configuration."
        )
    return Refusal(
        RefusedFor.OTHER_PAGE, culprit, f"sent by a page of another site{where}, expected one of this server", remedy
    )


def _shown(text: str) -> str:
    """What a client has sent, for a log: one line, not long."""
    return ascii(text.strip()[:80])


class RefusalLog:
    """Tells of refusals without flooding a log: each host or origin once in a while, and few in all."""

    EVERY_S = 60.0
    MOST = 20
    """Different ones within that time; a page can make up names without end."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._told: set[tuple[RefusedFor, str]] = set()
        self._untold = 0

    def tell(self, request: HttpRequest, ip: str, refused: Refusal) -> None:
        key = (refused.reason, refused.culprit[:80])
        with self._lock:
            if self._clock() - self._since > self.EVERY_S:
                self._since, untold = self._clock(), self._untold
                self._told.clear()
                self._untold = 0
                if untold:
                    self._write(f"{untold} more HTTP requests were refused in the same ways")
            if key in self._told or len(self._told) >= self.MOST:
                self._untold += 1
                return
            self._told.add(key)
        # no more of the path than where it leads: it may hold a patient's name (WebDAV)
        first = request.path.strip("/").partition("/")[0]
        self._write(
            f"refused {request.method} {_shown('/' + first)} from {_shown(ip)}: {refused.message}. {refused.remedy}"
        )
