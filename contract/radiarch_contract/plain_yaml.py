"""YAML whose values are what they look like, for protocols and requests; needs PyYAML, as `protocol_file` does.

YAML 1.1, which PyYAML reads, takes ``030`` for 24 (octal), ``1:30`` for 90 (base 60), ``1_0`` for 10, ``no`` for false
and ``1e3`` for text. Here ``true`` and ``false`` are bools, decimal numbers are numbers, and all else is text, which
no field for a number takes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema, decimal ones only."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )


def load(text: str | bytes) -> Any:
    """The one document of a text. Raises ``yaml.YAMLError``, `ValueError`, `RecursionError`."""
    return yaml.load(text, Loader=PlainLoader)  # noqa: S506 - derived from the safe loader
