"""The examples in docstrings are true: every module that has any, wherever it lives."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
ROOTS = ("contract", "plugin", "worker", "client")


def modules() -> list[str]:
    """Names of our modules with examples."""
    found = []
    for root in (*(CHECKOUT / r for r in ROOTS), CHECKOUT):
        folders = [CHECKOUT / "phantoms"] if root == CHECKOUT else [root]
        for file in (f for folder in folders for f in folder.rglob("*.py")):
            if ">>> " in file.read_text("utf-8"):
                found.append(".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
    return sorted(found)


def test_there_are_examples() -> None:
    assert {"radiarch_contract.goals", "radiarch_worker.evaluation.dvh"} <= set(modules())


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name == "radiarch_client._client"
