"""Reading protocols from YAML files; an error names file, line and field. Plugin and client share it.

With `plain_yaml` the one module of the contract that needs PyYAML; no other imports them. Matching is the plugin's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import ErrorCode, InvalidRequestError, RadiarchError
from .plain_yaml import PlainLoader
from .protocol import Protocol

MAX_BYTES = 1024 * 1024
REMEDY = "Correct the file; docs/protocols.md describes the fields."

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class LoadedProtocol:
    """A protocol with the file that it came from; ``sha256`` is of the file's bytes, as ``sha256sum`` prints it."""

    protocol: Protocol
    file: str
    sha256: str


@dataclass(frozen=True)
class Problem:
    """One mistake in a protocol's file; ``line`` counts from 1."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}, field {self.field or '(whole file)'}: {self.message}"


class InvalidProtocolsError(InvalidRequestError):
    """Protocols that cannot be used; ``problems`` has every one found."""

    default_code = ErrorCode.INVALID_PROTOCOL

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(map(str, problems)),
            remedy=REMEDY,
            problems=[{"file": p.file, "line": p.line, "field": p.field, "message": p.message} for p in problems],
        )


def read_folder(folder: Path) -> list[LoadedProtocol]:
    """Read every ``*.yaml`` and ``*.yml`` of a folder, in the order of their names.

    Raises
    ------
    InvalidProtocolsError
        With every mistake in every file. Nothing is loaded then: without one protocol another could match and plan
        a patient in a way that nobody wanted.
    """
    if not folder.is_dir():
        raise InvalidProtocolsError([Problem(str(folder), 1, "", "the folder of protocols does not exist")])
    files = sorted(
        p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith(".") and p.is_file()
    )
    loaded: list[LoadedProtocol] = []
    problems: list[Problem] = []
    owner: dict[str, str] = {}
    for path in files:
        try:
            item = read_protocol(path)
        except InvalidProtocolsError as e:
            problems += e.problems
            continue
        other = owner.setdefault(item.protocol.id, path.name)
        if other != path.name:
            line = _id_line(path)
            problems.append(Problem(path.name, line, "id", f"{item.protocol.id!r} is the id of {other} too"))
        loaded.append(item)
    if problems:
        raise InvalidProtocolsError(problems)
    return loaded


def read_protocol(path: Path) -> LoadedProtocol:
    """Read one file. Raises `InvalidProtocolsError`."""
    data = path.read_bytes()
    if len(data) > MAX_BYTES:
        raise InvalidProtocolsError([Problem(path.name, 1, "", f"{len(data)} bytes, at most {MAX_BYTES} are read")])
    values, lines = _parse(path.name, data)
    try:
        protocol = Protocol.model_validate(values)
    except ValidationError as e:
        raise InvalidProtocolsError(
            [
                Problem(path.name, _line(lines, where), ".".join(map(str, where)), message)
                for where, message in _findings(e, values)
            ]
        ) from None
    return LoadedProtocol(protocol, path.name, hashlib.sha256(data).hexdigest())


def _parse(file: str, data: bytes) -> tuple[dict[str, Any], dict[Path_, int]]:
    """The YAML's values, and the line of every key and list item."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InvalidProtocolsError([Problem(file, data.count(b"\n", 0, e.start) + 1, "", "not UTF-8 text")]) from None
    loader = PlainLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise InvalidProtocolsError([Problem(file, 1, "", "expected fields such as 'id: prostate', found none")])
        lines: dict[Path_, int] = {}
        for where, line, repeated in _walk(node, (), ()):
            if repeated or where in lines:
                message = "contains itself" if repeated else "occurs twice"
                raise InvalidProtocolsError([Problem(file, line, ".".join(map(str, where)), message)])
            lines[where] = line
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        message = " ".join(str(x) for x in (e.context, e.problem) if x)
        raise InvalidProtocolsError([Problem(file, mark.line + 1 if mark else 1, "", f"not YAML: {message}")]) from None
    except yaml.YAMLError as e:
        raise InvalidProtocolsError([Problem(file, 1, "", f"not YAML: {e}")]) from None
    except (ValueError, RecursionError) as e:  # such as the timestamp 2024-99-99, or very deep nesting
        raise InvalidProtocolsError([Problem(file, 1, "", f"not usable YAML: {e}")]) from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, where: Path_, above: tuple[int, ...]) -> Iterator[tuple[Path_, int, bool]]:
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


def _findings(e: ValidationError, values: Mapping[str, Any]) -> Iterator[tuple[Path_, str]]:
    for item in e.errors(include_url=False):
        error = item.get("ctx", {}).get("error")
        # the workflow's own findings, which the protocol's validator wrapped
        cause = error.__context__ if isinstance(error, Exception) else None
        inner = cause.info.details.get("errors") if isinstance(cause, RadiarchError) and not item["loc"] else None
        if not inner:
            yield tuple(item["loc"]), item["msg"].removeprefix("Value error, ")
            continue
        for x in inner:
            where: Path_ = tuple(int(p) if p.isdigit() else p for p in x["field"].split(".") if p)
            if where and where[0] in (values.get("calculation") or {}):
                where = ("calculation", *where)
            yield where, x["message"].removeprefix("Value error, ")


def _line(lines: Mapping[Path_, int], where: Path_) -> int:
    """The line of a field; of what encloses it where the field itself is missing."""
    for n in range(len(where), 0, -1):
        if where[:n] in lines:
            return lines[where[:n]]
    return 1


def _id_line(path: Path) -> int:
    return _line(_parse(path.name, path.read_bytes())[1], ("id",))
