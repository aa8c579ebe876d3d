"""``/ohif``: the viewer, our extension for it, and a page that says how to install it while it is not there."""

from __future__ import annotations

import html
import logging
import threading
import time
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse, Response
from radiarch_contract.errors import NotFoundError, RadiarchError

from radiarch_plugin.web.viewer import ROOT, Viewer, ViewerFile, extension_file

log = logging.getLogger(__name__)

router = APIRouter(prefix=ROOT, include_in_schema=False)

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; frame-src 'self' blob:; object-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Only files of our own: the viewer could load nothing from elsewhere even where its code would."""
_LOOK_S = 5.0

IfNoneMatch = Annotated[str, Header(alias="If-None-Match")]
AcceptEncoding = Annotated[str, Header(alias="Accept-Encoding")]


class ViewerSource:
    """The viewer once it is there; while it is not, looked for again every few seconds.

    ``compress`` may be true only where Orthanc does not compress by itself.
    """

    def __init__(self, *, compress: bool = False) -> None:
        self.compress = compress
        self._lock = threading.Lock()
        self._viewer: Viewer | None = None
        self._problem: RadiarchError | None = None
        self._looked = float("-inf")

    def get(self) -> Viewer:
        """
        Raises
        ------
        ServiceError
            See `Viewer.open`.
        """
        with self._lock:
            if self._viewer is not None:
                return self._viewer
            now = time.monotonic()
            if self._problem is None or now - self._looked > _LOOK_S:
                try:
                    self._viewer = Viewer.open()
                    if self.compress:
                        threading.Thread(target=self._viewer.pack, name="radiarch-viewer", daemon=True).start()
                    return self._viewer
                except RadiarchError as e:
                    if str(e) != str(self._problem):
                        log.error("the viewer is not served: %s %s", e, e.info.remedy)
                    self._problem, self._looked = e, now
            raise self._problem


@router.get("/app-config.js")
def configuration(known: IfNoneMatch = "") -> Response:
    """OHIF's configuration: where the data are, and our extension and mode."""
    return _own("app-config.js", known)


@router.get("/extension/{path:path}")
def extension(path: str, known: IfNoneMatch = "") -> Response:
    """A file of our extension."""
    return _own(path, known)


@router.get("")
@router.get("/{path:path}")
def viewer(request: Request, path: str = "", known: IfNoneMatch = "", encodings: AcceptEncoding = "") -> Response:
    """A file of the viewer; its page for each address that it makes up itself (those without a dot)."""
    source: ViewerSource = request.app.state.viewer
    try:
        found = source.get()
    except RadiarchError as e:
        if _is_page(path):
            return _missing(e)
        raise
    file = found.get(path)
    if file is not None and file.media_type.startswith("text/html"):
        return _page(file, known)
    if file is not None:
        return _answer(file, known, gzip=source.compress and "gzip" in encodings.lower())
    page = found.get("") if _is_page(path) else None
    if page is None:
        raise NotFoundError("the viewer has no such file", remedy=f"The viewer is at {ROOT}/.")
    return _page(page, known)


def _is_page(path: str) -> bool:
    return "." not in path.rpartition("/")[2]


def _page(file: ViewerFile, known: str) -> Response:
    answer = _answer(file, known, gzip=False)
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "same-origin"  # over plain HTTP it is what tells our pages from others'
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return answer


def _own(path: str, known: str) -> Response:
    file = extension_file(path)
    if file is None:
        raise NotFoundError("the viewer's extension has no such file", remedy=f"The viewer is at {ROOT}/.")
    return _answer(file, known, gzip=False)


def _answer(file: ViewerFile, known: str, *, gzip: bool) -> Response:
    # an hour: what a hashed name stands for was changed by the plugin, which may be upgraded without OHIF
    cache = "private, max-age=3600" if file.hashed else "no-cache"
    headers = {
        "ETag": file.etag,
        "Cache-Control": cache,
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if file.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=headers)
    if gzip and file.gzipped is not None:
        return Response(file.gzipped, media_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=headers)


def _missing(problem: RadiarchError) -> Response:
    """For people: with status 200, as Orthanc 1.12 would mark any other answer as plain text."""
    text = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>The viewer is not installed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 12vh auto; padding: 0 1.5rem }}
  code {{ font: 0.95em ui-monospace, monospace; background: #8882; padding: 0.15em 0.4em; border-radius: 4px }}
</style>
<h1>The viewer is not there yet</h1>
<p>{html.escape(str(problem))}.</p>
<p>{html.escape(problem.info.remedy)} By hand: <code>npm ci --ignore-scripts</code> in the folder <code>ohif</code> of
the installation. Planning goes on without the viewer; plans, goals and DVHs are in the
<a href="/radiarch/ui/">plan list</a>, and the images in <a href="/app/explorer.html">Orthanc Explorer</a>.</p>
</html>"""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})
