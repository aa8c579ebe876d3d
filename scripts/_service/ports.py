"""TCP ports of this machine: whether one is free, and free ones to choose."""

from __future__ import annotations

import errno
import socket

from .errors import ScriptError


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def check_free(port: int, use: str, option: str) -> None:
    """Fail early and clearly where a server would die on an occupied port.

    Raises
    ------
    ScriptError
        Naming the port, what it was meant for, and the option that chooses another.
    """
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("0.0.0.0", port))  # noqa: S104 - tried for a moment: Orthanc binds to all addresses
        except PermissionError:
            raise ScriptError(
                f"port {port} for {use} is reserved for root", remedy=f"Choose a port from 1024 on with {option}."
            ) from None
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            raise ScriptError(
                f"port {port} for {use} is in use by another program",
                remedy=f"Stop that program (ss -ltnp 'sport = :{port}' names it), or choose another with {option}.",
            ) from None
