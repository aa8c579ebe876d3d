"""The protocols in use; reading their files is the contract's `protocol_file`, matching them lives in `matching`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from radiarch_contract.errors import ErrorCode, NotFoundError
from radiarch_contract.protocol_file import InvalidProtocolsError, Problem, read_folder, read_protocol

from .matching import LoadedProtocol, by_priority

__all__ = ["InvalidProtocolsError", "Problem", "ProtocolSet", "load_protocols", "read_protocol"]


@dataclass(frozen=True)
class ProtocolSet:
    """The protocols in use, in the order in which they are tried."""

    items: tuple[LoadedProtocol, ...] = ()

    def get(self, protocol_id: str) -> LoadedProtocol:
        """Raises `NotFoundError` (unknown_protocol) naming those that exist."""
        for loaded in self.items:
            if loaded.protocol.id == protocol_id:
                return loaded
        known = ", ".join(p.protocol.id for p in self.items) or "none"
        raise NotFoundError(
            f"protocol {protocol_id[:80]!r} does not exist; there are: {known}",
            remedy="Ask GET /protocols for the list.",
            code=ErrorCode.UNKNOWN_PROTOCOL,
        )


def load_protocols(folder: Path) -> ProtocolSet:
    """Read a folder of protocols. Raises `InvalidProtocolsError` with every mistake in every file."""
    return ProtocolSet(tuple(by_priority(read_folder(folder))))
