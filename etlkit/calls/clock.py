"""Time as calls see it: waits that end at once when the run ends, and that a test can skip."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """The run is ending, so this call is not made. Its row stays unsettled; a resume makes it.

    No `Exception`: a transform's own `except Exception` must not take it for a bad row.
    """


class _Skipping:
    """How far tests have turned the clock on."""

    lock = threading.Lock()
    depth = 0
    seconds = 0.0


def now() -> float:
    """Seconds, monotonic; only differences mean something."""
    return time.monotonic() + _Skipping.seconds


@contextmanager
def no_sleep() -> Iterator[None]:
    """Let every wait of a call return at once while inside; the clock jumps on instead.

    Retries, rate limits and pauses behave as they would, in the same order. Also good as the body of
    a pytest fixture. Holds for all threads; may be nested.
    """
    with _Skipping.lock:
        _Skipping.depth += 1
    try:
        yield
    finally:
        with _Skipping.lock:
            _Skipping.depth -= 1


def skip_to(at: float) -> bool:
    """Turn the clock on to `at` if waits are skipped.

    Returns:
        Whether they are; else the caller has to wait.
    """
    with _Skipping.lock:
        if not _Skipping.depth:
            return False
        _Skipping.seconds += max(0.0, at - now())
        return True


class Stop:
    """Ends the waits of all threads of a run. Waits are on an event, never a sleep."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End every wait, now and from now on."""
        self._event.set()

    def check(self) -> None:
        """Raise if the run is ending.

        Raises:
            Stopped: It is.
        """
        if self._event.is_set():
            raise Stopped

    def wait_until(self, at: float) -> None:
        """Wait for a point in time, as `now` counts.

        Raises:
            Stopped: The run ended first.
        """
        self.check()
        rest = at - now()
        if rest > 0 and not skip_to(at):
            self._event.wait(rest)
            self.check()
