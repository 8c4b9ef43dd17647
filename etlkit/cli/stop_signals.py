"""Signals that end a command."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress


class StopSignals:
    """Waits for SIGINT, SIGTERM or SIGHUP on the main thread.

    A handler runs on the main thread between two instructions of whatever that thread does. So it must
    take no lock that the thread may hold: `threading.Event.set` waits for ever for its own `wait`. This
    one writes a byte into a pipe.
    """

    def __init__(self) -> None:
        self._received, self._sent = os.pipe()
        os.set_blocking(self._sent, False)
        # Windows has no SIGHUP.
        for name in {"SIGINT", "SIGTERM", "SIGHUP"} & signal.Signals.__members__.keys():
            signal.signal(signal.Signals[name], self._handle)

    def wait(self, timeout_s: float) -> bool:
        """Wait until a signal has come, or for this long; True = one has come."""
        return bool(select.select([self._received], [], [], timeout_s)[0])

    def _handle(self, *_: object) -> None:
        with suppress(BlockingIOError):  # the pipe is full of earlier signals
            os.write(self._sent, b"x")
