"""Slots: how many tasks may run at once, in a workflow and in those around it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Ticket:
    """A place in the queue for a slot.

    Attributes:
        start: Called, on any thread, when the slot is given.
        levels: The limits that it counts for.
        is_granted: Whether the slot is taken.
    """

    start: Callable[[Ticket], None]
    levels: tuple[Slots, ...]
    is_granted: bool = False


@dataclass
class _Queue:
    """What all levels share."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[Ticket] = field(default_factory=deque)


class Slots:
    """The slots of one workflow. A slot of a child is also one of every workflow around it.

    All of them are taken at once or none, so no two tasks can wait for each other's slots. First come,
    first served; whoever waits for a full child does not keep others waiting.

    Args:
        limit: Slots of this workflow.
        parent: The slots of the workflow around it; None = it is the outermost.
    """

    def __init__(self, limit: int, parent: Slots | None = None) -> None:
        self._free = limit
        self._levels: tuple[Slots, ...] = (self, *(parent._levels if parent else ()))  # noqa: SLF001
        self._queue: _Queue = parent._queue if parent else _Queue()  # noqa: SLF001

    def request(self, start: Callable[[Ticket], None]) -> Ticket:
        """Ask for a slot.

        Args:
            start: Called once with the ticket when the slot is given, perhaps before this returns.
                It must not block.
        """
        ticket = Ticket(start, self._levels)
        with self._queue.lock:
            self._queue.waiting.append(ticket)
        self._grant()
        return ticket

    def withdraw(self, ticket: Ticket) -> bool:
        """Leave the queue.

        Returns:
            Whether there was still time; False = the slot was given.
        """
        with self._queue.lock:
            if ticket.is_granted:
                return False
            self._queue.waiting.remove(ticket)
            return True

    def release(self, ticket: Ticket) -> None:
        """Give a slot back."""
        with self._queue.lock:
            for level in ticket.levels:
                level._free += 1  # noqa: SLF001 - of its own kind
        self._grant()

    def _grant(self) -> None:
        """Give free slots to those who wait, in their order."""
        granted = []
        with self._queue.lock:
            for ticket in list(self._queue.waiting):
                if all(level._free for level in ticket.levels):  # noqa: SLF001
                    for level in ticket.levels:
                        level._free -= 1  # noqa: SLF001
                    ticket.is_granted = True
                    self._queue.waiting.remove(ticket)
                    granted.append(ticket)
        for ticket in granted:
            ticket.start(ticket)
