"""The clock of calls: waits end at once when the run ends, and tests can skip them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.calls.wakers import Waker


class Stopped(BaseException):
    """The run is ending, so this call is not made. Its row has no result until a resume.

    Not an `Exception`: a transform's own `except Exception` must not treat it as a bad row.
    """


class _Skipping:
    """How far tests have moved the clock forward."""

    lock = threading.Lock()
    depth = 0
    seconds = 0.0


class _TimeOfDay:
    """Whether a test has stopped the time of day."""

    is_frozen = False


def is_time_of_day_frozen() -> bool:
    """Whether the time of day stands still, by which gRPC and Google's clients tell their deadlines."""
    return _TimeOfDay.is_frozen


@contextmanager
def time_of_day(*, is_frozen: bool) -> Iterator[None]:
    """Note, while inside, whether the time of day stands still."""
    before, _TimeOfDay.is_frozen = _TimeOfDay.is_frozen, is_frozen
    try:
        yield
    finally:
        _TimeOfDay.is_frozen = before


def now() -> float:
    """Seconds on a monotonic clock; only differences have a meaning."""
    return time.monotonic() + _Skipping.seconds


@contextmanager
def no_sleep() -> Iterator[None]:
    """Skip every wait of a call while inside: the clock jumps forward instead.

    Retries, rate limits and pauses happen as usual and in the same order. It works for all threads, may
    be nested, and can be the body of a pytest fixture.
    """
    with _Skipping.lock:
        _Skipping.depth += 1
    try:
        yield
    finally:
        with _Skipping.lock:
            _Skipping.depth -= 1


def skip_to(at: float) -> bool:
    """Move the clock forward to `at` if waits are skipped.

    Returns:
        Whether they are; if not, the caller has to wait.
    """
    with _Skipping.lock:
        if not _Skipping.depth:
            return False
        _Skipping.seconds += max(0.0, at - now())
        return True


class Stop:
    """Ends the waits of all threads and tasks of a run. They wait on an event and never sleep."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._wakers: set[Waker] = set()

    def set(self) -> None:
        """End every wait, now and later."""
        self._event.set()
        with self._lock:
            wakers = list(self._wakers)
        for waker in wakers:
            waker.wake()

    @property
    def is_set(self) -> bool:
        """Whether the run is ending."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise if the run is ending.

        Raises:
            Stopped: It is.
        """
        if self._event.is_set():
            raise Stopped

    @contextmanager
    def waking(self, waker: Waker) -> Iterator[None]:
        """Wake a waiting thread or task when the run ends, while inside. It has to `check` then."""
        with self._lock:
            self._wakers.add(waker)
        try:
            if self._event.is_set():
                waker.wake()
            yield
        finally:
            with self._lock:
                self._wakers.discard(waker)

    def wait_until(self, at: float) -> None:
        """Wait until a point in time, as `now` counts.

        Raises:
            Stopped: The run ended first.
        """
        self.check()
        rest = at - now()
        if rest > 0 and not skip_to(at):
            self._event.wait(rest)
            self.check()
