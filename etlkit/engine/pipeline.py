"""The pipeline: rows from reader to writer, in order, with a bounded number in flight."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from etlkit.api.run import STOP_TIMEOUT_S, Interrupted
from etlkit.engine.async_workers import AsyncWorkers
from etlkit.engine.batch_writer import BatchWriter
from etlkit.engine.chunk import block_rows
from etlkit.engine.heap import settled_heap
from etlkit.engine.journal.answers import Answers
from etlkit.engine.pace import Pace
from etlkit.engine.prefetch import Prefetcher
from etlkit.engine.row_watch import RowWatch
from etlkit.engine.task import Task
from etlkit.engine.task_window import TaskWindow, window_limit
from etlkit.engine.worker_group import WorkerGroup
from etlkit.engine.workers import WorkerPool
from etlkit.errors import (
    CapReachedError,
    CountMismatchError,
    JobError,
    RunStateError,
    RunTakenOverError,
    SinkError,
    SourceError,
)
from etlkit.telemetry.spans import span

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.outcomes import Counts, Outcome
    from etlkit.api.report import Progress
    from etlkit.api.run import Run
    from etlkit.api.sink import SinkWriter
    from etlkit.api.source import SourceReader
    from etlkit.engine.chunk import Chunk
    from etlkit.engine.journal.journal import Journal
    from etlkit.engine.transform_spec import TransformSpec
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

log: logging.Logger = logging.getLogger("etlkit")

_POLL_INTERVAL_S = 0.1
"""How often running tasks are polled, so that their finished rows are staged in time."""

_MAX_MADE_BYTES = 4 * 2**20
"""Of a chunk in Arrow whose rows are all made at once. As dicts they take several times as much."""

_SUBMIT_TASKS = 64
"""Tasks that are queued together: the workers wait for the lock on the queue, and the first of them for
the first task."""

_MAX_HELD_UP_S = 0.5
"""Rows that are finished wait this long for a slow call before theirs, then they are staged."""

_OF_NO_ROW = (CapReachedError, RunStateError, SinkError, SourceError)
"""These reach a worker before its next row or call, whichever that is; or they name their row."""


class Pipeline:
    """Moves rows from reader to writer with a bounded number of them in flight.

    Rows keep their order, unless a call is slow and the sink does not need the order.

    The caller's thread decodes, encodes and writes. The prefetcher's thread reads ahead. The workers
    run the hooks and wake the caller's thread when a task is done.
    """

    def __init__(
        self,
        spec: TransformSpec,
        reader: SourceReader,
        writer: SinkWriter,
        job: TransferJob,
        counts: Counts,
        run: Run,
        on_progress: Progress,
        journal: Journal | None = None,
    ) -> None:
        source = reader.columns
        read = spec.decoded_columns(source)
        self._spec = spec
        self._reader = reader
        self._writer = writer
        self._counts = counts
        counts.waits = run.calls.waits
        self._run = run
        self._on_progress = on_progress
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._read = read
        names = [column.name for column in read]
        self._batch_writer = BatchWriter(writer, source, names, spec.output_schema, job, counts)
        self._keeps_order = writer.keeps_order
        self._pool: WorkerGroup = (AsyncWorkers if spec.is_async else WorkerPool)(
            spec.make_worker,
            spec.max_concurrency,
            self._wake,
            run.calls,
            writer.is_ready,
            ends_at_error=job.on_row_error == "fail",
            max_parked=spec.max_parked,
            journal=journal,
            counts_calls=job.lineage,
            takes_many=spec.takes_many,
            check=spec.check_hook,
        )
        self._answers = Answers({}) if journal is None else journal.answers
        self._watch = RowWatch(job.row_timeout_s, run.calls.waits)
        self._pace = Pace(spec.max_concurrency)
        self._task_rows = _task_rows(spec)
        limit = window_limit(spec.max_concurrency)
        self._window = TaskWindow(limit, self._pool.finished, self._pace)
        self._chunk: Chunk | None = None
        self._made: list[Row] | None = None
        self._uncut: deque[tuple[int, int, list[Outcome] | None]] = deque()
        self._collected_at = self._looked_behind_at = time.monotonic()
        self._expected = self._expected_rows()
        run.on_stop(self._wake)
        # Last: it starts a thread that reads, which nobody would end if this constructor raised.
        self._prefetcher = self._prefetch(rows_before=0)

    def run(self) -> None:
        """Return when every row has an outcome that is durable.

        Raises:
            EtlkitError: What ended the run; the workers are closed.
            Interrupted: The run was asked to stop; every finished row is durable.
        """
        with settled_heap():
            self._transform()
        try:
            with span("stage"):
                self._finish()
        except Exception as error:
            if not isinstance(error, RunTakenOverError):
                self._save_outcomes()
            raise
        if self._expected is not None and self._expected != self._counts.read:
            raise CountMismatchError(
                f"the source holds {self._expected} rows, but {self._counts.read} were read; "
                "nothing was published",
                read=self._counts.read,
                staged=self._counts.finished,
            )

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the target rows; empty = not known."""
        schema = self._batch_writer.schema
        return () if schema is None else tuple(schema.columns)

    def _transform(self) -> None:
        """Return when every row has been transformed and the workers are closed."""
        finished = False
        try:
            while not self._advance():
                self._wait()
            finished = True
        finally:
            self._pool.close(abandon=not finished, timeout_s=STOP_TIMEOUT_S)
            if not finished and not isinstance(self._pool.error, RunTakenOverError):
                self._save_outcomes()
            self._prefetcher.close()

    def _finish(self) -> None:
        """Return when every row is written and durable."""
        if self._pool.error is not None:  # after_action may have failed last
            raise self._pool.error
        self._batch_writer.finish()
        self._flush()
        if self._run.worker is None:  # a share is that of all workers, and one may have few rows
            self._batch_writer.check_max_rejected()

    def _flush(self) -> None:
        """Return when every row that was written is durable, or its error is handled."""
        while True:
            self._writer.flush()
            refused = self._batch_writer.handle_refused(self._reader.fetch)
            if self._run.stop_signal is not None:  # the sink may have cut its flush short
                raise Interrupted(self._run.stop_signal)
            if not refused:
                return

    def _expected_rows(self) -> int | None:
        rest = self._reader.num_rows
        return None if rest is None else rest + self._counts.read

    def _advance(self) -> bool:
        if self._run.stop_signal is not None:
            if self._run.worker is None:  # of workers, the process that holds the run says it, once
                log.warning(
                    "stopping: calls in flight have %.0f s to end; another Ctrl-C ends at once",
                    STOP_TIMEOUT_S,
                )
            raise Interrupted(self._run.stop_signal)
        if self._pool.error is not None:
            self._collect()  # an error of an earlier row comes first, as if rows ran one by one
            self._locate(self._pool.error)
            raise self._pool.error
        self._check_row_timeout()
        self._pool.answer(self._batch_writer.schema_for)
        self._pool.check_blocked()
        # Collect first to make room. After a submit, a worker is left that will wake this thread.
        self._collect()
        self._submit()
        self._batch_writer.step()
        if (schema := self._batch_writer.schema) is not self._pool.schema and schema is not None:
            self._pool.set_schema(schema)
        self._batch_writer.handle_refused(self._reader.fetch)
        self._on_progress("transform", self._counts, self._expected)
        if not self._prefetcher.ended or self._window or self._uncut:
            return False
        if self._prefetcher.expired:
            self._reopen()
            return False
        return True

    def _check_row_timeout(self) -> None:
        overdue = self._watch.overdue(self._pool.running)
        if overdue is not None:
            task, error = overdue
            task.error = error
            self._locate(error)  # first: what is given up ends with an error of its own
            self._pool.give_up(task)
            raise error

    def _locate(self, error: BaseException) -> None:
        """Say which row the error came from that ended the run."""
        if not isinstance(error, JobError) or isinstance(error, _OF_NO_ROW):
            return
        task = self._window.with_error(error)
        if task is not None and task.chunk is not None:
            index = task.start + len(task.outcomes)
            error.at_row(
                task.chunk.first_row_number + index,
                task.chunk.row_id(index),
                len(task.rows) if self._spec.takes_many and not task.outcomes else 1,
            )

    def _reopen(self) -> None:
        """Open another read session for the rows that were not read; all others have an outcome."""
        log.info("the read session expired after %d rows; opening another", self._counts.read)
        self._batch_writer.write_collected()
        self._flush()
        before = self._prefetcher.num_rows_read
        self._prefetcher.close()
        self._reader.freeze(self._writer.recover())
        self._prefetcher = self._prefetch(rows_before=before)

    def _prefetch(self, rows_before: int) -> Prefetcher:
        spec = self._spec
        rows_per_block = block_rows(len(self._read)) if spec.is_sequential else None
        sizes = spec.chunk_rows, spec.task_rows, rows_per_block
        return Prefetcher(
            self._reader,
            self._read,
            *sizes,
            self._wake,
            rows_before,
            keeps_order=self._keeps_order,
        )

    def _submit(self) -> None:
        tasks: list[Task] = []
        while self._window.has_room(self._pool.num_parked):
            task = self._next_task()
            if task is None:
                break
            self._window.add(task)
            if task.is_done:  # an earlier attempt left its outcomes
                self._pool.finished.append(task)
                self._wake()
                continue
            tasks.append(task)
            if len(tasks) == _SUBMIT_TASKS:
                self._pool.submit(tasks)
                tasks = []
        self._pool.submit(tasks)

    def _next_task(self) -> Task | None:
        """Cut the next task from the chunk, or from the next one; None = none is there."""
        if not self._uncut:
            self._chunk = self._prefetcher.next_chunk()
            if self._chunk is not None:
                self._uncut.extend(self._answers.split(self._chunk))
                self._made = self._rows_made(self._chunk)
        if self._chunk is None or not self._uncut:
            return None
        start, stop, outcomes = self._uncut.popleft()
        size = self._pace.task_rows if self._task_rows is None else self._task_rows
        end = stop if outcomes is not None else min(stop, start + size)
        if end < stop:
            self._uncut.appendleft((end, stop, None))
        rows = self._chunk.rows(start, end) if self._made is None else self._made[start:end]
        return Task(rows, self._chunk, start, outcomes)

    def _rows_made(self, chunk: Chunk) -> list[Row] | None:
        """All rows of a chunk, for async hooks: one by one, a row would take as long as its call.

        Returns:
            None = they are made when they are asked for: they are large, or the worker that comes to
            one that cannot be read reports it.
        """
        if not self._spec.is_async or chunk.num_bytes > _MAX_MADE_BYTES:
            return None
        try:
            return list(chunk.rows(0, chunk.batch.num_rows))
        except SourceError:
            return None

    def _collect(self) -> None:
        for chunk, start, ready in self._window.take_in_order():
            self._batch_writer.add(chunk, start, ready)
            self._collected_at = time.monotonic()
        if not self._keeps_order and self._is_held_up():
            # Otherwise a call that hangs or waits for a retry stops all others once the window is full.
            for chunk, start, ready in self._window.take_behind():
                self._batch_writer.add(chunk, start, ready)
        if not self._keeps_order and time.monotonic() - self._looked_behind_at >= _MAX_HELD_UP_S:
            for chunk, start, ready in self._window.take_begun():
                self._batch_writer.add(chunk, start, ready)
            self._looked_behind_at = time.monotonic()

    def _is_held_up(self) -> bool:
        """Whether a slow call leaves the workers too little to do, or rows behind it have waited."""
        if self._pool.num_waiting < self._spec.max_concurrency:
            return True
        return time.monotonic() - self._collected_at >= _MAX_HELD_UP_S

    def _save_outcomes(self) -> None:
        """Stage finished rows although the run ends here: a resume must not pay for them again."""
        with contextlib.suppress(Exception):  # the error that ended the run is the one to report
            for chunk, start, rest in self._window.take_rest():
                self._batch_writer.keep(chunk, start, rest)
            self._batch_writer.write_kept()
            self._writer.flush()
            if self._batch_writer.handle_refused(self._reader.fetch):
                self._writer.flush()

    def _wake(self) -> None:
        self._wakeups.put(None)

    def _wait(self) -> None:
        # A worker inside a slow call cannot wake this thread for the finished rows of its task.
        waits = [self._batch_writer.due_in(), _POLL_INTERVAL_S if self._window else None]
        try:
            self._wakeups.get(timeout=min((w for w in waits if w is not None), default=None))
            while True:  # one pass for many wake-ups
                self._wakeups.get_nowait()
        except Empty:
            return


def _task_rows(spec: TransformSpec) -> int | None:
    """Rows of each task; None = it depends on how fast rows are."""
    if spec.is_sequential or spec.is_arrow:
        return spec.chunk_rows
    return spec.task_rows if spec.batched or spec.is_async else None
