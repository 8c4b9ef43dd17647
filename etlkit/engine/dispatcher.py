"""Which worker works on which task, and how many of them at the same time.

`max_concurrency` counts rows at work. A row that waits for its retry or for the server's hint is
parked: its slot goes to another row, which another worker takes up. What is decided here is the same
for threads and for tasks of an event loop; they differ only in how they wait.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from etlkit.calls.worker import Worker

if TYPE_CHECKING:
    from etlkit.calls.wakers import Wakeable, Waker
    from etlkit.engine.task import Task


class SlotWorker(Worker):
    """A worker that needs a slot to work.

    Args:
        dispatcher: Gives slots and tasks.
        waker: Wakes it when there is a task for it.

    Attributes:
        task: What it works on; None = it has no task.
        has_slot: Whether it is at work; False = it is idle, or parked.
        is_called: Whether it was told to ask for a task, and has not done so.
        returning: Woken when a parked worker gets a slot again.
    """

    __slots__ = ("_dispatcher", "has_slot", "is_called", "returning", "task", "waker")

    def __init__(self, dispatcher: Dispatcher, waker: Waker) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self.waker: Waker = waker
        self.task: Task | None = None
        self.has_slot: bool = False
        self.is_called: bool = True
        self.returning: list[Waker] = []

    def count_call(self, units: int) -> None:
        """See `Worker.count_call`."""
        if self.task is not None and self._dispatcher.counts_calls:
            self.task.count_call(units, takes_many=self._dispatcher.takes_many)

    @property
    def is_parked(self) -> bool:
        """See `Worker.is_parked`."""
        return self.task is not None and not self.has_slot

    def park(self) -> None:
        """See `Worker.park`. Another call of the same row may be in flight: then it is not parked."""
        if self.has_slot and self.num_calls == 1:
            self._dispatcher.park(self)

    def resume(self, call: Wakeable, /) -> bool:
        """See `Worker.resume`."""
        return self.has_slot or self._dispatcher.resume(self, call.waker)


class Dispatcher:
    """Tasks, and the workers that take them in order. Safe for threads.

    Args:
        size: Workers at work at the same time.
        max_parked: Workers that wait beside them. The next ones keep their slots.
        start: Starts one more worker, which asks for its `next_task`. Called with a lock held.
        counts_calls: Whether calls are counted by row.
        takes_many: Whether one call of the transform gets many rows.

    Attributes:
        num_parked: Workers whose row waits.
        finished: Tasks that came to their end, in that order; whoever looks at them removes them.
    """

    def __init__(
        self,
        size: int,
        max_parked: int,
        start: Callable[[], None],
        *,
        counts_calls: bool = False,
        takes_many: bool = False,
    ) -> None:
        self._size = size
        self.counts_calls = counts_calls
        self.takes_many = takes_many
        self.max_parked = max_parked
        self._start = start
        self._lock = threading.Lock()
        self._tasks: deque[Task] = deque()
        self._idle: dict[SlotWorker, None] = {}  # the last one goes first
        self._returning: deque[SlotWorker] = deque()
        self._num_workers = 0
        self._num_called = 0
        self._num_busy = 0
        self._num_submitted = 0
        self._ends_after = math.inf
        self._is_closed = False
        self.num_parked: int = 0
        self.finished: deque[Task] = deque()

    @property
    def num_waiting(self) -> int:
        """Tasks that no worker has taken."""
        return len(self._tasks)

    @property
    def is_awaited(self) -> bool:
        """Whether a parked worker waits for a slot: no worker that has one may wait for that row."""
        return bool(self._returning)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Queue tasks for the next workers that are free."""
        with self._lock:
            for task in tasks:
                self._num_submitted += 1
                task.number = self._num_submitted
                self._tasks.append(task)
                self._call_worker()

    def next_task(self, worker: SlotWorker) -> Task | None:
        """What a worker does next, whose last task is over.

        Returns:
            None = nothing yet: it is idle until its waker is woken, and asks again then.
        """
        with self._lock:
            if worker.is_called:
                self._num_called -= 1
                worker.is_called = False
            if worker.task is not None:
                self.finished.append(worker.task)
                worker.task = None
                if worker.has_slot:
                    worker.has_slot = False
                    self._num_busy -= 1
                    self._give_back()
            if self._may_begin():
                self._idle.pop(worker, None)
                worker.task = self._tasks.popleft()
                worker.has_slot = True
                self._num_busy += 1
            else:
                self._idle[worker] = None
            return worker.task

    def left(self, worker: SlotWorker) -> None:
        """Record that a worker has ended."""
        with self._lock:
            self._num_workers -= 1
            self._num_called -= worker.is_called
            self._idle.pop(worker, None)
            self._leave_slot(worker)

    def park(self, worker: SlotWorker) -> None:
        """Give a worker's slot to another row, if there are not too many parked ones."""
        with self._lock:
            if worker.has_slot and self.num_parked < self.max_parked:
                worker.has_slot = False
                self._num_busy -= 1
                self.num_parked += 1
                self._pass_slot()

    def resume(self, worker: SlotWorker, waker: Waker) -> bool:
        """Take a slot for a parked worker again: before rows that have not begun.

        Returns:
            False = there is none; `waker` is woken when it has got one.
        """
        with self._lock:
            if worker.has_slot:
                return True
            if self._num_busy < self._size:
                self._return_slot(worker)
                return True
            if not worker.returning:
                self._returning.append(worker)
            worker.returning.append(waker)
            return False

    def end_after(self, task: Task) -> None:
        """Begin no task that comes after this one."""
        with self._lock:
            self._ends_after = min(self._ends_after, task.number)
            self._wake_idle()

    def close(self, *, abandon: bool) -> None:
        """Let workers end when there is nothing to do any more.

        Args:
            abandon: Drop the tasks that no worker has taken.
        """
        with self._lock:
            self._is_closed = True
            if abandon:
                self._tasks.clear()
            self._wake_idle()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to do any more, now and later."""
        with self._lock:
            return self._is_over()

    def _is_over(self) -> bool:
        if self._tasks:
            return self._tasks[0].number > self._ends_after
        return self._is_closed

    def _leave_slot(self, worker: SlotWorker) -> None:
        if worker.has_slot:
            worker.has_slot = False
            self._num_busy -= 1
            self._pass_slot()

    def _return_slot(self, worker: SlotWorker) -> None:
        worker.has_slot = True
        self._num_busy += 1
        self.num_parked -= 1

    def _pass_slot(self) -> None:
        """Give a slot that is free now to a parked worker that wants it back, or to the next task."""
        if not self._give_back():
            self._call_worker()

    def _give_back(self) -> bool:
        """Give a slot that is free now to a parked worker that wants it back; False = none does."""
        if not self._returning:
            return False
        worker = self._returning.popleft()
        self._return_slot(worker)
        for waker in worker.returning:
            waker.wake()
        worker.returning = []
        return True

    def _may_begin(self) -> bool:
        return bool(self._tasks) and self._num_busy < self._size and not self._is_over()

    def _call_worker(self) -> None:
        """Let an idle worker, or one more, ask for a task, if there is one and a slot for it.

        It is not given the task: until its thread runs, others may have taken on much more.
        """
        if not self._may_begin() or self._num_busy + self._num_called >= self._size:
            return
        if self._idle:
            worker, _ = self._idle.popitem()
            worker.is_called = True
            self._num_called += 1
            worker.waker.wake()
        elif self._num_workers < self._size + min(self.num_parked, self.max_parked):
            self._num_workers += 1
            self._num_called += 1
            self._start()

    def _wake_idle(self) -> None:
        if self._is_over():
            for worker in self._idle:
                worker.waker.wake()
