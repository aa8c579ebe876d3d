"""Whether answers are what OpenAPI says that they are; for every answer that a test gets."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator

JSON = "application/json"


class Described:
    """An event hook for `httpx.Client`: an answer that is not as described fails the test that asked."""

    def __init__(self, app: FastAPI) -> None:
        self._spec: dict[str, Any] = app.openapi()
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations)
            for path, operations in sorted(self._spec["paths"].items(), key=lambda item: "{" in item[0])
        ]
        self._validator = cache(self._make_validator)

    def __call__(self, response: httpx.Response) -> None:
        request = response.request
        found: dict[str, Any] = next((ops for path, ops in self._paths if path.fullmatch(request.url.path)), {})
        operation = found.get(request.method.lower())
        if operation is None:
            return
        answers = operation["responses"]
        status = str(response.status_code)
        described = answers.get(status) or answers.get(f"{status[0]}XX")
        where = f"{request.method} {request.url.path}: {status}"
        assert described is not None, f"{where} is not described"
        response.read()
        kind = response.headers.get("content-type", "").partition(";")[0]
        content = described.get("content", {})
        assert kind in content or (not response.content and not content), f"{where} is {kind or 'nothing'}"
        if kind == JSON:
            schema = content[kind]["schema"]["$ref"]
            errors = [e.message[:300] for e in self._validator(schema).iter_errors(response.json())]
            assert not errors, f"{where} is not a {schema}: {errors[:3]}"

    def _make_validator(self, ref: str) -> Draft202012Validator:
        return Draft202012Validator({"$ref": ref, "components": self._spec["components"]})
