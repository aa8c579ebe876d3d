"""The protocols in use; reading their files is the contract's `protocol_file`, matching them lives in `matching`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from radiarch_contract.errors import ErrorCode, ErrorInfo, NotFoundError
from radiarch_contract.near import suggestion
from radiarch_contract.places import Place
from radiarch_contract.protocol_file import (
    BrokenProtocol,
    InvalidProtocolsError,
    LoadedProtocol,
    Problem,
    read_folder,
    read_protocol,
)

__all__ = [
    "BrokenProtocol",
    "InvalidProtocolsError",
    "LoadedProtocol",
    "Problem",
    "ProtocolSet",
    "load_protocols",
    "read_protocol",
]


@dataclass(frozen=True)
class ProtocolSet:
    """The protocols in use, in the order in which they are tried, and files that cannot be used.

    Attributes
    ----------
    problem : what is wrong with the folder itself
    """

    items: tuple[LoadedProtocol, ...] = ()
    broken: tuple[BrokenProtocol, ...] = ()
    problem: Problem | None = None

    @property
    def tried(self) -> list[LoadedProtocol | BrokenProtocol]:
        """All that could fit something that arrives: highest priority first, then by id.

        One whose priority cannot be read may have been the first.
        """
        return sorted((*self.items, *(b for b in self.broken if b.sketch is not None)), key=_rank)

    @property
    def problems(self) -> tuple[ErrorInfo, ...]:
        """What is to be mended, an error for each file."""
        own = () if self.problem is None else (InvalidProtocolsError([self.problem]).info,)
        return (*own, *(b.error.info for b in self.broken))

    def get(self, protocol_id: str) -> LoadedProtocol:
        """The protocol with an id.

        Raises
        ------
        InvalidProtocolsError
            Its file cannot be used; every mistake in it is named.
        NotFoundError
            ``unknown_protocol``, naming those that exist.
        """
        for loaded in self.items:
            if loaded.protocol.id == protocol_id:
                return loaded
        for broken in self.broken:
            if broken.id == protocol_id:
                raise broken.error
        known = ", ".join(p.protocol.id for p in self.items) or "none"
        raise NotFoundError(
            f"protocol {protocol_id[:80]!r} does not exist; there are: {known}"
            f"{suggestion(protocol_id, (p.protocol.id for p in self.items))}",
            remedy=f"See {Place.PROTOCOLS}.",
            code=ErrorCode.UNKNOWN_PROTOCOL,
        )


def load_protocols(folder: Path) -> ProtocolSet:
    """Read a folder of protocols; what is wrong with it, or with a file, is among ``problems`` and hides no other."""
    found = read_folder(folder)
    return ProtocolSet(tuple(sorted(found.loaded, key=_rank)), found.broken, found.problem)


def _rank(item: LoadedProtocol | BrokenProtocol) -> tuple[float, str]:
    if isinstance(item, LoadedProtocol):
        return -item.protocol.priority, item.protocol.id
    priority = item.sketch.priority if item.sketch else None
    return float("-inf") if priority is None else -priority, item.id
