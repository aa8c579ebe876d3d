"""Reading protocols from YAML files; an error names file, line and field. Plugin and client share it.

It needs PyYAML, as `yaml_file` and `plain_yaml` do; nothing else of the contract imports them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import ErrorCode, InvalidRequestError, RadiarchError
from .findings import message
from .protocol import Protocol
from .protocol_names import undefined_names
from .protocol_sketch import Sketch, sketch
from .yaml_file import FieldPath, Problem, UnreadableYamlError, YamlFile, read_yaml

__all__ = [
    "BrokenProtocol",
    "InvalidProtocolsError",
    "LoadedProtocol",
    "Problem",
    "ProtocolFolder",
    "read_folder",
    "read_protocol",
    "undefined_in",
]

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


@dataclass(frozen=True)
class BrokenProtocol:
    """A file that cannot be used, and what can be made out of it nevertheless.

    Attributes
    ----------
    id : as the file gives it, else the file's name
    sketch : for which patients it was; None where it is disabled, or says too little
    """

    id: str
    file: str
    problems: tuple[Problem, ...]
    sketch: Sketch | None

    @property
    def error(self) -> InvalidProtocolsError:
        return InvalidProtocolsError(list(self.problems))


@dataclass(frozen=True)
class ProtocolFolder:
    """What a folder of protocols holds.

    Attributes
    ----------
    loaded : in the order of their files' names
    broken : files with mistakes; they hide no other file
    problem : what is wrong with the folder itself
    """

    loaded: tuple[LoadedProtocol, ...] = ()
    broken: tuple[BrokenProtocol, ...] = ()
    problem: Problem | None = None

    @property
    def problems(self) -> list[Problem]:
        """Every mistake in every file."""
        own = [] if self.problem is None else [self.problem]
        return [*own, *(p for b in self.broken for p in b.problems)]


def read_folder(folder: Path) -> ProtocolFolder:
    """Read every ``*.yaml`` and ``*.yml`` of a folder, in the order of their names."""
    try:
        if not folder.is_dir():
            return ProtocolFolder(problem=Problem(str(folder), 1, "", "the folder of protocols does not exist"))
        files = sorted(
            p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith(".") and p.is_file()
        )
    except OSError as e:
        return ProtocolFolder(problem=Problem(str(folder), 1, "", f"the folder cannot be read: {e.strerror}"))
    read = [_read(path) for path in files]
    files_of: dict[str, list[str]] = {}
    for path, item in zip(files, read, strict=True):
        if isinstance(item, LoadedProtocol):
            files_of.setdefault(item.protocol.id, []).append(path.name)
    loaded: list[LoadedProtocol] = []
    broken: list[BrokenProtocol] = []
    for path, item in zip(files, read, strict=True):
        if isinstance(item, BrokenProtocol):
            broken.append(item)
        elif len(same := files_of[item.protocol.id]) > 1:
            broken.append(_repeated(path, item, [f for f in same if f != path.name]))
        else:
            loaded.append(item)
    return ProtocolFolder(tuple(loaded), tuple(broken))


def read_protocol(path: Path) -> LoadedProtocol:
    """Read one file. Raises `InvalidProtocolsError`."""
    item = _read(path)
    if isinstance(item, BrokenProtocol):
        raise item.error
    return item


def undefined_in(path: Path, protocol: Protocol) -> list[Problem]:
    """Names in a protocol's file that are nowhere defined (`protocol_names`); the protocol can be used all the same."""
    try:
        file = read_yaml(path.name, path.read_bytes())
    except (OSError, UnreadableYamlError):  # changed since it was read
        file = YamlFile(path.name, {}, {})
    return [file.problem(u.where, str(u)) for u in undefined_names(protocol)]


def _read(path: Path) -> LoadedProtocol | BrokenProtocol:
    try:
        data = path.read_bytes()
        file = read_yaml(path.name, data)
    except OSError as e:
        problem = Problem(path.name, 1, "", f"cannot be read: {e.strerror}")
        return BrokenProtocol(path.stem, path.name, (problem,), None)
    except UnreadableYamlError as e:
        return BrokenProtocol(path.stem, path.name, (e.problem,), None)
    try:
        protocol = Protocol.model_validate(file.values)
    except ValidationError as e:
        problems = tuple(file.problem(where, text) for where, text in _findings(e, file.values))
        given = file.values.get("id")
        protocol_id = given if isinstance(given, str) and given else path.stem
        return BrokenProtocol(protocol_id, path.name, problems, sketch(file.values))
    return LoadedProtocol(protocol, path.name, hashlib.sha256(data).hexdigest())


def _repeated(path: Path, item: LoadedProtocol, others: Sequence[str]) -> BrokenProtocol:
    """One of several files with one id: nobody knows which is meant."""
    try:
        file = read_yaml(path.name, path.read_bytes())
    except (OSError, UnreadableYamlError):  # changed since it was read
        file = YamlFile(path.name, {}, {})
    problem = file.problem(("id",), f"{item.protocol.id!r} is the id of {', '.join(others)} too")
    return BrokenProtocol(item.protocol.id, path.name, (problem,), sketch(file.values))


def _findings(e: ValidationError, values: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    for item in e.errors(include_url=False):
        error = item.get("ctx", {}).get("error")
        # the workflow's own findings, which the protocol's validator wrapped
        cause = error.__context__ if isinstance(error, Exception) else None
        inner = cause.info.details.get("errors") if isinstance(cause, RadiarchError) and not item["loc"] else None
        if not inner:
            yield tuple(item["loc"]), message(item, Protocol)
            continue
        for x in inner:
            where: FieldPath = tuple(int(p) if p.isdigit() else p for p in x["field"].split(".") if p)
            if where and where[0] in (values.get("calculation") or {}):
                where = ("calculation", *where)
            yield where, x["message"].removeprefix("Value error, ")
