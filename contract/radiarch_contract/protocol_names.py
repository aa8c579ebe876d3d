"""Structures that a protocol names and that are nowhere defined, such as mistyped ones; matching is `structures`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .derived import leaves
from .goals import Goal
from .near import did_you_mean, nearest
from .protocol import Protocol
from .structures import dose_level, normalize, standard_names


@dataclass(frozen=True)
class UndefinedName:
    """A name that is neither standard nor defined by its protocol.

    Attributes
    ----------
    where : path of the field in the protocol
    near : names that may be meant, the nearest first
    """

    where: tuple[str | int, ...]
    name: str
    near: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.name!r} is neither a known TG-263 name or synonym, nor defined under structures, derived, "
            f"match.structures or prescription{did_you_mean(self.near)}"
        )


def undefined_names(protocol: Protocol) -> list[UndefinedName]:
    """Objectives, goals and derived structures on names that are nowhere defined.

    Such a name is looked for as it stands, so that a ROI that is called so is found. A protocol that means it lists it
    under ``structures``, were it with an empty selector (``Core: {}``).
    """
    own = list(_defined(protocol))
    known = {normalize(n) for n in own} | set(standard_names())
    return [
        UndefinedName(where, name, near(name, own))
        for where, name in _used(protocol)
        if name not in own and normalize(name) not in known and dose_level(name) is None
    ]


def near(name: str, own: Iterable[str] = ()) -> tuple[str, ...]:
    """Standard names, and ``own`` ones, that are written much like a name; those of synonyms count.

    Examples
    --------
    >>> near("Rectm"), near("Spinal Crod"), near("Xyzzy")
    (('Rectum',), ('SpinalCord',), ())
    """
    forms = standard_names() | {normalize(n): n for n in own}
    return tuple(dict.fromkeys(forms[form] for form in nearest(normalize(name), forms)))


def _defined(protocol: Protocol) -> Iterator[str]:
    yield from protocol.structures
    yield from (n for selector in protocol.structures.values() for n in selector.names)
    yield from protocol.match.structures
    yield from protocol.definitions()
    if protocol.prescription is not None:
        yield from (t.target for t in protocol.prescription.targets)


def _used(protocol: Protocol) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for i, objective in enumerate(protocol.objectives):
        yield ("objectives", i, "structure"), objective.structure
    for i, text in enumerate(protocol.goals):
        yield ("goals", i), Goal.parse(text).structure
    for name in protocol.derived:
        yield from ((("derived", name), leaf) for leaf in leaves([name], protocol.derived))
