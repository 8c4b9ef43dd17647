"""The pump: rows from reader to writer, a bounded number of them in flight, in order."""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from etlkit.assemble import Assembler
from etlkit.feed import Chunk, Feed
from etlkit.schema import RowDecoder
from etlkit.workers import Task, WorkerPool

if TYPE_CHECKING:
    from etlkit.job import OnRowError
    from etlkit.report import Progress
    from etlkit.settle import Counts
    from etlkit.sink import SinkWriter
    from etlkit.source import SourceReader
    from etlkit.traits import EtlTraits

_IN_FLIGHT = 4
"""Tasks per worker between source and sink: enough that one slow call does not starve the others,
few enough to bound memory and what a crash can lose."""

_LOOK_EVERY_S = 0.25
"""How often running tasks are looked at, so that their settled rows are staged in time."""


class Pump:
    """Moves rows from reader to writer with a bounded number of them in flight, in order.

    One thread (the caller's) decodes, encodes and writes; the feed's thread reads ahead; the pool's
    threads run the hooks and ring a bell when a task has ended.
    """

    def __init__(
        self,
        etl: EtlTraits,
        reader: SourceReader,
        writer: SinkWriter,
        on_row_error: OnRowError,
        counts: Counts,
        on_progress: Progress,
    ) -> None:
        source = reader.columns
        read = etl.read_columns(source)
        self._etl = etl
        self._writer = writer
        self._counts = counts
        self._on_progress = on_progress
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._assembler = Assembler(
            writer,
            source,
            [column.name for column in read],
            etl.output_schema,
            on_row_error,
            counts,
        )
        self._feed = Feed(reader, RowDecoder(read), etl.chunk_rows, self._ring)
        self._pool = WorkerPool(etl.make, etl.max_concurrency, self._ring)
        self._tasks: deque[tuple[Chunk, int, Task]] = deque()
        self._ahead: deque[tuple[Chunk, int, Task]] = deque()
        self._taken = 0

    def run(self) -> None:
        """Return when every row is settled, staged and durable.

        Raises:
            EtlkitError: What ended the run; the workers are closed.
        """
        finished = False
        try:
            while not self._all_settled():
                self._wait()
            finished = True
        finally:
            self._feed.close()
            self._pool.close(abandon=not finished)
        if self._pool.error is not None:  # after_action may have failed last
            raise self._pool.error
        self._assembler.finish()
        self._writer.flush()

    def _all_settled(self) -> bool:
        if self._pool.error is not None:
            self._drain()  # a row error before it in order comes first, as if run one by one
            raise self._pool.error
        # Draining first makes room; after submitting, somebody is left who will ring the bell.
        self._drain()
        self._submit()
        self._assembler.step()
        self._on_progress("transform", self._counts, None)
        return self._feed.ended and not self._tasks and not self._ahead

    def _submit(self) -> None:
        while len(self._tasks) < self._etl.max_concurrency * _IN_FLIGHT and self._more_to_submit():
            entry = self._ahead.popleft()
            self._tasks.append(entry)
            self._pool.submit(entry[2])

    def _more_to_submit(self) -> bool:
        """Whether a task is ready; cuts the next chunk into tasks if need be."""
        if not self._ahead and (chunk := self._feed.next_chunk()) is not None:
            rows, step = chunk.decoded.rows, self._etl.task_rows
            for start in range(0, len(rows), step):
                self._ahead.append((chunk, start, Task(rows[start : start + step])))
        return bool(self._ahead)

    def _drain(self) -> None:
        while self._tasks:
            chunk, start, task = self._tasks[0]
            ready = task.settled[self._taken :]
            if ready:
                self._assembler.add(chunk, start + self._taken, ready)
                self._taken += len(ready)
            if self._taken < len(task.rows):
                return
            self._tasks.popleft()
            self._taken = 0

    def _ring(self) -> None:
        self._bell.put(None)

    def _wait(self) -> None:
        # A worker inside a slow call cannot ring for the rows before it in its task.
        waits = [self._assembler.due_in(), _LOOK_EVERY_S if self._tasks else None]
        try:
            self._bell.get(timeout=min((w for w in waits if w is not None), default=None))
            while True:  # many rings, one look
                self._bell.get_nowait()
        except Empty:
            return
