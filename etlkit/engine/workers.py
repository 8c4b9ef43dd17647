"""Worker threads: each has its own `Etl` instance and runs the four hooks on it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from etlkit.api.transform import EtlBase, overrides_arrow
from etlkit.api.user_errors import thread_place
from etlkit.calls.clock import Stopped
from etlkit.calls.wakers import ThreadWaker
from etlkit.calls.worker import current_worker
from etlkit.engine.arrow_loop import ArrowLoop
from etlkit.engine.dispatcher import Dispatcher, SlotWorker
from etlkit.engine.heap import FastRows
from etlkit.engine.pace import Took
from etlkit.engine.row_loop import RowLoop
from etlkit.engine.task import Task
from etlkit.engine.worker_group import READY_POLL_S, SchemaQuestion, WorkerGroup, guard
from etlkit.errors import EtlkitError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.engine.output_schema import OutputSchema

T = TypeVar("T")

_ANSWER_POLL_S = 0.001

log: logging.Logger = logging.getLogger("etlkit")


class ThreadWorker(SlotWorker):
    """A worker thread.

    Args:
        dispatcher: Gives slots and tasks.
    """

    __slots__ = ("ident", "thread_waker")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.thread_waker: ThreadWaker = ThreadWaker()
        super().__init__(dispatcher, self.thread_waker)
        self.ident: int = threading.get_ident()

    def place(self) -> str | None:
        """See `Worker.place`."""
        return thread_place(self.ident)


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
        work = partial(self._context.copy().run, self._work, number)
        thread = threading.Thread(target=work, name=name, daemon=True)
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
                with FastRows() as fast_rows:
                    self._take_tasks(self._loop(etl, fast_rows), worker)
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
            self._check(etl)
        except EtlkitError as error:
            if not is_extra:
                raise
            self._dispatcher.max_parked = 0
            log.warning("rows that wait keep their slots, as there are no more workers: %s", error)
            return False
        return True

    def _loop(self, etl: EtlBase, fast_rows: FastRows) -> RowLoop | ArrowLoop:
        if overrides_arrow(type(etl)):
            return ArrowLoop(etl, self, self._wait_until_ready, self._ends_at_error)
        return RowLoop(
            etl,
            self,
            self._wait_until_ready,
            self._stop,
            self._calls.meter,
            self._ends_at_error,
            self.keep,
            fast_rows,
        )

    def _take_tasks(self, loop: RowLoop | ArrowLoop, worker: ThreadWorker) -> None:
        while (task := self._next_task(worker)) is not None and not self._stop.is_set():
            self.running[worker] = task
            took = Took()
            try:
                loop.run(task)
            except BaseException as error:
                task.error = error
                raise
            finally:
                took.end()
                task.took = took
                task.is_done = True
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

    def wait_until_taken(self, task: Task) -> None:
        """See `Known`."""
        if task.num_taken < task.num_made:
            self._wake()
            # Rows before them may be parked, and need this worker's slot to come to their end.
            self._idle_until(
                lambda: task.num_taken >= task.num_made or self._dispatcher.is_awaited,
                _ANSWER_POLL_S,
            )

    def schema_for(self, found: pa.Schema) -> OutputSchema:
        """See `SchemaKeeper`."""
        question = SchemaQuestion(found)
        self._questions.put(question)
        self._wake()
        if not self._idle_until(question.is_answered.is_set, _ANSWER_POLL_S):
            raise Stopped
        return question.answer()

    def _wait_until_ready(self) -> bool:
        """Return when the sink is ready for another row; False = the run ends."""
        return self._is_ready() or self._idle_until(self._is_ready, READY_POLL_S)

    def _idle_until(self, is_over: Callable[[], bool], poll_s: float) -> bool:
        """Wait on a worker's thread; False = the run ends."""
        worker = current_worker()
        task = self.running.pop(worker, None) if worker is not None else None  # none is at work
        try:
            while not is_over():
                if self._stop.wait(poll_s):
                    return False
            return True
        finally:
            if worker is not None and task is not None:
                self.running[worker] = task
