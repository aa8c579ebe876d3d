"""A gate in a TCP connection, between a client and its server: it can be cut, and it can hold what it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from .processes import free_port


class Gate:
    """Forwards connections to ``port`` of the loopback interface.

    Examples
    --------
    >>> with Gate(8042) as gate:  # doctest: +SKIP
    ...     gate.hold(b"POST /instances")  # the first request that contains it waits here, whole
    ...     gate.held.wait()
    ...     gate.release()
    """

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.held = threading.Event()
        self._target = port
        self._pattern: bytes | None = None
        self._released = threading.Event()
        self._open = True
        self._guard = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.release()
        self.cut()
        self._listener.close()

    def hold(self, pattern: bytes) -> None:
        """Hold back what a client sends from the first piece on that contains ``pattern``."""
        self.held.clear()
        self._released = threading.Event()
        self._pattern = pattern

    def release(self, then: bytes | None = None) -> None:
        """Let what is held go on, and hold what comes with ``then``."""
        released, self._pattern = self._released, None
        if then is not None:
            self.hold(then)
        released.set()

    def cut(self) -> None:
        """Break all connections, and take no new ones."""
        self._open = False
        with self._guard:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open = True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._guard:
                self._sockets |= {client, server}
            for source, sink, sent in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=(source, sink, sent), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, sent: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if sent and self._pattern is not None and self._pattern in data:
                    released, self._pattern = self._released, None  # this connection alone waits
                    self.held.set()
                    released.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
