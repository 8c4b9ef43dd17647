"""Worker threads: each has its own `Etl` instance and runs the four hooks on it."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from typing import Any, TypeVar

from etlkit.api.outcomes import as_returned, classify, is_clean
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.api.user_errors import users_frame
from etlkit.calls.clock import Stopped
from etlkit.calls.wakers import ThreadWaker
from etlkit.calls.worker import current_worker
from etlkit.engine.dispatcher import Dispatcher, SlotWorker
from etlkit.engine.task import Task
from etlkit.engine.worker_group import (
    CALL_S,
    LOOK_INTERVAL_S,
    READY_POLL_S,
    WorkerGroup,
    classified,
    guard,
)
from etlkit.errors import EtlkitError

T = TypeVar("T")

log = logging.getLogger("etlkit")


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


class WorkerPool(WorkerGroup):
    """Threads that take tasks in order, each with an instance of its own.

    Parked rows are on threads of their own, beside those at work. See `WorkerGroup`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._threads: list[threading.Thread] = []
        self._in_use: set[int] = set()

    def close(self, *, abandon: bool, timeout_s: float) -> None:
        """See `WorkerGroup.close`."""
        if abandon:
            self._stop_all()
        self._dispatcher.close(abandon=abandon)
        give_up_at = time.monotonic() + timeout_s
        for thread in self._threads:  # it grows: a parked row's slot may be taken even now
            thread.join(timeout=max(0.0, give_up_at - time.monotonic()) if abandon else None)

    def _start_worker(self) -> None:
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
            if etl is not None and self._is_prepared(etl, is_extra=is_extra):
                self._take_tasks(etl, worker)
        except Stopped:
            pass  # another worker failed, or a stop was requested: that is reported elsewhere
        except BaseException as error:
            self._fail(error)
        finally:
            self._dispatcher.left(worker)
            if etl is not None:
                try:
                    guard("after_action", etl.after_action)
                except Stopped:
                    pass
                except BaseException as error:
                    self._fail(error)

    def _made(self, *, is_extra: bool) -> EtlBase | None:
        """A new instance; None = there is only one, so that no more rows are parked."""
        etl = guard("the transform's constructor", self._make)
        if is_extra and id(etl) in self._in_use:
            self._dispatcher.max_parked = 0
            return None
        self._in_use.add(id(etl))
        return etl

    def _is_prepared(self, etl: EtlBase, *, is_extra: bool) -> bool:
        """Run `before_action`. Without more workers no more rows are parked, but the run goes on."""
        try:
            guard("before_action", etl.before_action)
        except EtlkitError as error:
            if not is_extra:
                raise
            self._dispatcher.max_parked = 0
            log.warning("rows that wait keep their slots, as there are no more workers: %s", error)
            return False
        return True

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
            if self.num_waiting < self._few:
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
            if (now := clock()) >= look_at:
                self._keep_last(task, now - look_at)
                if self._stop.is_set() or not self._wait_until_ready():
                    break
                look_at = clock() + LOOK_INTERVAL_S
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
        if late_s >= CALL_S:
            self.keep(task, len(task.outcomes) - 1)

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
        task.outcomes.extend(classified(type(etl).__name__, task.rows, results))
        if time.monotonic() - began >= CALL_S:
            self.keep(task, 0)
        task.has_failed = self._ends_at_error and not all(map(is_clean, task.outcomes))

    def _wait_until_ready(self) -> bool:
        """Return when the sink is ready for another row; False = the run ends."""
        if self._is_ready():
            return True
        worker = current_worker()
        task = self.running.pop(worker, None) if worker is not None else None  # none is at work
        try:
            while not self._is_ready():
                if self._stop.wait(READY_POLL_S):
                    return False
            return True
        finally:
            if worker is not None and task is not None:
                self.running[worker] = task
