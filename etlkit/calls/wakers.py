"""Wakers: how a thread or a task of an event loop waits, and how others wake it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Protocol


class Waker(Protocol):
    """Wakes one thread or task. A wake-up that comes before the wait ends it at once."""

    def wake(self) -> None:
        """End the current wait, or the next one. Any thread may call it."""

    def forget(self) -> None:
        """Let wake-ups that came before now end no wait any more. Called by the one that waits."""


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

    def forget(self) -> None:
        """See `Waker`."""
        self._event.clear()

    def wait(self, seconds: float | None) -> None:
        """Wait until it is woken, for at most some seconds; None = for as long as it takes."""
        self._event.wait(seconds)
        self._event.clear()


class LoopDoor:
    """Where other threads ask one event loop to wake its tasks. They ring once for many of them.

    Args:
        loop: The loop, of this thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread: int = threading.get_ident()
        self.waiting: deque[TaskWaker] = deque()
        self._has_rung = False

    def ask(self, waker: TaskWaker) -> None:
        """Wake a task soon."""
        self.waiting.append(waker)
        if not self._has_rung:
            self._has_rung = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._has_rung = False  # first: whoever comes from now on rings again
        while self.waiting:
            waker = self.waiting.popleft()
            if waker.is_woken:
                waker.end_wait()


_of_thread = threading.local()


def loop_door() -> LoopDoor:
    """The door of the loop that runs on this thread."""
    loop = asyncio.get_running_loop()
    door: LoopDoor | None = getattr(_of_thread, "door", None)
    if door is None or door.loop is not loop:
        _of_thread.door = door = LoopDoor(loop)
    return door


class TaskWaker:
    """Wakes a task of an event loop. Made on the loop's thread.

    Attributes:
        is_woken: Whether it was woken, and its wait does not know it yet.
    """

    __slots__ = ("_door", "_future", "is_woken")

    def __init__(self) -> None:
        self._door = loop_door()
        self._future: asyncio.Future[None] | None = None
        self.is_woken: bool = False

    def wake(self) -> None:
        """See `Waker`."""
        self.is_woken = True
        if threading.get_ident() == self._door.thread:
            self.end_wait()
        else:
            self._door.ask(self)

    def forget(self) -> None:
        """See `Waker`."""
        self.is_woken = False

    async def wait(self, seconds: float | None) -> None:
        """As `ThreadWaker.wait`."""
        if not self.is_woken:
            loop = self._door.loop
            self._future = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, self.end_wait)
            try:
                # Checked again: another thread may have woken it before it knew of the future.
                if not self.is_woken:
                    await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self.is_woken = False

    def end_wait(self) -> None:
        """End the current wait. Called on the loop's thread."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
