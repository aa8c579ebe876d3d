"""OpenAPI describes every answer; that the answers are so is seen by `described` in all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from radiarch_contract import API_PREFIX
from radiarch_plugin.services import Runtime
from radiarch_plugin.web.app import create_app

from tests.plugin.web.described import JSON, Described

ERROR = {"$ref": "#/components/schemas/ErrorAnswer"}
FREE = {
    "details": "facts of an error, of each code its own",
    "data": "of an event, of each type its own",
    "parameters": "of the workflow, whose JSON schema /workflows has",
    "defaults": "of the workflow",
    "calculation": "parameters of a protocol's workflow",
    "request": "as it was asked",
    "provenance": "of engines and data, as the worker has them",
    "solver": "of the optimizer, as the worker has it",
    "iterations": "of the optimizer, as the worker has them",
    "engines": "of a worker, as it has them",
}
"""Fields whose content is told elsewhere."""


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Runtime())


@pytest.fixture(scope="module")
def spec(app: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = app.openapi()
    return found


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_answer_has_its_shape(spec: dict[str, Any]) -> None:
    names = [name for name, _ in operations(spec)]
    assert len(names) > 50
    for name, operation in operations(spec):
        answers = operation["responses"]
        good = {status: answer for status, answer in answers.items() if status.startswith("2")}
        assert good, f"{name} has no answer"
        for status, answer in good.items():
            content = answer.get("content", {})
            assert bool(content) == (status != "204"), f"{name} {status} says nothing"
            for kind, described in content.items():
                schema = described.get("schema") or {}
                if kind == JSON:
                    assert schema.get("$ref"), f"{name} {status} has no model"
                else:
                    assert schema.get("type") == "string", f"{name} {status}: {kind} has no schema"


def test_every_error_has_its_shape(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        for status in ("4XX", "5XX"):
            answer = operation["responses"].get(status)
            assert answer is not None, f"{name} does not say how it fails"
            assert answer["content"] == {JSON: {"schema": ERROR}}, f"{name} {status}"


def test_every_operation_says_what_it_does(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        assert operation.get("description"), name
        assert operation.get("tags"), name


def test_only_what_workers_ask_and_files_are_left_out(app: FastAPI) -> None:
    hidden = {r.path for r in app.routes if isinstance(r, APIRoute) and not r.include_in_schema}
    assert {p for p in hidden if p.startswith(API_PREFIX) and "/store/" not in p} == set()


def free_fields(schema: dict[str, Any]) -> Iterator[str]:
    """Fields of an object that may hold anything."""
    for field, described in schema.get("properties", {}).items():
        for part in [described, described.get("items", {}), *described.get("anyOf", ())]:
            if part.get("additionalProperties") is True or (part is described and set(part) <= {"title", "default"}):
                yield field


def test_a_field_that_may_hold_anything_is_a_known_one(spec: dict[str, Any]) -> None:
    found = {f"{name}.{field}": field for name, s in spec["components"]["schemas"].items() for field in free_fields(s)}
    assert {name for name, field in found.items() if field not in FREE} == set()


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "body", "fails"),
    [
        ("GET", "/workers", 200, JSON, b'{"items":[],"next":null}', None),
        ("GET", "/workers", 200, JSON, b'{"items":[{"name":"w"}],"next":null}', "is not a"),
        ("GET", "/plans/abc", 404, JSON, b'{"detail":"Not Found"}', "is not a"),
        ("GET", "/plans/abc/dvh", 200, "text/csv; charset=utf-8", b"a,b", None),
        ("GET", "/plans/abc/dvh", 200, "text/html", b"<p>", "is text/html"),
        ("GET", "/plans/abc", 302, JSON, b"{}", "is not described"),
        ("DELETE", "/sessions/abc", 204, "", b"", None),
    ],
)
def test_an_answer_that_is_not_as_described_is_seen(
    app: FastAPI, method: str, path: str, status: int, kind: str, body: bytes, fails: str | None
) -> None:
    request = httpx.Request(method, f"http://orthanc{API_PREFIX}{path}")
    headers = {"content-type": kind} if kind else {}
    response = httpx.Response(status, content=body, headers=headers, request=request)
    if fails is None:
        Described(app)(response)
        return
    with pytest.raises(AssertionError, match=fails):
        Described(app)(response)
