"""``/protocols``: what is planned without being asked."""

from __future__ import annotations

from fastapi import APIRouter

from radiarch_plugin.protocols.loaded import LoadedProtocol
from radiarch_plugin.services import ProtocolsDep
from radiarch_plugin.web.answers import ProtocolAnswer, ProtocolsAnswer

router = APIRouter(prefix="/protocols", tags=["protocols"])


@router.get("")
def list_protocols(protocols: ProtocolsDep) -> ProtocolsAnswer:
    """Every protocol, in the order in which they are tried; ``problems`` has the files that cannot be used."""
    return ProtocolsAnswer(items=tuple(map(_view, protocols.items)), problems=protocols.problems)


@router.get("/{protocol_id}")
def get(protocol_id: str, protocols: ProtocolsDep) -> ProtocolAnswer:
    """One protocol."""
    return _view(protocols.get(protocol_id))


def _view(loaded: LoadedProtocol) -> ProtocolAnswer:
    return ProtocolAnswer(**loaded.protocol.model_dump(), file=loaded.file, sha256=loaded.sha256)
