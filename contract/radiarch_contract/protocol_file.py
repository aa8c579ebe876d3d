"""Reading protocols from YAML files; an error names file, line and field. Plugin and client share it.

It needs PyYAML, as `yaml_file` and `plain_yaml` do; nothing else of the contract imports them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import ErrorCode, InvalidRequestError, RadiarchError
from .protocol import Protocol
from .yaml_file import FieldPath, Problem, UnreadableYamlError, YamlFile, read_yaml

__all__ = ["InvalidProtocolsError", "LoadedProtocol", "Problem", "read_folder", "read_protocol"]

REMEDY = "Correct the file; docs/protocols.md describes the fields."


@dataclass(frozen=True)
class LoadedProtocol:
    """A protocol with the file that it came from; ``sha256`` is of the file's bytes, as ``sha256sum`` prints it."""

    protocol: Protocol
    file: str
    sha256: str


class InvalidProtocolsError(InvalidRequestError):
    """Protocols that cannot be used; ``problems`` has every one found."""

    default_code = ErrorCode.INVALID_PROTOCOL

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(map(str, problems)),
            remedy=REMEDY,
            problems=[p.details for p in problems],
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
            file = _read(path.name, path.read_bytes())
            problems.append(file.problem(("id",), f"{item.protocol.id!r} is the id of {other} too"))
        loaded.append(item)
    if problems:
        raise InvalidProtocolsError(problems)
    return loaded


def read_protocol(path: Path) -> LoadedProtocol:
    """Read one file. Raises `InvalidProtocolsError`."""
    data = path.read_bytes()
    file = _read(path.name, data)
    try:
        protocol = Protocol.model_validate(file.values)
    except ValidationError as e:
        raise InvalidProtocolsError(
            [file.problem(where, message) for where, message in _findings(e, file.values)]
        ) from None
    return LoadedProtocol(protocol, path.name, hashlib.sha256(data).hexdigest())


def _read(name: str, data: bytes) -> YamlFile:
    try:
        return read_yaml(name, data)
    except UnreadableYamlError as e:
        raise InvalidProtocolsError([e.problem]) from None


def _findings(e: ValidationError, values: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    for item in e.errors(include_url=False):
        error = item.get("ctx", {}).get("error")
        # the workflow's own findings, which the protocol's validator wrapped
        cause = error.__context__ if isinstance(error, Exception) else None
        inner = cause.info.details.get("errors") if isinstance(cause, RadiarchError) and not item["loc"] else None
        if not inner:
            yield tuple(item["loc"]), item["msg"].removeprefix("Value error, ")
            continue
        for x in inner:
            where: FieldPath = tuple(int(p) if p.isdigit() else p for p in x["field"].split(".") if p)
            if where and where[0] in (values.get("calculation") or {}):
                where = ("calculation", *where)
            yield where, x["message"].removeprefix("Value error, ")
