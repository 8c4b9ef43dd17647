"""The pump: rows from reader to writer, a bounded number of them in flight, in order."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from etlkit.api.run import Interrupted
from etlkit.engine.batch_writer import BatchWriter
from etlkit.engine.prefetch import Chunk, Prefetcher
from etlkit.engine.workers import Task, WorkerPool
from etlkit.errors import CountMismatchError
from etlkit.rows.batches import RowDecoder

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.outcomes import Counts, RowOutcome
    from etlkit.api.report import Progress
    from etlkit.api.run import Run
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import SourceReader
    from etlkit.engine.transform_spec import TransformSpec

log = logging.getLogger("etlkit")

_IN_FLIGHT = 4
"""Tasks per worker between source and sink: enough that one slow call does not starve the others,
few enough to bound memory and what a crash can lose."""

_LOOK_EVERY_S = 0.1
"""How often running tasks are looked at, so that their settled rows are staged in time."""

GRACE_S = 30.0
"""A call in flight may take so long to end after a stop was asked for."""


class Pipeline:
    """Moves rows from reader to writer with a bounded number of them in flight.

    They keep their order, unless a call takes long and the sink has no use for an order.

    One thread (the caller's) decodes, encodes and writes; the feed's thread reads ahead; the pool's
    threads run the hooks and ring a bell when a task has ended.
    """

    def __init__(
        self,
        etl: TransformSpec,
        reader: SourceReader,
        writer: SinkWriter,
        job: TransferJob,
        counts: Counts,
        run: Run,
        on_progress: Progress,
    ) -> None:
        source = reader.columns
        read = etl.read_columns(source)
        self._etl = etl
        self._reader = reader
        self._writer = writer
        self._counts = counts
        self._run = run
        self._on_progress = on_progress
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._decoder = RowDecoder(read)
        names = [column.name for column in read]
        self._assembler = BatchWriter(writer, source, names, etl.output_schema, job, counts)
        self._feed = Prefetcher(reader, self._decoder, etl.chunk_rows, self._ring)
        self._keeps_order = writer.keeps_order
        self._pool = WorkerPool(
            etl.make, etl.max_concurrency, self._ring, run.calls, writer.check_owner
        )
        self._tasks: deque[tuple[Chunk, int, Task]] = deque()
        self._ahead: deque[tuple[Chunk, int, Task]] = deque()
        self._taken = 0
        self._expected = self._expect()
        run.on_stop(self._ring)

    def run(self) -> None:
        """Return when every row is settled, staged and durable.

        Raises:
            EtlkitError: What ended the run; the workers are closed.
            Interrupted: The run was asked to stop; what was settled is durable.
        """
        finished = False
        try:
            while not self._all_settled():
                self._wait()
            finished = True
        finally:
            self._pool.close(abandon=not finished, timeout_s=GRACE_S)
            if not finished:
                self._save_settled()
            self._feed.close()
        if self._pool.error is not None:  # after_action may have failed last
            raise self._pool.error
        self._assembler.finish()
        self._writer.flush()
        while self._assembler.settle_refused(self._reader.fetch):
            self._writer.flush()
        if self._expected is not None and self._expected != self._counts.read:
            raise CountMismatchError(
                f"the source holds {self._expected} rows, but {self._counts.read} were read; "
                "nothing was published",
                read=self._counts.read,
                staged=self._counts.finished,
            )

    def _expect(self) -> int | None:
        rest = self._reader.num_rows
        return None if rest is None else rest + self._counts.read

    def _all_settled(self) -> bool:
        if self._run.stop_signal is not None:
            log.warning(
                "stopping: calls in flight have %.0f s to end; another Ctrl-C ends at once", GRACE_S
            )
            raise Interrupted(self._run.stop_signal)
        if self._pool.error is not None:
            self._drain()  # a row error before it in order comes first, as if run one by one
            raise self._pool.error
        # Draining first makes room; after submitting, somebody is left who will ring the bell.
        self._drain()
        self._submit()
        self._assembler.step()
        self._assembler.settle_refused(self._reader.fetch)
        self._on_progress("transform", self._counts, self._expected)
        if not self._feed.ended or self._tasks or self._ahead:
            return False
        if self._feed.expired:
            self._read_on()
            return False
        return True

    def _read_on(self) -> None:
        """Open another session for the rows that are not settled, now that all read ones are."""
        log.info("the read session is over after %d rows; opening another", self._counts.read)
        self._assembler.write_out()
        self._writer.flush()
        while self._assembler.settle_refused(self._reader.fetch):
            self._writer.flush()
        before = self._feed.rows_given
        self._feed.close()
        self._reader.freeze(self._writer.recover())
        self._feed = Prefetcher(
            self._reader, self._decoder, self._etl.chunk_rows, self._ring, rows_before=before
        )

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
                self._taken += len(ready)
                self._assembler.add(chunk, start + self._taken - len(ready), ready)
            if self._taken < len(task.rows):
                break
            self._tasks.popleft()
            self._taken = 0
        if not self._keeps_order and self._pool.num_waiting < self._etl.max_concurrency:
            self._pass_slow_ones()

    def _pass_slow_ones(self) -> None:
        """Stage what is settled behind calls that take long: it is safe then, and makes room.

        A call that hangs or waits for a retry would else stop all others once the window is full.
        Rows with errors wait for their turn: the first error is to be the first bad row.
        """
        if not self._tasks:
            return
        kept = deque([self._tasks.popleft()])  # the head may be half taken
        for chunk, start, task in self._tasks:
            settled = task.settled
            if len(settled) == len(task.rows) and _is_clean(settled):
                self._assembler.add(chunk, start, settled)
            else:
                kept.append((chunk, start, task))
        self._tasks = kept

    def _save_settled(self) -> None:
        """Stage what is settled although the run ends here: a resume need not pay for it again."""
        with contextlib.suppress(Exception):  # the error that ended the run is the one to report
            for chunk, start, task in self._tasks:
                rest = task.settled[self._taken :]
                if _is_clean(rest):
                    self._assembler.add(chunk, start + self._taken, rest)
                self._taken = 0
            self._assembler.write_out()
            self._writer.flush()

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


def _is_clean(settled: list[RowOutcome]) -> bool:
    return all(isinstance(each, dict) or each.error is None for each in settled)
