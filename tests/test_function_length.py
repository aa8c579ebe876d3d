"""Functions fit a screen: their statements, without signature, docstring and functions within, are a bounded number."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
ROOTS = ("contract", "plugin", "worker", "client")
MAX_LINES = 60
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[ast.get_docstring(function, clean=False) is not None :]
    if not body:
        return 0
    within = (n for statement in body for n in ast.walk(statement) if isinstance(n, FUNCTIONS))
    inner = {line for n in within for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)}
    return len(set(range(body[0].lineno, (function.end_lineno or 0) + 1)) - inner)


@pytest.mark.parametrize("root", ROOTS)
def test_no_function_is_too_long(root: str) -> None:
    long = {
        f"{path.relative_to(CHECKOUT)}:{node.name}": count
        for path in (CHECKOUT / root).rglob("*.py")
        if "migrations" not in path.parts  # what was done once stays as it was
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, FUNCTIONS) and (count := lines_of(node)) > MAX_LINES
    }
    assert not long
