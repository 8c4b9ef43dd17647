"""The tasks between source and sink: in order, with as few of them held back as the sink allows."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import is_clean, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etlkit.api.outcomes import Outcome
    from etlkit.engine.chunk import Chunk
    from etlkit.engine.pace import Pace
    from etlkit.engine.task import Task

MAX_HELD_ROWS = 20_000
"""Rows that are done, but wait for their turn behind a row that is not. 16 rows that are told to wait
20 seconds hold back the 16,000 that go by meanwhile, at 800 a second."""

MAX_HELD_BYTES = 256 * 2**20
"""Of these rows, and of the chunks that rows in the window belong to: a parked row keeps its chunk."""

_BYTES_OF_DICTS = 4
"""A chunk takes about this many times its Arrow bytes, because its rows are there as dicts, too."""

_SAMPLED = 64
"""One in this many tasks is measured."""

_MAX_MEASURED_DEPTH = 20


_MANY = 256


def window_limit(max_concurrency: int) -> int:
    """Tasks that workers have or that wait for them; parked ones come on top.

    Enough that one slow call does not block the others, and few enough to bound memory and what a crash
    can lose. Where thousands are at work, as many wait: one of them is always about to end.
    """
    return max(4 * min(max_concurrency, _MANY), 2 * max_concurrency)


class TaskWindow:
    """Tasks that were given to workers and whose outcomes were not taken on yet.

    Args:
        limit: Tasks that workers have or that wait for them; parked ones come on top.
        finished: Tasks that came to their end; filled by the workers and emptied here.
        pace: Learns what they took.
    """

    def __init__(self, limit: int, finished: deque[Task], pace: Pace) -> None:
        self._limit = limit
        self._finished = finished
        self._pace = pace
        self._tasks: deque[Task] = deque()
        self._num_open = 0
        self._behind: list[Task] = []
        self._num_held_rows = 0
        self._num_seen = 0
        self._row_bytes = 0.0
        self._chunks: dict[Chunk, int] = {}
        self._chunk_bytes = 0

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def held_bytes(self) -> float:
        """About how many bytes it keeps in memory."""
        return self._chunk_bytes + self._num_held_rows * self._row_bytes

    def has_room(self, num_parked: int) -> bool:
        """Whether another task may be given to the workers."""
        if self._num_open - num_parked >= self._limit:
            return False
        return len(self._tasks) < self._limit or (
            self._num_held_rows < MAX_HELD_ROWS and self.held_bytes < MAX_HELD_BYTES
        )

    def add(self, task: Task) -> None:
        """Add a task behind all others."""
        self._tasks.append(task)
        self._num_open += 1
        chunk = task.chunk
        if chunk is None:
            return
        if chunk not in self._chunks:
            self._chunks[chunk] = 0
            self._chunk_bytes += chunk.num_bytes * _BYTES_OF_DICTS
        self._chunks[chunk] += 1

    def take_in_order(self) -> Iterator[tuple[Chunk, int, list[Outcome]]]:
        """Outcomes of the first rows, up to the first row that has none."""
        self._look_at_finished()
        while self._tasks:
            first = self._tasks[0]
            if first.is_collected:
                self._tasks.popleft()
                continue
            start, outcomes = self._take_run(first)
            if not outcomes and not first.is_collected:
                return
            yield _chunk_of(first), start, outcomes

    def take_behind(self) -> Iterator[tuple[Chunk, int, list[Outcome]]]:
        """Outcomes of tasks that are done behind one that is not: they are durable then.

        Rows with errors wait for their turn: the first error reported must be the first bad row.
        """
        self._look_at_finished()
        done, self._behind = self._behind, []
        done.sort(key=lambda task: task.number)
        for task in done:
            if not task.is_collected and task.is_clean:
                self._collected(task)
                yield _chunk_of(task), task.start + task.num_taken, task.take()

    def take_begun(self) -> Iterator[tuple[Chunk, int, list[Outcome]]]:
        """Outcomes of tasks that a slow call holds up, behind another such task.

        As with `take_behind`, a row with an error waits for its turn, and with it those behind it.
        """
        for task in self._tasks:
            first = task.num_taken
            if task.is_collected or len(task.rows) == 1 or len(task.outcomes) == first:
                continue
            clean = sum(1 for _ in takewhile(is_clean, task.outcomes[first:]))
            if outcomes := task.take(first + clean):
                yield _chunk_of(task), task.start + first, outcomes

    def take_rest(self) -> Iterator[tuple[Chunk, int, list[Outcome]]]:
        """All outcomes there are, of a run that ends."""
        for task in self._tasks:
            if not task.is_collected:
                start = task.start + task.num_taken
                yield _chunk_of(task), start, task.take_rest()
        self._tasks.clear()

    def with_error(self, error: BaseException) -> Task | None:
        """The task whose worker met an error; None = none did."""
        return next((task for task in self._tasks if task.error is error), None)

    def _take_run(self, first: Task) -> tuple[int, list[Outcome]]:
        """Index and outcomes of consecutive rows of one chunk: a task may be a single row."""
        start, outcomes = first.start + first.num_taken, list[Any]()
        while self._tasks:
            task = self._tasks[0]
            begins_at = task.start + task.num_taken
            if task.chunk is not first.chunk or begins_at != start + len(outcomes):
                break
            if task.is_collected:
                break
            outcomes += task.take()
            if task.num_taken < len(task.rows):
                break
            self._tasks.popleft()
            self._collected(task)
        return start, outcomes

    def _collected(self, task: Task) -> None:
        task.is_collected = True
        if task.is_held:
            task.is_held = False
            self._num_held_rows -= len(task.rows)
        chunk = task.chunk
        if chunk is not None:
            self._chunks[chunk] -= 1
            if not self._chunks[chunk]:
                del self._chunks[chunk]
                self._chunk_bytes -= chunk.num_bytes * _BYTES_OF_DICTS

    def _look_at_finished(self) -> None:
        finished = self._finished
        while finished:
            task = finished.popleft()
            self._num_open -= 1
            if task.took is not None:
                self._pace.add(len(task.rows), task.took)
            if task.is_collected:
                continue
            task.is_held = True
            self._num_held_rows += len(task.rows)
            self._behind.append(task)
            self._num_seen += 1
            if self._num_seen % _SAMPLED == 1 and task.outcomes:
                # The first row may have been taken while its values were pending.
                row_bytes = _bytes_of(rows_of(task.outcomes_between(0, 1)[0]))
                self._row_bytes += (row_bytes - self._row_bytes) * (0.1 if self._row_bytes else 1)
        if len(self._behind) > 2 * self._limit:
            self._behind = [task for task in self._behind if not task.is_collected]


def _chunk_of(task: Task) -> Chunk:
    if task.chunk is None:
        raise AssertionError("tasks in the window are of a chunk")
    return task.chunk


def _bytes_of(value: Any, depth: int = 0) -> int:
    """About how much memory a value takes."""
    parts: Iterable[Any] = ()
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    if depth > _MAX_MEASURED_DEPTH:
        return 0
    return sys.getsizeof(value) + sum(_bytes_of(part, depth + 1) for part in parts)
