"""Signals that end a command."""

from __future__ import annotations

import select
import signal
import socket
from contextlib import suppress


class StopSignals:
    """Waits for SIGINT, SIGTERM or SIGHUP on the main thread.

    A handler runs on the main thread between two instructions of whatever that thread does. So it must
    take no lock that the thread may hold: `threading.Event.set` waits for ever for its own `wait`. This
    one sends a byte to itself. (Windows cannot `select` a pipe.)
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._sender.settimeout(0)
        # Windows has no SIGHUP.
        for name in {"SIGINT", "SIGTERM", "SIGHUP"} & signal.Signals.__members__.keys():
            signal.signal(signal.Signals[name], self._handle)

    def wait(self, timeout_s: float) -> bool:
        """Wait until a signal has come, or for this long; True = one has come."""
        return bool(select.select([self._receiver], [], [], timeout_s)[0])

    def _handle(self, *_: object) -> None:
        with suppress(BlockingIOError):  # it is full of earlier signals
            self._sender.send(b"x")
