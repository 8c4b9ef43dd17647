"""Deadlines that fire: a socket is shut down when its time is over, whatever its peer is doing.

A socket's own timeout starts anew with every byte, so a server that drips keeps a call for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Any, Protocol, Self

from urllib3.connection import HTTPConnection, HTTPSConnection

_AGAIN_S = 0.05
"""A socket may be made just after its time was over: an attempt is ended until it has ended."""


class _HasSocket(Protocol):
    sock: Any


class Deadline:
    """The time of one attempt; a context manager around it, on one thread.

    Args:
        seconds: How long it may take.

    Attributes:
        fired: It took longer and was ended.
    """

    __slots__ = ("at", "fired", "handshake", "held")

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.fired = False
        self.held: _HasSocket | None = None
        self.handshake: socket.socket | None = None

    def __enter__(self) -> Self:
        _current.deadline = self
        _watchdog.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _watchdog.remove(self)
        _current.deadline = None

    def fire(self) -> None:
        """End the attempt: whatever reads from or writes to its socket fails now."""
        self.fired = True
        for sock in (self.handshake, getattr(self.held, "sock", None)):
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    # Not ssl's own shutdown, which takes the TLS state from under the reader.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Current(threading.local):
    deadline: Deadline | None = None


class _Watchdog:
    """One thread for all deadlines of the process; it sleeps until the earliest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._active: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            self._active.add(deadline)
            if self._thread is None or not self._thread.is_alive():  # not alive: after a fork
                self._thread = threading.Thread(
                    target=self._watch, name="etlkit-deadlines", daemon=True
                )
                self._thread.start()
            elif deadline.at < self._wakes_at:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._changed:
            self._active.discard(deadline)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for each in self._active:
                    if each.at <= now:
                        each.fire()
                        each.at = now + _AGAIN_S
                self._wakes_at = min((each.at for each in self._active), default=float("inf"))
                rest = self._wakes_at - now
                self._changed.wait(None if rest == float("inf") else rest)


_current = _Current()
_watchdog = _Watchdog()


class _Watched(HTTPConnection):
    """Tells the thread's deadline which socket is in use."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if _current.deadline is not None:
            # ssl takes the socket over before the handshake: only a copy can end that.
            _current.deadline.handshake = sock.dup()
        return sock

    def connect(self) -> None:
        deadline = _current.deadline
        try:
            super().connect()
        finally:
            if deadline is not None and deadline.handshake is not None:
                copy, deadline.handshake = deadline.handshake, None
                copy.close()

    def request(self, *args: Any, **options: Any) -> None:
        if _current.deadline is not None:
            _current.deadline.held = self
        super().request(*args, **options)


class WatchedHTTPConnection(_Watched):
    """urllib3's connection, ended by a `Deadline`."""


class WatchedHTTPSConnection(_Watched, HTTPSConnection):
    """The same over TLS."""
