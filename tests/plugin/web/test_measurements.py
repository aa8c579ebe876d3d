"""Measurements over REST, and the laws that their values keep."""

from __future__ import annotations

import csv
import io
import math
import random
from typing import Any

import pytest
from radiarch_contract.errors import InvalidRequestError
from radiarch_plugin.orthanc.client import HttpRest, OrthancClient
from radiarch_plugin.record.index import StudyIndex
from radiarch_plugin.record.measuring import Point, measured
from radiarch_plugin.store import Ownership

from phantoms import PhantomStudy
from tests.plugin.web.conftest import Api


def turned(points: list[Point], seed: int) -> list[Point]:
    """The same shape elsewhere, about all three axes."""
    rng = random.Random(seed)
    found = points
    for axis in range(3):
        a, shift = rng.uniform(0, 2 * math.pi), rng.uniform(-300, 300)
        i, j = (k for k in range(3) if k != axis)
        moved = []
        for p in found:
            q = list(p)
            q[i], q[j] = p[i] * math.cos(a) - p[j] * math.sin(a), p[i] * math.sin(a) + p[j] * math.cos(a)
            q[axis] += shift
            moved.append((q[0], q[1], q[2]))
        found = moved
    return found


L_SHAPE: list[Point] = [(0, 0, 0), (30, 0, 0), (30, 10, 0), (10, 10, 0), (10, 30, 0), (0, 30, 0)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "points", "value"),
    [
        ("distance", [(0, 0, 0), (3, 4, 12)], 13.0),
        ("angle", [(1, 0, 0), (0, 0, 0), (-1, 1e-4, 0)], 180 - math.degrees(math.atan(1e-4))),
        ("area", L_SHAPE, 500.0),
        ("area", [(x, y, z) for x, y, z in reversed(L_SHAPE)], 500.0),
    ],
)
def test_a_value_does_not_depend_on_where_it_is(kind: str, points: list[Point], value: float, seed: int) -> None:
    assert measured(kind, turned(points, seed)).value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "points", "said"),
    [
        ("distance", [(0, 0, 0)], "1 points"),
        ("angle", [(0, 0, 0), (0, 0, 0), (1, 0, 0)], "are the same"),
        ("area", [(0, 0, 0), (1, 1, 1), (2, 2, 2)], "no area"),
        ("area", [(0, 0, 0), (10, 10, 0), (10, 0, 0), (0, 20, 0)], "crosses itself"),
        ("area", [(0, 0, 0), (10, 0, 0), (10, 10, 9), (0, 10, 0)], "across its plane"),
        ("distance", [(0, 0, 0), (math.inf, 0, 0)], "further than"),
        ("distance", [(0, 0, 0), (math.nan, 0, 0)], "further than"),
    ],
)
def test_what_has_no_value_is_refused(kind: str, points: list[Point], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        measured(kind, points)


@pytest.fixture
def asked(api: Api, study: PhantomStudy, orthanc_url: str) -> dict[str, Any]:
    """A request that is right."""
    api.upload(*study.datasets)
    rest, owner = HttpRest(orthanc_url), Ownership(api.store.database)
    StudyIndex(api.store, OrthancClient(rest), owner).turn()
    owner.release()
    rest.close()
    image = study.images[0]
    return {
        "study_instance_uid": str(image.StudyInstanceUID),
        "series_instance_uid": str(image.SeriesInstanceUID),
        "sop_instance_uid": str(image.SOPInstanceUID),
        "type": "distance",
        "label": "=HYPERLINK(1)",
        "points_mm": [[0, 0, 0], [3, 4, 0]],
    }


def test_a_measurement_is_made_changed_and_deleted(api: Api, asked: dict[str, Any]) -> None:
    made = api.post("/measurements", asked)
    assert made.status_code == 201
    found = made.json()
    assert (found["value"], found["unit"], found["version"], found["former"]) == (5.0, "mm", 1, [])
    path, change = f"/measurements/{found['id']}", {"version": 1, "label": "b", "points_mm": [[0, 0, 0], [0, 0, 2]]}
    url = f"/radiarch/api/v1{path}"
    changed = api.http.put(url, json=change).json()
    assert (changed["value"], changed["version"], changed["former"][0]["value"]) == (2.0, 2, 5.0)
    late = api.http.put(url, json=change)
    assert (late.status_code, late.json()["details"]["version"]) == (409, 2)
    assert api.http.delete(url, headers={"If-Match": '"1"'}).status_code == 409
    assert api.get(path).json() == changed
    assert api.get(f"/studies/{asked['study_instance_uid']}/measurements").json()["items"] == [changed]
    assert api.http.delete(url, headers={"If-Match": '"2"'}).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get("/measurements").json()["items"] == []


def test_no_text_of_an_export_is_a_formula(api: Api, asked: dict[str, Any]) -> None:
    for label in ("=1+1", "+1", "-1", "@a", " =1", "left, upper", "-"):
        api.post("/measurements", {**asked, "label": label}).raise_for_status()
    path = f"/studies/{asked['study_instance_uid']}/export"
    rows = list(csv.DictReader(io.StringIO(api.get(path, format="csv").text)))
    assert [r["label"] for r in rows] == ["'=1+1", "'+1", "'-1", "'@a", "' =1", "left, upper", "'-"]
    assert {(r["value"], r["unit"], r["points_mm"]) for r in rows} == {("5.0", "mm", "0,0,0 3,4,0")}
    assert len(api.get(path).json()["items"]) == 7


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"study_instance_uid": "1.2.3"}, 404),
        ({"sop_instance_uid": "1.2.3"}, 404),
        ({"series_instance_uid": "1.2.3"}, 422),
        ({"patient_id": "somebody else"}, 404),
        ({"type": "volume"}, 422),
        ({"value": 7}, 422),
        ({"points_mm": [[0, 0], [1, 1]]}, 422),
        ({"points_mm": [[0, 0, 0]] * 501}, 422),
    ],
)
def test_a_wrong_request_is_refused(api: Api, asked: dict[str, Any], changes: dict[str, Any], status: int) -> None:
    assert api.post("/measurements", {**asked, **changes}).status_code == status
    assert api.get("/measurements").json()["items"] == []
