"""The row loop: one worker's `Etl` runs the rows of a task, and what comes out is encoded.

While rows take microseconds, nothing of them leaves the worker but Arrow: a block of rows is decoded,
transformed and encoded on one thread. The pipeline takes rows one by one only if they are slow.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from etlkit.api.outcomes import (
    SKIPPED,
    UNKNOWN_KEYS,
    KnownKeys,
    NoNames,
    classify,
    error_class,
    error_of,
    is_clean,
    rows_of,
)
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.api.user_errors import cut_earlier_raises, forget_frames
from etlkit.calls.worker import Worker, current_worker
from etlkit.engine.chunk import ChunkRows, Part
from etlkit.engine.chunk_outcomes import num_unmade_rows
from etlkit.engine.clock_marks import ClockMarks
from etlkit.engine.made_rows import make_rows, mark_made
from etlkit.engine.pending_rows import ColumnPlans, PendingRows
from etlkit.engine.worker_group import CALL_S, LOOK_INTERVAL_S, classified
from etlkit.errors import EtlkitError
from etlkit.rows.row_code import END, PAUSE, transform_loop

if TYPE_CHECKING:
    from etlkit.api.outcomes import Outcome
    from etlkit.calls.limits import Meter
    from etlkit.engine.heap import FastRows
    from etlkit.engine.made_rows import MadeRows
    from etlkit.engine.output_schema import OutputSchema
    from etlkit.engine.task import Task
    from etlkit.errors import RowError

_MAX_UNMADE = 2000
"""Target rows that wait as dicts, at most, unless one source row became more."""

_MAX_MADE_BYTES = 8 * 1024 * 1024
"""Encoded rows that a worker leaves to the pipeline before it waits for it, at most."""

_MIN_MADE = 100
"""Fewer rows are left to the pipeline, which encodes those of several tasks together."""

_FAST_ROW_S = 0.00005
"""Rows are fast if those of a block take less on average, also on a busy machine."""

_SLOW_S = 0.01
"""A row that takes longer is not fast, whatever the others took."""

_CALL_WAIT_S = 0.0002
"""A call waits for its answer at least this long. Rows that took long and did not wait were computed:
to do so again costs no call, and to write each of them down costs time."""

SAMPLE_ROWS = 1000
"""Rows from which the types of new columns are inferred, at most."""


Clock = Callable[[], float]


class Known(Protocol):
    """What the pipeline knows of the rows so far; see `WorkerGroup`."""

    schema: OutputSchema | None

    def wait_for_schema(self) -> None:
        """Return when `schema` is known, or after a short while."""

    def wait_until_taken(self, task: Task) -> None:
        """Return when the pipeline has taken what the task has made, cannot do so, or the run ends."""


class RowLoop:
    """Runs the tasks of one worker.

    Args:
        etl: The worker's instance.
        known: Looked at again and again.
        wait_until_ready: Returns when the sink is ready for another row; False = the run ends.
        stop: Set when the run ends.
        meter: The run's calls and caps.
        ends_at_error: Whether a row that fails ends the run: then no later row is begun.
        keep: Puts the outcomes of a task's rows, from an index on, into the journal.
        fast_rows: Learns whether rows are fast.
    """

    def __init__(
        self,
        etl: EtlBase,
        known: Known,
        wait_until_ready: Callable[[], bool],
        stop: threading.Event,
        meter: Meter,
        ends_at_error: bool,
        keep: Callable[[Task, int], None],
        fast_rows: FastRows,
    ) -> None:
        self._etl = etl
        self._known = known
        self._wait_until_ready = wait_until_ready
        self._stop = stop
        self._meter = meter
        self._ends_at_error = ends_at_error
        self._keep = keep
        self._is_batch = overrides_batch(type(etl))
        self._worker = current_worker() or Worker()
        self._plans = ColumnPlans()
        self._pending: PendingRows | None = None
        self._marks = ClockMarks()
        self._fast_rows = fast_rows
        self._seen_classes: set[str] = set()
        self._look_at = 0.0
        self._cpu_s_at_look = 0.0
        self._num_undecided = 0
        self._has_waited = False
        self._num_unmade = 0
        self._made_bytes = 0

    def run(self, task: Task) -> None:
        """Give each row of a task its outcome, unless one before it ends the run."""
        if self._is_batch:
            self._run_batch(task)
        elif len(task.rows) == 1 and self._known.schema is not None:
            self._run_single(task)
        elif isinstance(task.rows, ChunkRows):
            try:
                self._run_blocks(task, task.rows)
            except BaseException:
                self._keep_slow(task)  # rows before the one that ends the run
                raise
            finally:
                if self._pending is not None:  # the run ends
                    self._pending = None
                    task.resolve()
        else:
            results = map(self._etl.transform_row, task.rows)
            keys = self._keys()
            loop = partial(
                transform_loop(None), results, None, task.outcomes.append, *self._taking(keys)
            )
            self._run_rows(task, len(task.rows), loop, keys, None)

    def _run_single(self, task: Task) -> None:
        """Run the only row of a task. It may be slow: nothing is prepared that many fast ones need."""
        row = task.rows[0]
        if not self._may_begin():
            return
        keys = self._keys()
        self._worker.has_called = False
        try:
            result: Any = self._etl.transform_row(row)
        except Exception as error:
            result = error
            cut_earlier_raises(error)
        if self._meter.is_capped:
            self._meter.check()
        elif type(result) is dict and keys.names.issuperset(result):
            task.outcomes.append(keys.copy(result))
            self._keep_slow(task)
            return
        self._take(task, result, keys, None)
        self._num_unmade = 0  # the pipeline encodes them

    def _run_blocks(self, task: Task, rows: ChunkRows) -> None:
        """Run the rows of a task block by block."""
        if self._known.schema is not None and len(rows) >= _MIN_MADE:
            task.begin_block()
        for part in rows.chunk.parts(rows.start, rows.stop):
            began = time.monotonic()
            if not self._run_part(task, part):
                break
            took_s = time.monotonic() - began
            if took_s < _FAST_ROW_S * (part.stop - part.start):
                self._fast_rows.begin()
            else:
                self._fast_rows.end()
            is_decided = self._known.schema is not None
            self._make(task, part)
            if is_decided:  # else the pipeline encodes the rows, and needs the block for it
                rows.chunk.forget(part)

    def _keys(self) -> KnownKeys:
        return UNKNOWN_KEYS if self._known.schema is None else self._known.schema.keys

    def _taking(self, keys: KnownKeys) -> tuple[Any, ...]:
        """The arguments of `transform_loop` that say what becomes of results.

        Where calls are capped it takes none: a transform may have caught the error of a call that was
        refused, and such a row has no outcome, whatever came back.
        """
        if self._meter.is_capped:
            return keys.copy, None, NoNames
        return keys.copy, SKIPPED, keys.names

    def _run_part(self, task: Task, part: Part) -> bool:
        """Run the rows of a part; False = the run ends before all have run."""
        marks = self._marks.begin(part.stop - part.start, each=self._meter.is_capped)
        values, keys, transform = part.tuples(marks), self._keys(), self._etl.transform_row
        as_dicts = partial(
            transform_loop(part.block.names),
            *(values, transform, task.outcomes.append, *self._taking(keys)),
        )
        if not self._meter.is_capped:
            self._pending = self._plans.begin(self._known.schema, part, part.start)

        def loop(clock: Clock, until: float, worker: Worker, own: int | None) -> Any:
            pending = self._pending
            if pending is None:
                return as_dicts(clock, until, worker, own)
            return pending.run(values, transform, task.outcomes, clock, until, worker)

        return self._run_rows(task, part.stop - task.start, loop, keys, part)

    def _run_rows(
        self,
        task: Task,
        num_rows: int,
        loop: Callable[[Clock, float, Worker, int | None], Any],
        keys: KnownKeys,
        part: Part | None,
    ) -> bool:
        """Run rows until there are this many outcomes; False = the run ends before."""
        clock, worker = time.monotonic, self._worker
        while len(task.outcomes) < num_rows:
            if not self._may_begin():
                return False
            until = 0.0 if self._meter.is_capped else self._look_at
            worker.has_called = False
            try:
                result = loop(clock, until, worker, keys.own)
            except Exception as error:
                result = error
                cut_earlier_raises(error)
            if self._meter.is_capped:
                self._meter.check()
            if result is END:
                break
            if not self._take(task, result, keys, part):
                return False
        return True

    def _may_begin(self) -> bool:
        """Look at the sink if it is time to; False = the run ends."""
        if time.monotonic() >= self._look_at:
            if self._stop.is_set() or not self._wait_until_ready():
                return False
            self._look_at = time.monotonic() + LOOK_INTERVAL_S
            self._cpu_s_at_look = time.thread_time()
        return True

    def _take(self, task: Task, result: Any, keys: KnownKeys, part: Part | None) -> bool:
        """Take what a loop paused with; False = it ends the run."""
        if result is not PAUSE:
            outcome = self._classified(task, result, keys)
            if self._meter.is_capped:  # the parts of a row are made just now
                self._meter.check()
            if not self._ends_at_error and (error := error_of(outcome)) is not None:
                self._forget_frames(error)
            task.outcomes.append(outcome)
        self._keep_slow(task)  # before the row is encoded: then its values are gone
        pending = self._pending
        if result is PAUSE and (pending is None or not pending.is_fan_out):
            return True  # the usual case: fast rows pause several times a block
        outcome = task.outcomes[-1]
        if pending is not None:
            self._num_unmade = pending.num_more
        elif type(outcome) is not dict and result is not PAUSE:
            self._num_unmade += len(rows_of(outcome))
        if result is not PAUSE and error_of(outcome) is not None and self._ends_at_error:
            task.has_failed = True
            return False
        if self._num_unmade >= _MAX_UNMADE and part is not None:
            self._make(task, part)
            if pending is not None:
                start = task.start + len(task.outcomes)
                self._pending = self._plans.begin(self._known.schema, part, start)
        return True

    def _keep_slow(self, task: Task) -> None:
        """Put the rows since the last look at the clock into the journal, if they seem to be calls."""
        elapsed_s = time.monotonic() - self._look_at
        if elapsed_s >= CALL_S:
            cpu_s = time.thread_time() - self._cpu_s_at_look
            waited_s = elapsed_s + LOOK_INTERVAL_S - cpu_s
            if self._worker.has_called or waited_s >= _CALL_WAIT_S:
                self._keep(task, max(0, len(task.outcomes) - self._marks.step))
            self._marks.add_slow()
            if elapsed_s >= _SLOW_S:
                self._fast_rows.end()

    def _classified(self, task: Task, result: Any, keys: KnownKeys) -> Outcome:
        """The outcome of a row that a loop has given back."""
        pending = self._pending
        if pending is None:
            return classify(result, keys)  # a generator runs the user's code here
        outcome = pending.classify(result, keys)
        if type(outcome) is dict or rows_of(outcome):
            self._plans.fail()
            self._pending = None
            task.resolve()
        else:
            pending.add_nothing(task.start + len(task.outcomes))
        return outcome

    def _forget_frames(self, error: RowError) -> None:
        """Drop the tracebacks of an error whose text is made, unless it is the first of its class.

        A traceback keeps the frames that the row went through, up to ours, and so all values of its
        block and the outcomes of its task, with this error among them. The first is for the log.
        """
        kind = error_class(error)
        if kind not in self._seen_classes:
            self._seen_classes.add(kind)
            return
        forget_frames(error)

    def _make(self, task: Task, part: Part) -> None:
        """Encode the outcomes that the pipeline has not taken; leave them as they are if one is bad."""
        schema, first = self._known.schema, part.start - task.start
        if schema is None:
            self._num_unmade = 0
            num_rows = num_unmade_rows(task.outcomes[max(first, task.num_taken) :])
            self._wait_for_schema(num_rows)
            if not num_rows:
                # There is nothing to encode, and the pipeline may find that too many rows failed.
                task.keep_made()
                self._known.wait_until_taken(task)
            return
        first = task.begin_encoding(first)
        try:
            self._encode(task, part, first, schema)
        finally:
            task.end_encoding()
        if self._made_bytes >= _MAX_MADE_BYTES:
            self._made_bytes = 0
            self._known.wait_until_taken(task)

    def _encode(self, task: Task, part: Part, first: int, schema: OutputSchema) -> None:
        outcomes, start = task.outcomes[first:], task.start + first
        num_rows, self._num_unmade = len(outcomes) + self._num_unmade, 0
        pending, self._pending = self._pending, None
        try:
            if num_rows < _MIN_MADE:
                return
            if pending is None:
                made = make_rows(schema, part.chunk, start, outcomes, part)
                marked = mark_made(outcomes, made)
                self._plans.learn(schema, part, outcomes)
            else:
                gaps = pending.gaps(outcomes)
                made, marked = (
                    pending.made_rows(outcomes, start, gaps),
                    pending.marked(outcomes, gaps),
                )
                self._plans.succeed()
            self._leave(task, part, first, made, marked)
            pending = None
        except EtlkitError:  # the pipeline finds which rows are bad, and what to do with them
            self._plans.fail()
        finally:
            if pending is not None:
                task.resolve()

    def _leave(
        self, task: Task, part: Part, first: int, made: MadeRows, marked: list[Outcome]
    ) -> None:
        """Leave encoded rows to the pipeline."""
        part.chunk.made.append(made)  # first: the pipeline looks for it where it sees `MADE`
        task.outcomes[first:] = marked
        task.keep_made()
        self._made_bytes += made.num_bytes()

    def _wait_for_schema(self, num_rows: int) -> None:
        """Let the pipeline decide the columns before more rows are kept as dicts.

        Args:
            num_rows: Target rows: it waits for enough of these, whatever was skipped or rejected.
        """
        self._num_undecided += num_rows
        if self._num_undecided >= SAMPLE_ROWS and not self._has_waited:
            self._has_waited = True
            self._known.wait_for_schema()

    def _run_batch(self, task: Task) -> None:
        if not self._wait_until_ready():
            return
        began = time.monotonic()
        given = list(task.rows)
        own = list(given)  # the transform may sort its list; the positions in ours stay
        try:
            made: Any = self._etl.transform_batch(given)
            results = list(made)
        except Exception as error:
            results = [error] * len(own)
        self._meter.check()
        task.outcomes.extend(classified(type(self._etl).__name__, own, results))
        if time.monotonic() - began >= CALL_S:
            self._keep(task, 0)
        task.has_failed = self._ends_at_error and not all(map(is_clean, task.outcomes))
