"""The batches of an `Appender` that are not acknowledged yet: some of them are sent, some still wait.

Batches that wait are joined into requests of a few MB. A request costs the service, and the local one
most of all, about as much for 50 KB as for 4 MB; but rows that come slowly should not wait for others.
So a batch goes at once while few requests are unanswered, and with others that came meanwhile when they
are many.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from etlkit.rows.batches import as_one

if TYPE_CHECKING:
    import pyarrow as pa

TARGET_BYTES = 4 * 1024 * 1024
"""Requests have about this: several of them in flight are faster than one large one."""

_MAX_BYTES = 32 * 1024 * 1024
_MAX_BATCHES = 256
"""Each batch takes some memory, however few rows it has."""

_FEW = 2
"""So many unanswered requests keep the connection busy: what comes meanwhile is sent together."""


class AppendWindow:
    """Bounded in bytes and in number. The caller holds a lock.

    Attributes:
        unacked: What is sent and not acknowledged, in the order of the requests.
    """

    def __init__(self) -> None:
        self.unacked: deque[pa.RecordBatch] = deque()
        self._unsent: deque[pa.RecordBatch] = deque()
        self._unacked_bytes = 0
        self._unsent_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything is acknowledged."""
        return not self.unacked and not self._unsent

    @property
    def has_room(self) -> bool:
        """Whether another batch may come in."""
        return (
            self._unacked_bytes + self._unsent_bytes < _MAX_BYTES
            and len(self.unacked) + len(self._unsent) < _MAX_BATCHES
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """A batch that is to be sent."""
        self._unsent.append(batch)
        self._unsent_bytes += batch.nbytes

    def next_request(self) -> pa.RecordBatch | None:
        """The rows to send next, which are unacknowledged from now on; None = there are none now."""
        if not self._unsent:
            return None
        if len(self.unacked) >= _FEW and self._unsent_bytes < TARGET_BYTES:
            return None
        parts = [self._unsent.popleft()]
        num_bytes = parts[0].nbytes
        while self._unsent and num_bytes + self._unsent[0].nbytes <= TARGET_BYTES:
            parts.append(self._unsent.popleft())
            num_bytes += parts[-1].nbytes
        self._unsent_bytes -= num_bytes
        batch = as_one(parts)
        self.unacked.append(batch)
        self._unacked_bytes += batch.nbytes
        return batch

    def acknowledge(self) -> pa.RecordBatch:
        """The oldest request is answered."""
        batch = self.unacked.popleft()
        self._unacked_bytes -= batch.nbytes
        return batch
