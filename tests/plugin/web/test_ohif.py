"""The viewer's files under /ohif: moved there, refused where a build is another one, and told where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from radiarch_contract.errors import ErrorCode, ServiceError
from radiarch_plugin.services import Runtime
from radiarch_plugin.web import viewer as ohif
from radiarch_plugin.web.routes.ohif import ViewerSource

HASHED = "app.bundle.0123456789abcdef.js"


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder `ohif` with as little of OHIF's build as has all that is moved."""
    dist = tmp_path / ohif.PACKAGE / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist.parent / "package.json").write_text('{"version": "3.13.2"}')
    links = "".join(f'<link href="/assets/{n}.png">' for n in range(29))
    (dist / "index.html").write_text(
        f'{links}<script src="/{HASHED}"></script><script>window.PUBLIC_URL="/"</script><a href="//elsewhere"></a>'
    )
    path = '__webpack_require__.p = "/";\n'
    (dist / HASHED).write_text(path + "browserImportFunction('/dicom-microscopy-viewer/x.js');" + " " * 2000)
    for n in range(7):
        (dist / f"{n}.bundle.js").write_text(path)
    (dist / "app.bundle.css").write_text("a { background: url(/x.woff2) }")
    (dist / "manifest.json").write_text('{"src": "/assets/icon.png"}')
    (dist / "sw.js").write_text("importScripts('https://elsewhere')")
    (dist / "app-config.js").write_text("OHIF's own")
    (dist / "assets/icon.png").write_bytes(b"\x89PNG")
    (tmp_path / "viewer").mkdir()
    (tmp_path / "viewer/extension.js").write_text("export default {}")
    return tmp_path


def test_every_address_is_moved(web: Path) -> None:
    viewer = ohif.Viewer.open(web)

    def text(path: str) -> str:
        found = viewer.get(path)
        assert found is not None
        return found.content.decode()

    assert text("").count('href="/ohif/assets/') == 29
    assert f'src="/ohif/{HASHED}"' in text("index.html")
    assert 'href="//elsewhere"' in text("")
    assert text(HASHED).startswith('__webpack_require__.p = "/ohif/"')
    assert text("3.bundle.js") == '__webpack_require__.p = "/ohif/";\n'
    assert "url(/ohif/x.woff2)" in text("app.bundle.css")
    assert "/ohif/assets/icon.png" in text("manifest.json")
    assert text("sw.js") == ""


@pytest.mark.parametrize("name", ["index.html", HASHED, "app.bundle.css", "manifest.json"])
def test_a_build_that_says_it_otherwise_is_refused(web: Path, name: str) -> None:
    (web / ohif.PACKAGE / "dist" / name).write_text("another build")
    with pytest.raises(ServiceError, match=r"OHIF 3\.13\.2 cannot be served under /ohif") as e:
        ohif.Viewer.open(web)
    assert e.value.code is ErrorCode.NOT_READY


def test_only_its_own_files_are_given_out(web: Path) -> None:
    viewer = ohif.Viewer.open(web)
    (web / "secret.js").write_text("secret")
    for path in (
        "../../../../secret.js",
        "/etc/passwd",
        "app-config.js",
        "package.json",
        "assets",
        "assets/../index.html",
    ):
        assert viewer.get(path) is None
    assert ohif.extension_file("../secret.js", web) is None
    assert ohif.extension_file("extension.js", web) is not None


@dataclass
class Serving:
    """The routes, for a folder `ohif` of the test."""

    http: httpx.Client
    source: ViewerSource
    monkeypatch: pytest.MonkeyPatch

    def serve(self, folder: Path) -> None:
        self.monkeypatch.setattr(ohif.Viewer, "open", partial(ohif.Viewer.open, folder))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
def serving(bridged: tuple[Runtime, FastAPI, httpx.Client], monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    _, app, http = bridged
    before = app.state.viewer
    app.state.viewer = ViewerSource()
    yield Serving(http, app.state.viewer, monkeypatch)
    app.state.viewer = before


def test_pages_of_the_viewer_are_its_page(serving: Serving, web: Path) -> None:
    serving.serve(web)
    for path in ("/ohif", "/ohif/viewer?StudyInstanceUIDs=1.2", "/ohif/radiarch"):
        answer = serving.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert serving.get("/ohif/missing.js").status_code == 404
    assert serving.get("/ohif/app-config.js").text.startswith("// OHIF's configuration")


def test_files_are_compressed_and_kept_by_the_browser(serving: Serving, web: Path) -> None:
    serving.serve(web)
    plain = serving.get(f"/ohif/{HASHED}", accept_encoding="gzip")
    assert "content-encoding" not in plain.headers  # Orthanc compresses by itself
    serving.source.compress = True
    packed = serving.get(f"/ohif/{HASHED}", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert "content-encoding" not in serving.get(f"/ohif/{HASHED}", accept_encoding="identity").headers
    again = serving.get(f"/ohif/{HASHED}", if_none_match=plain.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


def test_without_the_viewer_a_page_says_how_to_install_it(serving: Serving, tmp_path: Path) -> None:
    serving.serve(tmp_path)
    page = serving.get("/ohif/viewer?StudyInstanceUIDs=1.2")
    assert page.headers["content-type"].startswith("text/html")
    assert "scripts/install" in page.text
    assert "not installed" in page.text
    assert serving.get("/ohif/app.bundle.js").status_code == 503
