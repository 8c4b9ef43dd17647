"""Worker threads: each has its own `Etl` instance and runs the four hooks on it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from etlkit.api.outcomes import Outcome, as_returned, classify, is_clean
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.api.user_errors import user_error_text, user_line
from etlkit.calls.clock import Stopped
from etlkit.calls.retry import Calls
from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.rows.row import Row

if TYPE_CHECKING:
    from etlkit.engine.journal.journal import Journal

T = TypeVar("T")

_WAKE_BELOW = 2
"""The pipeline is woken when fewer tasks per worker wait. Waking it for every task would cost the
workers much of the interpreter's time. It polls for rows that finish in between."""

_READY_POLL_S = 0.05
"""How often a worker asks whether the sink is ready again."""

_LOOK_INTERVAL_S = 0.0005
"""A row that begins later than this after the last look at the sink is preceded by another look. So
each paid call is, and rows that take microseconds share one: a look would cost a good part of them."""

_CALL_S = 0.0005
"""A row that took this long after the look that was due has perhaps cost a call, whoever made it: its
outcome goes into the journal. Rows that take microseconds never come there."""


class Task:
    """Consecutive rows for one worker, and their outcomes so far.

    Args:
        rows: The decoded source rows.
        row_id: Gives the id of a row by its index in `rows`; None = nobody asks.
        outcomes: The outcomes, if an earlier attempt has left them.

    Attributes:
        rows: As given.
        row_id: As given.
        outcomes: One entry per row, in order. Grows while the worker runs; reading it then is safe.
        has_failed: Whether a row failed that ends the run; later ones may have no outcome then.
        error: What ended the run at the first row without an outcome; None = nothing did.
    """

    __slots__ = ("error", "has_failed", "outcomes", "row_id", "rows")

    def __init__(
        self,
        rows: list[Row],
        row_id: Callable[[int], str] | None = None,
        outcomes: list[Outcome] | None = None,
    ) -> None:
        self.rows = rows
        self.row_id = row_id
        self.outcomes: list[Outcome] = [] if outcomes is None else outcomes
        self.has_failed = False
        self.error: BaseException | None = None


class WorkerPool:
    """Up to `size` threads that take tasks in order. `close` joins all of them.

    Args:
        make: Makes the instance of one worker; called on the worker's thread.
        size: Calls in flight.
        wake: Called from any thread when rows are finished and few tasks wait.
        calls: The run's calls to services, which wait for each other and end with the pool.
        is_ready: Whether the next row may be transformed, see `SinkWriter.is_ready`.
        ends_at_error: Whether a row that fails ends the run: then no later row is begun.
        journal: Keeps the outcomes of rows that took a call; None = nobody does.

    Attributes:
        nested_keys: Keys of rows whose values may be lists or dicts, in rows of up to `num_keys`
            keys. No row has that few as long as the columns are not known.
        num_keys: See `nested_keys`.
        running: The task that each worker is at, by the ident of its thread.
    """

    def __init__(
        self,
        make: Callable[[], EtlBase],
        size: int,
        wake: Callable[[], None],
        calls: Calls,
        is_ready: Callable[[], bool],
        *,
        ends_at_error: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self._make = make
        self._size = size
        self._wake = wake
        self._calls = calls
        self._is_ready = is_ready
        self._ends_at_error = ends_at_error
        self._journal = journal
        self.nested_keys: tuple[str, ...] = ()
        self.num_keys = 0
        self.running: dict[int, Task] = {}
        self._tasks: SimpleQueue[tuple[int, Task] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._num_submitted = 0
        self._failed_at = math.inf
        self._errors: list[BaseException] = []

    @property
    def error(self) -> BaseException | None:
        """The first error that ends the run; None = there is none so far."""
        return self._errors[0] if self._errors else None

    @property
    def num_waiting(self) -> int:
        """Tasks that no worker has started."""
        return self._tasks.qsize()

    def submit(self, task: Task) -> None:
        """Queue a task. Starts one more thread until there are `size`: few rows need few threads."""
        self._num_submitted += 1
        self._tasks.put((self._num_submitted, task))
        if len(self._threads) < self._size:
            # Daemon: a call that never returns must not outlive a second Ctrl-C.
            name = f"etlkit-worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, *, abandon: bool, timeout_s: float) -> None:
        """Stop the workers and wait for them; `after_action` has run on each of them then.

        Args:
            abandon: Drop queued tasks and the rest of running ones; only calls in flight finish.
            timeout_s: How long to wait in total if `abandon` is set.
        """
        if abandon:
            self._stop_all()
        for _ in self._threads:
            self._tasks.put(None)
        give_up_at = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(timeout=max(0.0, give_up_at - time.monotonic()) if abandon else None)

    def _work(self) -> None:
        etl = None
        self._calls.enter()
        try:
            etl = _guard("the transform's constructor", self._make)
            _guard("before_action", etl.before_action)
            self._take_tasks(etl)
        except Stopped:
            pass  # another worker failed, or a stop was requested: that is reported elsewhere
        except BaseException as error:
            self._fail(error)
        finally:
            if etl is not None:
                try:
                    _guard("after_action", etl.after_action)
                except Stopped:
                    pass
                except BaseException as error:
                    self._fail(error)

    def _take_tasks(self, etl: EtlBase) -> None:
        is_batch, look_at = overrides_batch(type(etl)), 0.0
        thread = threading.get_ident()
        while (entry := self._tasks.get()) is not None and not self._stop.is_set():
            number, task = entry
            if number > self._failed_at:
                break
            self.running[thread] = task
            try:
                if is_batch:
                    self._run_batch(etl, task)
                else:
                    look_at = self._run_rows(etl, task, look_at)
            except BaseException as error:
                task.error = error
                raise
            finally:
                del self.running[thread]
            if task.has_failed:
                self._failed_at = number  # tasks are taken in order: those before it have begun
                self._wake()
                break
            if self._tasks.qsize() < _WAKE_BELOW * self._size:
                self._wake()

    def _run_rows(self, etl: EtlBase, task: Task, look_at: float) -> float:
        """Run a task; takes and gives the time from which on the next row needs a look at the sink."""
        transform, append, meter = etl.transform_row, task.outcomes.append, self._calls.meter
        is_capped = meter.is_capped  # looked up once: rows without calls take a microsecond each
        nested_keys, num_keys = self.nested_keys, self.num_keys
        clock = time.monotonic
        for row in task.rows:
            if (now := clock()) >= look_at:
                self._keep_last(task, now - look_at)
                if self._stop.is_set() or not self._wait_until_ready():
                    break
                look_at = clock() + _LOOK_INTERVAL_S
            try:
                result: Any = transform(row)
            except Exception as error:
                result = error
            if is_capped:
                meter.check()
            if type(result) is not dict:
                append(outcome := classify(result))
                if self._ends_at_error and not is_clean(outcome):
                    task.has_failed = True
                    break
            elif len(result) > num_keys:  # also as long as the columns are not known
                append(as_returned(result))
            elif nested_keys:
                append(as_returned(result, nested_keys))
            else:
                append(result.copy())
        self._keep_last(task, clock() - look_at)
        return look_at

    def _keep_last(self, task: Task, late_s: float) -> None:
        """Put the last outcome into the journal if its row took long: rows before it share a look."""
        if late_s >= _CALL_S:
            self.keep(task, len(task.outcomes) - 1)

    def keep(self, task: Task, first: int) -> None:
        """Put the outcomes of a task's rows from `first` on into the journal; none = nothing to do."""
        if self._journal is None or task.row_id is None or first < 0:
            return
        outcomes = task.outcomes[first:]
        ids = [task.row_id(index) for index in range(first, first + len(outcomes))]
        self._journal.keep(ids, outcomes)

    def _run_batch(self, etl: EtlBase, task: Task) -> None:
        if not self._wait_until_ready():
            return
        began = time.monotonic()
        given = list(task.rows)  # the transform may sort its list; the positions in ours stay
        try:
            results = list(etl.transform_batch(given))
        except Exception as error:
            results = [error] * len(task.rows)
        self._calls.meter.check()
        if len(results) != len(task.rows):
            raise JobError(
                f"{type(etl).__name__}.transform_batch returned {len(results)} results for "
                f"{len(task.rows)} rows: it must return one per row, in their order",
                stage="transform",
            )
        _refuse_other_order(type(etl).__name__, task.rows, results)
        task.outcomes.extend(map(classify, results))
        if time.monotonic() - began >= _CALL_S:
            self.keep(task, 0)
        task.has_failed = self._ends_at_error and not all(map(is_clean, task.outcomes))

    def _wait_until_ready(self) -> bool:
        """Return when the sink is ready for another row; False = the run ends."""
        if self._is_ready():
            return True
        thread = threading.get_ident()
        task = self.running.pop(thread, None)  # no row of it is at work meanwhile
        try:
            while not self._is_ready():
                if self._stop.wait(_READY_POLL_S):
                    return False
            return True
        finally:
            if task is not None:
                self.running[thread] = task

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, SystemExit):  # it would end the process with a status of its own
            error = JobError(f"the transform called sys.exit({error.code!r})", stage="transform")
        if not self._errors:
            self._errors.append(error)
        elif str(error) != str(self._errors[0]):  # a cap stops all workers with the same message
            self._errors[0].add_note(f"also: {type(error).__name__}: {error}")
        self._stop_all()
        self._wake()

    def _stop_all(self) -> None:
        self._stop.set()
        self._calls.stop()


def _refuse_other_order(name: str, rows: list[Row], results: list[Any]) -> None:
    """Raise if a result is one of the rows, but not the one at its position."""
    positions = {id(row): position for position, row in enumerate(rows)}
    for position, result in enumerate(results):
        if positions.get(id(result), position) != position:
            raise JobError(
                f"{name}.transform_batch returned its rows in another order: result {position} is "
                f"row {positions[id(result)]}. It must return one result per row, in the order in "
                "which it got them",
                stage="transform",
            )


def _guard(what: str, call: Callable[[], T]) -> T:
    """Call user code outside of a row; its errors end the run."""
    try:
        return call()
    except ConfigError as error:
        raise ConfigError(f"{what} failed: {error} ({user_line(error)})") from error
    except EtlkitError:
        raise
    except Exception as error:
        message = f"{what} failed: {user_error_text(error)}"
        raise JobError(message, stage="transform") from error
