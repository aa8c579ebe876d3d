"""What can be made out of a protocol that cannot be used: whether a patient would have been planned with it.

A mistyped file stops planning by its own protocol, not by others. But where it would have been taken first, another
protocol's dose is not what the site wants for that patient: so far as the file can be read, it is known for which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from .derived import Definitions, leaves
from .errors import RadiarchError
from .protocol import Match, Protocol
from .strict import Asked
from .structures import StructureSelector
from .workflows import WORKFLOWS


class _Named(Asked):
    definitions: Definitions


@dataclass(frozen=True)
class Sketch:
    """The readable part of a protocol.

    Attributes
    ----------
    priority : None where it cannot be read: then it may have been the highest
    starts_from : what arrives: rtstruct, rtplan or rtdose
    match : conditions that can be read
    targets : structures that the targets are, or are made of; empty for a protocol that checks without any
    """

    starts_from: str
    priority: int | None
    match: Match
    selectors: Mapping[str, StructureSelector] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)


def sketch(values: Mapping[str, Any]) -> Sketch | None:
    """What a file's values say, wrong ones left out; None where it is disabled, or says too little."""
    if values.get("enabled") is False:
        return None
    workflow = values.get("workflow")
    known = WORKFLOWS.get(workflow) if isinstance(workflow, str) else None
    starts_from = known.starts_from if known else "rtstruct"
    targets = _targets(values.get("prescription"))
    if starts_from == "rtstruct" and not targets:
        return None
    definitions = _definitions(values.get("derived"))
    priority = values.get("priority", Protocol.model_fields["priority"].default)
    try:
        targets = leaves(targets, definitions)
    except RadiarchError:
        return None
    return Sketch(
        starts_from=starts_from,
        priority=priority if type(priority) is int else None,
        match=_match(values.get("match")),
        selectors=_selectors(values.get("structures")),
        targets=tuple(targets),
        definitions=definitions,
    )


def _targets(prescription: Any) -> list[str]:
    """Names of targets, the main one first; none where that one cannot be read."""
    if not isinstance(prescription, Mapping):
        return []
    more = prescription.get("more")
    others: Sequence[Any] = more if isinstance(more, list) else ()
    names = [prescription.get("target"), *(t.get("target") for t in others if isinstance(t, Mapping))]
    return [n for n in names if isinstance(n, str) and n] if isinstance(names[0], str) and names[0] else []


def _match(values: Any) -> Match:
    readable: dict[str, Any] = {}
    for key, value in values.items() if isinstance(values, Mapping) else ():
        try:
            Match.model_validate({key: value})
        except (ValidationError, TypeError):
            continue
        readable[key] = value
    return Match.model_validate(readable)


def _selectors(values: Any) -> dict[str, StructureSelector]:
    readable: dict[str, StructureSelector] = {}
    for name, value in values.items() if isinstance(values, Mapping) else ():
        try:
            readable[str(name)] = StructureSelector.model_validate(value)
        except ValidationError:
            continue
    return readable


def _definitions(values: Any) -> dict[str, str]:
    try:
        return _Named(definitions=values or {}).definitions
    except ValidationError:
        return {}
