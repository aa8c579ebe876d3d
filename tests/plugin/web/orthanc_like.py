"""httpx over the bridge, with what Orthanc does to a request on its way: a real Orthanc is in `test_bridge`."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import httpx
from radiarch_plugin.orthanc.bridge import AsgiBridge

# Statuses that plugin 4.0 and 5.0 refuse: the client gets no answer at all
REFUSED = frozenset({301, 308, 405, 418, 421, 425, 428, 429, 431, 451, 508, 511})


class Output:
    """``orthanc.RestOutput`` of plugin 4.0."""

    def __init__(self) -> None:
        self.answer: httpx.Response | None = None
        self.headers: list[tuple[str, str]] = []

    def SetHttpHeader(self, name: str, value: str) -> None:  # noqa: N802
        self.headers.append((name, value))

    def AnswerBuffer(self, body: bytes, mime: str) -> None:  # noqa: N802
        self._send(200, body, [("content-type", mime)])

    def SendMethodNotAllowed(self, methods: str) -> None:  # noqa: N802
        self._send(405, b"", [("allow", methods)])

    def SendHttpStatus(self, status: int, text: str, length: int) -> None:  # noqa: N802
        assert status not in REFUSED, f"Orthanc drops the connection at status {status}"
        assert isinstance(text, str)
        body = text.encode()
        assert len(body) == length
        self._send(status, body, [])

    def _send(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        assert self.answer is None, "answered twice"
        self.answer = httpx.Response(status, content=body, headers=[*self.headers, *headers])


class OrthancLike(httpx.BaseTransport):
    """Decodes the path, strips its end, drops the query but for GET, keeps one of repeated headers and keys."""

    def __init__(self, bridge: AsgiBridge) -> None:
        self._bridge = bridge

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method not in ("GET", "POST", "PUT", "DELETE"):
            return httpx.Response(400 if request.method == "PATCH" else 404)
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers.setdefault(name.lower(), value)
        told: dict[str, Any] = {"method": request.method, "headers": headers, "groups": ()}
        if request.method == "GET":
            pairs = (p.partition("=") for p in request.url.query.decode("ascii").split("&") if p)
            told["get"] = {key: value for key, _, value in pairs}
        if request.method in ("POST", "PUT"):
            told["body"] = request.read()
        path = "/" + "/".join(p for p in unquote(request.url.raw_path.decode().partition("?")[0]).split("/") if p)
        output = Output()
        self._bridge(output, path, **told)  # type: ignore[arg-type]
        assert output.answer is not None, "not answered"
        return output.answer
