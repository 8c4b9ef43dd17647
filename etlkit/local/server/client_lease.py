"""The connection that keeps a local server alive.

Each client holds one TCP connection on loopback. The kernel closes it however the client ends, also by
SIGKILL, so the server needs no heartbeat. The server sends nothing after the greeting.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Iterable
from typing import Final

GRACE_S: Final = 1.0
"""How long a server without clients waits for the next one; lets a shell run command after command."""

UNCLAIMED_S: Final = 30.0
"""How long a server waits for its first client."""

GREETING_TIMEOUT_S: Final = 5.0
"""The server answers from a thread of its own, so only a dead or foreign listener takes longer."""

_GREETING_BYTES: Final = 256


def connect(port: int, token: str) -> socket.socket | None:
    """Take hold of the server behind `port`.

    Args:
        port: The server's lifeline port.
        token: What `server.json` says; a foreign process on a reused port does not know it.

    Returns:
        The open connection, to be held for as long as the server is needed; None = no such server.
    """
    try:
        line = socket.create_connection(("127.0.0.1", port), timeout=GREETING_TIMEOUT_S)
    except OSError:
        return None
    with contextlib.ExitStack() as undo:
        undo.callback(line.close)
        try:
            line.sendall(f"hello {token}\n".encode())
            answer = line.recv(_GREETING_BYTES)
        except OSError:
            return None
        if answer != _welcome(token):
            return None
        line.settimeout(None)
        undo.pop_all()
        return line


def _welcome(token: str) -> bytes:
    return f"welcome {token}\n".encode()


class Lifeline:
    """The server's end: counts clients and says when the last one has gone.

    It runs on the main thread, away from the event loop, so that a long query delays neither the
    greeting nor a signal.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0)
        self._greeted: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._bell, self._button = socket.socketpair()
        self._button.settimeout(0)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._stopped = False

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def stop_on(self, signals: Iterable[signal.Signals]) -> None:
        """Let these signals end `wait`."""
        for number in signals:
            signal.signal(number, lambda *_: self.stop())

    def stop(self) -> None:
        """End `wait` now. May be called from any thread and from a signal handler."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._button.send(b"x")

    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def wait(self) -> None:
        """Return once the last client has gone, or none came, or `stop` was called."""
        deadline = time.monotonic() + UNCLAIMED_S
        while not self._stopped:
            timeout = None if self._greeted else deadline - time.monotonic()
            if timeout is not None and timeout <= 0:
                return
            had_clients = bool(self._greeted)
            for key, _ in self._selector.select(timeout):
                self._handle(key.fileobj)
            if had_clients and not self._greeted:
                deadline = time.monotonic() + GRACE_S

    def close(self) -> None:
        """Refuse everyone from now on and let go of the clients."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._greeted.clear()

    def _handle(self, ready: object) -> None:
        if ready is self._listener:
            with contextlib.suppress(OSError):
                line, _ = self._listener.accept()
                line.settimeout(0)
                self._selector.register(line, selectors.EVENT_READ)
        elif isinstance(ready, socket.socket) and ready is not self._bell:
            self._read(ready)

    def _read(self, line: socket.socket) -> None:
        """Greet a client that knows the token; drop one that is gone or does not."""
        try:
            said = line.recv(_GREETING_BYTES)
            if line not in self._greeted and said == f"hello {self._token}\n".encode():
                line.sendall(_welcome(self._token))
                self._greeted.add(line)
                return
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said or line not in self._greeted:
            self._selector.unregister(line)
            self._greeted.discard(line)
            line.close()
