"""Who works on a row: a thread, or a task of an event loop, as its calls see it."""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from etlkit.calls.wakers import Wakeable

WorkerKey: TypeAlias = "Worker | int"
"""A worker, or the ident of a thread that is none."""


class Worker:
    """One worker of a run. It works on one row, or one batch, at a time.

    What is known of it travels with the context of its calls: tasks that a transform starts with
    `asyncio.gather` belong to its row, and so does a thread of `asyncio.to_thread`.

    Attributes:
        num_calls: Calls of its row that are under way: in flight, or waiting.
        has_called: Whether a row made a call since this was set to False, by the loop over the rows.
    """

    __slots__ = ("has_called", "num_calls")

    def __init__(self) -> None:
        self.num_calls: int = 0
        self.has_called: bool = False

    def begin_call(self) -> None:
        """Take note of a call that is about to be made for its row."""
        self.num_calls += 1
        self.has_called = True

    def enter(self) -> Token[Worker | None]:
        """Make it the worker of the current thread or task."""
        return _current.set(self)

    @property
    def is_parked(self) -> bool:
        """Whether its slot went to another row while its call waits."""
        return False

    def park(self) -> None:
        """Give the slot to another row while a call waits. It is kept where others may not run."""

    def resume(self, _call: Wakeable, /) -> bool:
        """Take a slot again, if the worker has none.

        Args:
            _call: Woken when there is one; then ask again.

        Returns:
            Whether the worker has a slot.
        """
        return True

    def count_call(self, units: int) -> None:
        """Record that an attempt at a billed call is made for its row. Safe for threads.

        Args:
            units: Billing units of the call.
        """

    @property
    def is_cancellable(self) -> bool:
        """Whether its work at a row can be ended from outside."""
        return False

    def place(self) -> str | None:
        """Where in the user's code it is, as `transforms/shout.py:12`; None = not known."""
        return None


def current_worker() -> Worker | None:
    """The worker of this thread or task; None = it works for no row."""
    return _current.get()


def worker_key() -> WorkerKey:
    """What tells this thread or task apart from others."""
    return _current.get() or threading.get_ident()


_current: ContextVar[Worker | None] = ContextVar("etlkit_worker", default=None)
