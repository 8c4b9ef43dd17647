"""Worker threads: each has its own `Etl` instance and runs the four hooks on it."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from etlkit.api.outcomes import Outcome, as_returned, classify, is_clean
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.api.user_errors import user_error_text, user_line, users_frame
from etlkit.calls.clock import Stopped
from etlkit.calls.retry import Calls
from etlkit.calls.wakers import ThreadWaker
from etlkit.calls.worker import WorkerKey, current_worker
from etlkit.engine.dispatcher import Dispatcher, SlotWorker
from etlkit.engine.task import Task
from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.rows.row import Row

if TYPE_CHECKING:
    from collections import deque

T = TypeVar("T")

log = logging.getLogger("etlkit")

_WAKE_BELOW = 2
"""The pipeline is woken when fewer tasks per worker wait. Waking it for every task would cost the
workers much of the interpreter's time. It polls for rows that finish in between."""

_READY_POLL_S = 0.05
"""How often a worker asks whether the sink is ready again."""

_LOOK_INTERVAL_S = 0.0005
"""A row that begins later than this after the last look at the sink is preceded by another look. So
each paid call is, and rows that take microseconds share one: a look would cost a good part of them."""


class ThreadWorker(SlotWorker):
    """A worker thread.

    Args:
        dispatcher: Gives slots and tasks.
    """

    __slots__ = ("ident", "thread_waker")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.thread_waker = ThreadWaker()
        super().__init__(dispatcher, self.thread_waker)
        self.ident = threading.get_ident()

    def place(self) -> str | None:
        """See `Worker.place`."""
        frame = sys._current_frames().get(self.ident)  # noqa: SLF001 - the only way to its frames
        return None if frame is None else users_frame(traceback.extract_stack(frame))


class WorkerPool:
    """Up to `size` threads that take tasks in order. `close` joins all of them.

    Args:
        make: Makes the instance of one worker; called on the worker's thread.
        size: Rows or batches at work at the same time.
        wake: Called from any thread when rows are finished and few tasks wait.
        calls: The run's calls to services, which wait for each other and end with the pool.
        is_ready: Whether the next row may be transformed, see `SinkWriter.is_ready`.
        ends_at_error: Whether a row that fails ends the run: then no later row is begun.
        max_parked: Rows that may wait beside those at work, each on a thread of its own.

    Attributes:
        nested_keys: Keys of rows whose values may be lists or dicts, in rows of up to `num_keys`
            keys. No row has that few as long as the columns are not known.
        num_keys: See `nested_keys`.
        running: The task that each worker is at.
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
        max_parked: int = 0,
    ) -> None:
        self._make = make
        self._size = size
        self._wake = wake
        self._calls = calls
        self._is_ready = is_ready
        self._ends_at_error = ends_at_error
        self.nested_keys: tuple[str, ...] = ()
        self.num_keys = 0
        self.running: dict[WorkerKey, Task] = {}
        self._dispatcher = Dispatcher(size, max_parked, self._start_thread)
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._in_use: set[int] = set()
        self._errors: list[BaseException] = []

    @property
    def error(self) -> BaseException | None:
        """The first error that ends the run; None = there is none so far."""
        return self._errors[0] if self._errors else None

    @property
    def num_waiting(self) -> int:
        """Tasks that no worker has started."""
        return self._dispatcher.num_waiting

    @property
    def num_parked(self) -> int:
        """Tasks whose worker waits without a slot."""
        return self._dispatcher.num_parked

    @property
    def finished(self) -> deque[Task]:
        """Tasks that came to their end, in that order; whoever looks at them removes them."""
        return self._dispatcher.finished

    def submit(self, task: Task) -> None:
        """Queue a task. Starts one more thread until there are enough: few rows need few threads."""
        self._dispatcher.submit(task)

    def close(self, *, abandon: bool, timeout_s: float) -> None:
        """Stop the workers and wait for them; `after_action` has run on each of them then.

        Args:
            abandon: Drop queued tasks and the rest of running ones; only calls in flight finish.
            timeout_s: How long to wait in total if `abandon` is set.
        """
        if abandon:
            self._stop_all()
        self._dispatcher.close(abandon=abandon)
        give_up_at = time.monotonic() + timeout_s
        for thread in self._threads:  # it grows: a parked row's slot may be taken even now
            thread.join(timeout=max(0.0, give_up_at - time.monotonic()) if abandon else None)

    def _start_thread(self) -> None:
        # Daemon: a call that never returns must not outlive a second Ctrl-C.
        number = len(self._threads) + 1
        name = f"etlkit-worker-{number}"
        thread = threading.Thread(target=self._work, args=(number,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, number: int) -> None:
        etl, is_extra = None, number > self._size
        worker = ThreadWorker(self._dispatcher)
        worker.enter()
        self._calls.enter()
        try:
            etl = self._made(is_extra=is_extra)
            if etl is not None:
                self._take_tasks(etl, worker)
        except Stopped:
            pass  # another worker failed, or a stop was requested: that is reported elsewhere
        except BaseException as error:
            self._fail(error)
        finally:
            self._dispatcher.left(worker)
            if etl is not None:
                try:
                    _guard("after_action", etl.after_action)
                except Stopped:
                    pass
                except BaseException as error:
                    self._fail(error)

    def _made(self, *, is_extra: bool) -> EtlBase | None:
        """An instance that is prepared; None = there cannot be one more, so rows keep their slots."""
        etl = _guard("the transform's constructor", self._make)
        if is_extra and id(etl) in self._in_use:
            self._dispatcher.max_parked = 0  # a factory that always gives the same instance
            return None
        self._in_use.add(id(etl))
        try:
            _guard("before_action", etl.before_action)
        except EtlkitError as error:
            if not is_extra:
                raise
            self._dispatcher.max_parked = 0
            log.warning("no more rows are parked, because there cannot be more workers: %s", error)
            etl.after_action()
            return None
        return etl

    def _take_tasks(self, etl: EtlBase, worker: ThreadWorker) -> None:
        is_batch, look_at = overrides_batch(type(etl)), 0.0
        while (task := self._next_task(worker)) is not None and not self._stop.is_set():
            self.running[worker] = task
            try:
                if is_batch:
                    self._run_batch(etl, task)
                else:
                    look_at = self._run_rows(etl, task, look_at)
            except BaseException as error:
                task.error = error
                raise
            finally:
                del self.running[worker]
            if task.has_failed:
                self._dispatcher.end_after(task)  # those before it have begun
                self._wake()
                break
            if self.num_waiting < _WAKE_BELOW * self._size:
                self._wake()

    def _next_task(self, worker: ThreadWorker) -> Task | None:
        """The worker's next task; None = there will be none."""
        while (task := self._dispatcher.next_task(worker)) is None:
            if self._dispatcher.is_over:
                break
            worker.thread_waker.wait(None)
        return task

    def _run_rows(self, etl: EtlBase, task: Task, look_at: float) -> float:
        """Run a task; takes and gives the time from which on the next row needs a look at the sink."""
        transform, append, meter = etl.transform_row, task.outcomes.append, self._calls.meter
        is_capped = meter.is_capped  # looked up once: rows without calls take a microsecond each
        nested_keys, num_keys = self.nested_keys, self.num_keys
        clock = time.monotonic
        for row in task.rows:
            if clock() >= look_at:
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
        return look_at

    def _run_batch(self, etl: EtlBase, task: Task) -> None:
        if not self._wait_until_ready():
            return
        given = list(task.rows)  # the transform may sort its list; the positions in ours stay
        try:
            results = list(etl.transform_batch(given))
        except Exception as error:
            results = [error] * len(task.rows)
        self._calls.meter.check()
        task.outcomes.extend(classified(type(etl).__name__, task.rows, results))
        task.has_failed = self._ends_at_error and not all(map(is_clean, task.outcomes))

    def _wait_until_ready(self) -> bool:
        """Return when the sink is ready for another row; False = the run ends."""
        if self._is_ready():
            return True
        worker = current_worker()
        task = self.running.pop(worker, None) if worker is not None else None  # none is at work
        try:
            while not self._is_ready():
                if self._stop.wait(_READY_POLL_S):
                    return False
            return True
        finally:
            if worker is not None and task is not None:
                self.running[worker] = task

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


def classified(name: str, rows: list[Row], results: list[Any]) -> list[Outcome]:
    """The outcomes of a batch.

    Args:
        name: Of the Etl's class, for messages.
        rows: What the transform was given, in their order.
        results: What it returned.

    Raises:
        JobError: It is not one result per row, in their order.
    """
    if len(results) != len(rows):
        raise JobError(
            f"{name}.transform_batch returned {len(results)} results for "
            f"{len(rows)} rows: it must return one per row, in their order",
            stage="transform",
        )
    _refuse_other_order(name, rows, results)
    return list(map(classify, results))


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
