"""Writes the types of what the service answers, from its OpenAPI description, for checking the pages' JavaScript."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from radiarch_contract import API_PREFIX
from radiarch_plugin.services import Runtime
from radiarch_plugin.web.app import create_app

TARGET = Path(__file__).resolve().parents[1] / "ohif/types/service.d.ts"
_HEAD = "// Written by scripts/check from the service's OpenAPI description; not to be edited.\n"
_PLAIN = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def name_of(reference: str) -> str:
    """``#/components/schemas/Page_PlanSummary_`` as a name of TypeScript."""
    return re.sub(r"\W", "", reference.rpartition("/")[2])


def type_of(schema: dict[str, Any]) -> str:
    """A JSON schema as a type of TypeScript; what it leaves open is ``any``."""
    if "$ref" in schema:
        return name_of(schema["$ref"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return f"({(' & ' if union == 'allOf' else ' | ').join(map(type_of, schema[union]))})"
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(type_of, schema['prefixItems']))}]"
        return f"Array<{type_of(schema.get('items', {}))}>"
    if schema.get("type") == "object":
        if "properties" in schema:
            return fields_of(schema)
        values = schema.get("additionalProperties")
        return f"Record<string, {type_of(values) if isinstance(values, dict) else 'any'}>"
    return _PLAIN.get(schema.get("type", ""), "any")


def fields_of(schema: dict[str, Any]) -> str:
    # what is answered has every field, also those that a request may leave out
    lines = [f"  {json.dumps(name)}: {type_of(field)};" for name, field in schema["properties"].items()]
    return "\n".join(["{", *lines, "}"])


def answer_of(operation: dict[str, Any]) -> str:
    """The type of an operation's first JSON answer."""
    for status in ("200", "201"):
        content = operation["responses"].get(status, {}).get("content", {}).get("application/json")
        if content:
            return type_of(content.get("schema", {}))
    return "any"


def by_path(openapi: dict[str, Any], method: str) -> str:
    """A type that depends on the path: of two that fit, the one with more segments comes first."""
    found = []
    for path, operations in openapi["paths"].items():
        if method in operations and path.startswith(API_PREFIX):
            pattern = re.sub(r"\{\w+\}", "${string}", path.removeprefix(API_PREFIX))
            found.append((-pattern.count("/"), "$" in pattern, pattern, answer_of(operations[method])))
    cases = "".join(f"\n  P extends `{pattern}` ? {answer} :" for _, _, pattern, answer in sorted(found))
    return f"export type {method.capitalize()}Answer<P extends string> ={cases}\n  any;\n"


def declarations(openapi: dict[str, Any]) -> str:
    """All of its schemas, exported by their names, and what each method answers at each path."""
    schemas = openapi["components"]["schemas"]
    models = "".join(f"export type {name_of(name)} = {type_of(schema)};\n" for name, schema in schemas.items())
    return _HEAD + models + "".join(by_path(openapi, method) for method in ("get", "post", "delete"))


if __name__ == "__main__":
    text = declarations(create_app(Runtime()).openapi())
    if not TARGET.is_file() or TARGET.read_text() != text:
        TARGET.write_text(text)
