"""What the pages ask the service for: their files, what changed, structure sets; how they look: tests/browser."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from radiarch_contract.errors import ServiceError
from radiarch_plugin.web.routes.changes import POLLS_PER_S, SHORTEST_S, Pace
from radiarch_plugin.web.static_files import VENDOR, StaticFiles

from phantoms import PhantomStudy
from tests.plugin.store.samples import new_arrival, new_plan
from tests.plugin.web.conftest import Api


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder like ``ohif``."""
    made = {f"node_modules/{place}": "export {}" for place in VENDOR.values()} | {
        "ui/index.html": "{{preload}}<script type=module src={{static}}/ui/app.js></script>",
        "ui/app.js": "import '../elements/index.js'",
        "elements/index.js": "export const one = 1",
        "elements/README.md": "not for the browser",
    }
    for name, text in made.items():
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "web"


def test_a_page_names_the_files_of_its_own_version_and_all_modules_at_once(web: Path) -> None:
    tree = StaticFiles(web).tree()
    html = tree.page("ui/index.html").content.decode()
    for module in ("ui/app.js", "elements/index.js", "vendor/preact.mjs"):
        assert f'<link rel="modulepreload" href="/radiarch/static/{tree.version}/{module}">' in html
    assert f"src=/radiarch/static/{tree.version}/ui/app.js" in html
    assert not any("README" in path for path in tree.files)


def test_another_content_is_another_version(web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiarch_plugin.web.static_files._LOOK_S", -1.0)
    files = StaticFiles(web)
    before = files.tree()
    (web / "elements/index.js").write_text("export const two = 22")
    after = files.tree()
    assert before.version != after.version
    assert before.files["ui/app.js"].etag == after.files["ui/app.js"].etag


def test_without_the_packages_of_npm_the_remedy_is_said(web: Path) -> None:
    (web / "node_modules/uplot/dist/uPlot.esm.js").unlink()
    with pytest.raises(ServiceError) as e:
        StaticFiles(web).tree()
    assert "scripts/install" in e.value.info.remedy


def test_files_are_kept_by_version_and_asked_for_anew_elsewhere(api: Api, web: Path) -> None:
    api.app.state.static_files = StaticFiles(web)
    page = api.http.get("/radiarch/ui")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    version = api.app.state.static_files.tree().version
    kept = api.http.get(f"/radiarch/static/{version}/elements/index.js")
    assert "immutable" in kept.headers["cache-control"]
    assert kept.headers["x-content-type-options"] == "nosniff"
    assert kept.headers["content-type"].startswith("text/javascript")
    assert "immutable" not in api.http.get("/radiarch/static/0123/elements/index.js").headers["cache-control"]
    loose = api.http.get("/radiarch/elements/index.js")
    assert loose.headers["cache-control"] == "no-cache"
    again = api.http.get("/radiarch/elements/index.js", headers={"If-None-Match": loose.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/radiarch/elements/../ui/index.html",
        "/radiarch/elements/%2e%2e/package.json",
        "/radiarch/elements/README.md",
        "/radiarch/static/x/ui/index.html",
        "/radiarch/static/x//etc/passwd",
        "/radiarch/vendor/preact/package.json",
    ],
)
def test_nothing_but_the_pages_files_is_given_out(api: Api, web: Path, path: str) -> None:
    api.app.state.static_files = StaticFiles(web)
    assert api.http.get(path).status_code == 404


def test_changes_name_the_plans_that_changed_and_no_others(api: Api) -> None:
    quiet, _ = api.store.plans.create(new_plan())
    start = api.get("/changes").json()
    assert start["plans"] == []
    changed, _ = api.store.plans.create(new_plan())
    api.store.plans.cancel(changed.id)
    answer = api.get("/changes", since=start["next"]).json()
    assert [(p["id"], p["state"]) for p in answer["plans"]] == [(changed.id, "cancelled")]
    assert answer["complete"]
    assert answer["arrivals"] == start["arrivals"]
    after = api.get("/changes", since=answer["next"]).json()
    assert (after["plans"], after["next"]) == ([], answer["next"])
    assert quiet.state == "queued"


def test_changes_tell_of_arrivals_and_of_too_much(api: Api) -> None:
    start = api.get("/changes").json()
    api.store.arrivals.admit(new_arrival("1.2.3.4", "a" * 64, plan=False))
    assert api.get("/changes").json()["arrivals"] != start["arrivals"]
    for _ in range(101):
        api.store.plans.create(new_plan())
    answer = api.get("/changes", since=start["next"]).json()
    assert (answer["complete"], answer["plans"]) == (False, [])
    # a page that knew another database
    beyond = api.get("/changes", since=10_000_000).json()
    assert (beyond["complete"], beyond["next"]) == (False, answer["next"])


def test_pages_are_spread_over_time_and_a_single_one_asks_soon() -> None:
    assert Pace().wait_s() == pytest.approx(SHORTEST_S, abs=0.2)
    crowd = Pace()
    waits = [crowd.wait_s() for _ in range(100)]
    gaps = [b - a for a, b in pairwise(waits)]
    assert max(waits) == pytest.approx(SHORTEST_S + 99 / POLLS_PER_S, rel=0.1)
    assert min(gaps) > 0.5 / POLLS_PER_S


def test_a_structure_set_and_what_would_become_of_it(api: Api, study: PhantomStudy) -> None:
    api.upload(*study.datasets[:-1], study.rtstruct)
    uid, study_uid = str(study.rtstruct.SOPInstanceUID), str(study.rtstruct.StudyInstanceUID)
    (listed,) = api.get("/structure-sets", study_uid=study_uid).json()["items"]
    assert listed["sop_instance_uid"] == uid
    found = api.get(f"/structure-sets/{uid}").json()
    assert found["missing_instances"] == 0
    assert "PTV" in [s["name"] for s in found["structures"]]
    assert found["problem"] is None
    answer = api.get(f"/structure-sets/{uid}/matches").json()
    (tried,) = answer["protocols"]
    assert (answer["chosen"], tried["fits"], tried["enabled"]) == ("box", True, True)
    assert {"name": "PTV", "roi_number": 2, "roi_name": "PTV"} in tried["structures"]


def test_what_no_protocol_fits_says_why(api: Api, study: PhantomStudy) -> None:
    study.rtstruct.StructureSetROISequence[1].ROIName = "Something"
    api.upload(study.rtstruct)
    answer = api.get(f"/structure-sets/{study.rtstruct.SOPInstanceUID}/matches").json()
    assert answer["chosen"] is None
    assert "PTV" in answer["protocols"][0]["reason"]
    found = api.get(f"/structure-sets/{study.rtstruct.SOPInstanceUID}").json()
    assert found["missing_instances"] == found["referenced_instances"] == 3


@pytest.mark.parametrize(
    "path", ["/structure-sets/1.2.3.4.5", "/structure-sets/nonsense", "/structure-sets/1.2.3/matches"]
)
def test_a_structure_set_that_is_not_there(api: Api, path: str) -> None:
    assert api.get(path).status_code == 404
