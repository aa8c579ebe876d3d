"""YAML files that a site writes, with the line of every field; what stands in them is their readers' business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from .plain_yaml import PlainLoader

MAX_BYTES = 1024 * 1024

FieldPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake in a file; ``line`` counts from 1."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, field {self.field or '(whole file)'}: {self.message}"

    @property
    def details(self) -> dict[str, Any]:
        """For an error's details."""
        return {"file": self.file, "line": self.line, "field": self.field, "message": self.message}


class UnreadableYamlError(Exception):
    """A file that is no YAML of fields; the readers make their own error of its problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


@dataclass(frozen=True)
class YamlFile:
    """The values of a file, and the line of every key and list item."""

    name: str
    values: dict[str, Any]
    lines: Mapping[FieldPath, int]

    def problem(self, where: FieldPath, message: str) -> Problem:
        """A mistake in a field; the line is of what encloses it where the field itself is missing."""
        for n in range(len(where), 0, -1):
            if where[:n] in self.lines:
                line = self.lines[where[:n]]
                break
        else:
            line = 1
        return Problem(self.name, line, ".".join(map(str, where)), message)


def read_yaml(name: str, data: bytes) -> YamlFile:
    """Read a file's bytes.

    Raises
    ------
    UnreadableYamlError
    """
    if len(data) > MAX_BYTES:
        raise UnreadableYamlError(Problem(name, 1, "", f"{len(data)} bytes, at most {MAX_BYTES} are read"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UnreadableYamlError(Problem(name, data.count(b"\n", 0, e.start) + 1, "", "not UTF-8 text")) from None
    try:
        loader = PlainLoader(text)
    except yaml.YAMLError as e:  # a character that YAML does not have
        raise UnreadableYamlError(Problem(name, 1, "", f"not YAML: {e}")) from None
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UnreadableYamlError(Problem(name, 1, "", "expected fields such as 'id: prostate', found none"))
        lines: dict[FieldPath, int] = {}
        for where, line, repeated in _walk(node, (), ()):
            if repeated or where in lines:
                message = "contains itself" if repeated else "occurs twice"
                raise UnreadableYamlError(Problem(name, line, ".".join(map(str, where)), message))
            lines[where] = line
        return YamlFile(name, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        message = " ".join(str(x) for x in (e.context, e.problem) if x)
        raise UnreadableYamlError(Problem(name, mark.line + 1 if mark else 1, "", f"not YAML: {message}")) from None
    except yaml.YAMLError as e:
        raise UnreadableYamlError(Problem(name, 1, "", f"not YAML: {e}")) from None
    except (ValueError, RecursionError) as e:  # such as the timestamp 2024-99-99, or very deep nesting
        raise UnreadableYamlError(Problem(name, 1, "", f"not usable YAML: {e}")) from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, where: FieldPath, above: tuple[int, ...]) -> Iterator[tuple[FieldPath, int, bool]]:
    """Path and line of everything below a node; the flag marks an anchor that contains itself."""
    if id(node) in above:
        yield where, node.start_mark.line + 1, True
        return
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*where, str(key.value))
            yield path, key.start_mark.line + 1, False
            yield from _walk(value, path, above)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            path = (*where, i)
            yield path, value.start_mark.line + 1, False
            yield from _walk(value, path, above)
