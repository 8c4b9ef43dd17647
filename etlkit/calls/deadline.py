"""Deadlines that fire: a socket is shut down when its time is over, whatever the other end does.

A socket's own timeout starts again with every byte, so a server that sends a byte now and then would
keep a call for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Self

_AGAIN_S = 0.05
"""A socket may be connected just after its time was over, so an attempt is ended until it has ended."""


class Deadline:
    """The time of one attempt; a context manager around it, on one thread.

    Args:
        seconds: How long it may take.
        sock: The socket in use, if there is one already; connections of `etlkit.calls.connections`
            tell the deadline of their thread.

    Attributes:
        fired: It took longer and was ended.
        sock: The socket in use. Not the connection, which may forget it before the body is read.
        handshake: A copy of a socket that TLS is taking over.
    """

    __slots__ = ("at", "fired", "handshake", "sock")

    def __init__(self, seconds: float, sock: Any = None) -> None:
        self.at: float = time.monotonic() + seconds
        self.fired: bool = False
        self.sock: Any = sock
        self.handshake: socket.socket | None = None

    def __enter__(self) -> Self:
        _current.deadline = self
        _watchdog.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watchdog.remove(self)
        _current.deadline = None

    def fire(self) -> None:
        """End the attempt: everything that reads from or writes to its socket fails now."""
        self.fired = True
        for sock in (self.handshake, self.sock):
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    # Not ssl's own shutdown: it would drop the TLS state that the reader still uses.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def current() -> Deadline | None:
    """The deadline of this thread; None = there is none."""
    return _current.deadline


class _Current(threading.local):
    deadline: Deadline | None = None


class _Watchdog:
    """One thread for all deadlines of the process; it sleeps until the earliest of them."""

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
