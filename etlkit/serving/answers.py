"""What the service remembers of rows: those at work, and the replies of those that are done.

BigQuery sends a batch again after a transient failure, up to 20 times, and may do so after a 200. A row
that is known is not paid for again: https://cloud.google.com/bigquery/docs/remote-functions#limitations
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from etlkit.errors import RowSchemaError
from etlkit.rows.row import Row

_ENTRY_BYTES = 300
"""About what a remembered reply takes beside its text."""


class BusyError(Exception):
    """More rows wait than the service takes; none of the request's was taken."""


class Pending:
    """A row whose reply is not there yet.

    Attributes:
        key: What it is known by.
        call: Its arguments.
        row: What the transform gets; None = not made yet.
        reply: The reply as JSON text; None = there is none yet.
        has_begun: Whether a worker has taken it.
    """

    __slots__ = ("call", "has_begun", "key", "reply", "row", "size", "waiters")

    def __init__(self, key: bytes, call: Sequence[Any], size: int) -> None:
        self.key: bytes = key
        self.call: Sequence[Any] = call
        self.size: int = size
        self.row: Row | RowSchemaError | None = None
        self.reply: bytes | None = None
        self.has_begun: bool = False
        self.waiters: list[Callable[[], None]] = []


class Answers:
    """Rows at work and replies, by key. Safe for threads.

    Args:
        max_rows: Replies that are kept, at most; those that were used least lately go first.
        max_bytes: Their size, at most.
        max_waiting_rows: Rows that wait for a worker, at most.
        max_waiting_bytes: The size of their arguments, at most.

    Attributes:
        num_waiting: Rows that wait for a worker.
        num_at_work: Rows that a worker has taken.
    """

    def __init__(
        self, max_rows: int, max_bytes: int, max_waiting_rows: int, max_waiting_bytes: int
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._max_waiting_rows = max_waiting_rows
        self._max_waiting_bytes = max_waiting_bytes
        self._lock = threading.Lock()
        self._pending: dict[bytes, Pending] = {}
        self._done: OrderedDict[bytes, bytes] = OrderedDict()
        self._done_bytes = 0
        self.num_waiting: int = 0
        self._waiting_bytes = 0
        self.num_at_work: int = 0

    def __len__(self) -> int:
        return len(self._done)

    def claim(
        self, calls: Sequence[tuple[bytes, Sequence[Any], int]], waiter: Callable[[], None]
    ) -> tuple[list[Pending | bytes], list[Pending]]:
        """Take the rows of a request.

        Args:
            calls: Key, arguments and size of each.
            waiter: Called once for each row that has no reply yet, when it has one.

        Returns:
            The reply of each row, or what will have it; and those among these that nobody works on yet.

        Raises:
            BusyError: There is no room for the new ones.
        """
        with self._lock:
            new = {key: size for key, _, size in calls if self._is_new(key)}
            is_full = (
                self.num_waiting + len(new) > self._max_waiting_rows
                or self._waiting_bytes + sum(new.values()) > self._max_waiting_bytes
            )
            if new and self.num_waiting and is_full:
                raise BusyError
            made: list[Pending] = []
            return [self._claim(key, call, size, waiter, made) for key, call, size in calls], made

    def begin(self, pending: Pending) -> bool:
        """Take a row to work on it; False = nobody waits for it any more, or it has a reply."""
        with self._lock:
            if pending.reply is not None or pending.has_begun:
                return False
            self._end_waiting(pending)
            if not pending.waiters:
                del self._pending[pending.key]
                return False
            pending.has_begun = True
            self.num_at_work += 1
            return True

    def finish(
        self, pending: Pending, reply: bytes, *, is_final: bool, unless_begun: bool = False
    ) -> None:
        """Give a row its reply.

        Args:
            pending: The row.
            reply: Its reply.
            is_final: Whether it is kept for requests to come.
            unless_begun: Do nothing if a worker has taken it.
        """
        with self._lock:
            if pending.reply is not None or self._pending.get(pending.key) is not pending:
                return
            if unless_begun and pending.has_begun:
                return
            del self._pending[pending.key]
            if pending.has_begun:
                self.num_at_work -= 1
            else:
                self._end_waiting(pending)
            pending.reply = reply
            if is_final:
                self._keep(pending.key, reply)
            waiters, pending.waiters = pending.waiters, []
        for waiter in waiters:
            waiter()

    def leave(self, rows: Sequence[Pending], waiter: Callable[[], None]) -> None:
        """Wait no longer. Rows that nobody else waits for are not begun any more."""
        with self._lock:
            for pending in rows:
                pending.waiters = [each for each in pending.waiters if each != waiter]

    def _is_new(self, key: bytes) -> bool:
        return key not in self._done and key not in self._pending

    def _claim(
        self,
        key: bytes,
        call: Sequence[Any],
        size: int,
        waiter: Callable[[], None],
        made: list[Pending],
    ) -> Pending | bytes:
        known = self._done.get(key)
        if known is not None:
            self._done.move_to_end(key)
            return known
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = Pending(key, call, size)
            self.num_waiting += 1
            self._waiting_bytes += size
            made.append(pending)
        pending.waiters.append(waiter)
        return pending

    def _end_waiting(self, pending: Pending) -> None:
        self.num_waiting -= 1
        self._waiting_bytes -= pending.size

    def _keep(self, key: bytes, reply: bytes) -> None:
        self._done[key] = reply
        self._done_bytes += len(reply) + _ENTRY_BYTES
        while len(self._done) > self._max_rows or self._done_bytes > self._max_bytes:
            _, old = self._done.popitem(last=False)
            self._done_bytes -= len(old) + _ENTRY_BYTES
