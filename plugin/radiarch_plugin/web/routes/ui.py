"""``/radiarch/ui`` and the files that all pages share; what they show comes from the REST API.

The page names its files under ``/radiarch/static/{version}/``, where the version is a hash of all of them: the browser
keeps them for ever, and an upgrade is seen at once. ``/radiarch/elements/`` has the same files for other pages, asked
for anew each time (304 where nothing changed).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from radiarch_contract.errors import NotFoundError

from radiarch_plugin.web.static_files import StaticFile, StaticFiles, Tree

router = APIRouter(prefix="/radiarch", include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "object-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"

IfNoneMatch = Annotated[str, Header(alias="If-None-Match")]


@router.get("/ui")
@router.get("/ui/")  # behind another server than Orthanc, which strips the slash
def page(request: Request, known: IfNoneMatch = "") -> Response:
    """The page; where in it, the part of the address behind ``#`` says."""
    answer = _answer(_files(request).tree().page("ui/index.html"), known, _ASK_AGAIN)
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "same-origin"  # over plain HTTP it is what tells our pages from others'
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return answer


@router.get("/static/{version}/{path:path}")
def versioned(version: str, path: str, request: Request, known: IfNoneMatch = "") -> Response:
    """A file of one version; of another version than the present one it must not be kept."""
    tree = _files(request).tree()
    return _answer(_find(tree, path), known, _FOR_EVER if version == tree.version else _ASK_AGAIN)


@router.get("/elements/{path:path}")
def element(path: str, request: Request, known: IfNoneMatch = "") -> Response:
    """A file of the elements as it is now."""
    return _answer(_find(_files(request).tree(), f"elements/{path}"), known, _ASK_AGAIN)


@router.get("/vendor/{path:path}")
def vendor(path: str, request: Request, known: IfNoneMatch = "") -> Response:
    """What the elements import from npm's packages."""
    return _answer(_find(_files(request).tree(), f"vendor/{path}"), known, _ASK_AGAIN)


def _files(request: Request) -> StaticFiles:
    files: StaticFiles = request.app.state.static_files
    return files


def _find(tree: Tree, path: str) -> StaticFile:
    found = None if path.endswith(".html") else tree.files.get(path)
    if found is None:
        raise NotFoundError("there is no such file", remedy="The light page is at /radiarch/ui/.")
    return found


def _answer(file: StaticFile, known: str, cache: str) -> Response:
    headers = {"ETag": file.etag, "Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
    if file.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
