"""The lease of a client: an open connection that keeps the local server alive.

Each client holds one TCP connection on loopback. The kernel closes it however the client ends, also
by SIGKILL, so no heartbeat is needed. After the greeting the server sends nothing.

Both sides prove that they know the token, and neither sends it: the port may have passed to a foreign
process, which must learn nothing.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Iterable
from typing import Final

STOP_TIMEOUT_S: Final = 1.0
"""How long a server without clients waits for the next one, so that a shell can run many commands."""

UNCLAIMED_S: Final = 30.0
"""How long a server waits for its first client."""

GREETING_TIMEOUT_S: Final = 15.0
"""The server greets from a thread of its own, so only a foreign listener takes longer, also where the
machine is busy. A dead one is known at once."""

_GREETING_BYTES: Final = 256
_HELLO: Final = re.compile(rb"hello ([0-9a-f]{32}) [0-9a-f]{64}\n")


def take_lease(port: int, token: str) -> socket.socket | None:
    """Connect to the server that listens on `port`.

    Args:
        port: `ServerInfo.lease_port`.
        token: `ServerInfo.token`. A foreign process that now listens on the port does not know it.

    Returns:
        The open connection. Keep it open for as long as the server is needed. None = the server
        that wrote the token does not listen there.
    """
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=GREETING_TIMEOUT_S)
    except OSError:
        return None
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        try:
            nonce = secrets.token_hex(16)
            connection.sendall(_greeting("hello", nonce, token))
            answer = connection.recv(_GREETING_BYTES)
        except OSError:
            return None
        if not hmac.compare_digest(answer, _greeting("welcome", nonce, token)):
            return None
        connection.settimeout(None)
        undo.pop_all()
        return connection


def _greeting(word: str, nonce: str, token: str) -> bytes:
    """A line that only a side which knows the token can write, for one connection."""
    proof = hmac.digest(token.encode(), f"{word} {nonce}".encode(), "sha256").hex()
    return f"{word} {nonce} {proof}\n".encode()


class LeaseListener:
    """The server's side: accepts the connections of clients and notices when the last one closes.

    It runs on the main thread, not on the event loop, so that a long query delays neither the
    greeting nor a signal.

    Args:
        token: Clients must know it.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0)
        self._clients: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        # A byte sent into one end wakes `select`, which waits for the other.
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.settimeout(0)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._stopped = False

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def stop_on(self, signals: Iterable[signal.Signals]) -> None:
        """Let each of these signals end `wait`."""
        for number in signals:
            signal.signal(number, lambda *_: self.stop())

    def stop(self) -> None:
        """End `wait` now. Any thread and any signal handler may call this."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"x")

    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def wait(self) -> None:
        """Return once the last client is gone, or no client came in time, or `stop` was called."""
        deadline = time.monotonic() + UNCLAIMED_S
        while not self._stopped:
            timeout = None if self._clients else deadline - time.monotonic()
            if timeout is not None and timeout <= 0:
                return
            had_clients = bool(self._clients)
            for key, _ in self._selector.select(timeout):
                self._handle(key.fileobj)
            if had_clients and not self._clients:
                deadline = time.monotonic() + STOP_TIMEOUT_S

    def close(self) -> None:
        """Close all connections and accept no more."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._clients.clear()

    def _handle(self, ready: object) -> None:
        if ready is self._listener:
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                connection.settimeout(0)
                self._selector.register(connection, selectors.EVENT_READ)
        elif isinstance(ready, socket.socket) and ready is not self._wake_receiver:
            self._read(ready)

    def _read(self, connection: socket.socket) -> None:
        """Greet a client that knows the token. Close a connection that ended or does not know it."""
        try:
            received = connection.recv(_GREETING_BYTES)
            is_new = connection not in self._clients
            hello = _HELLO.fullmatch(received) if is_new else None
            nonce = "" if hello is None else hello[1].decode()
            if hello and hmac.compare_digest(received, _greeting("hello", nonce, self._token)):
                connection.sendall(_greeting("welcome", nonce, self._token))
                self._clients.add(connection)
                return
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received or connection not in self._clients:
            self._selector.unregister(connection)
            self._clients.discard(connection)
            connection.close()
