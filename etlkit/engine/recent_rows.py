"""Source rows that went to the sink a moment ago: it may still refuse them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.engine.chunk import SourceRows
    from etlkit.rows.row import Row

MAX_BYTES = 32 * 1024 * 1024


class RecentRows:
    """The last source rows, up to 32 MB. Reading one again costs a query over the whole snapshot."""

    def __init__(self) -> None:
        self._kept: deque[SourceRows] = deque()
        self._num_bytes = 0

    def add(self, rows: SourceRows) -> None:
        """Keep rows; the oldest ones go."""
        if self._kept and self._kept[-1] is rows:
            return
        self._kept.append(rows)
        self._num_bytes += rows.batch.nbytes
        while self._num_bytes > MAX_BYTES:
            self._num_bytes -= self._kept.popleft().batch.nbytes

    def find(self, row_ids: Iterable[str]) -> dict[str, Row]:
        """The rows of those ids that are still here."""
        left, found = set(row_ids), {}
        for rows in reversed(self._kept):
            if not left:
                break
            for index, row_id in enumerate(rows.ids()):
                if row_id in left:
                    left.discard(row_id)
                    found[row_id] = rows.row(index)
        return found
