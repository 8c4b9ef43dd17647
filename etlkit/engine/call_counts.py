"""How many calls each source row of a chunk took."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from etlkit.api.lineage import RowCalls


@dataclass(slots=True)
class _Count:
    num_rows: int
    calls: int = 0
    units: int = 0


class CallCounts:
    """Counts of calls by row. Workers add to it, also from several threads of one row."""

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._counts: dict[int, _Count] = {}
        self._lock = threading.Lock()

    def add(self, index: int, num_rows: int, units: int) -> None:
        """Count an attempt.

        Args:
            index: The row that it is made for, or the first of several; counts from 0 in the chunk.
            num_rows: How many rows share it.
            units: Its billing units.
        """
        with self._lock:
            count = self._counts.setdefault(index, _Count(num_rows))
            count.calls += 1
            count.units += units

    def take(self, start: int, stop: int, row_id: Callable[[int], str]) -> Iterator[RowCalls]:
        """The calls of the rows from `start` to before `stop`, each once.

        Args:
            start: Index of the first row.
            stop: Index behind the last one.
            row_id: Gives the id of a row.
        """
        with self._lock:
            if not self._counts:
                return
            found = [(i, self._counts.pop(i)) for i in range(start, stop) if i in self._counts]
        for index, count in found:
            ids = [row_id(each) for each in range(index, index + count.num_rows)]
            yield RowCalls(ids, count.calls, count.units)
