"""Wakers: how a thread or a task of an event loop waits, and how others wake it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Protocol


class Waker(Protocol):
    """Wakes one thread or task. A wake-up that comes before the wait ends it at once."""

    def wake(self) -> None:
        """End the current wait, or the next one. Any thread may call it."""


class Wakeable(Protocol):
    """What has a waker, made when it is first needed."""

    @property
    def waker(self) -> Waker:
        """Wakes the thread or task that waits."""


class ThreadWaker:
    """Wakes a thread."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """See `Waker`."""
        self._event.set()

    def wait(self, seconds: float | None) -> None:
        """Wait until it is woken, for at most some seconds; None = for as long as it takes."""
        self._event.wait(seconds)
        self._event.clear()


class TaskWaker:
    """Wakes a task of an event loop. Made on the loop's thread."""

    __slots__ = ("_future", "_is_woken", "_loop", "_thread")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._future: asyncio.Future[None] | None = None
        self._is_woken = False

    def wake(self) -> None:
        """See `Waker`."""
        self._is_woken = True
        if threading.get_ident() == self._thread:
            self._end_wait()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._end_wait)

    async def wait(self, seconds: float | None) -> None:
        """As `ThreadWaker.wait`."""
        if not self._is_woken:
            self._future = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds, self._end_wait)
            try:
                # Checked again: another thread may have woken it before it knew of the future.
                if not self._is_woken:
                    await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self._is_woken = False

    def _end_wait(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
