"""How many rows a task has where several workers share the rows."""

from __future__ import annotations

import time

_MAX_TASK_ROWS = 512
"""So many rows are encoded by their worker. If they are slow after all, they still have only one."""

_MANY_ROWS = 64
_STEPS = 8
"""Rows of each worker that must be fast before a task has one row more, and again as many for each
further row; from `_MANY_ROWS` on for four."""

_TASKS_TO_RETURN = 2
"""Tasks of each worker that must be fast after a slow one before tasks are half as large as before it.
On a busy machine a row now and then takes long for nothing. Where one row in a hundred makes a call,
they are halved again and again."""

_ENOUGH_STEPS = _MANY_ROWS + (_MAX_TASK_ROWS - _MANY_ROWS) // 4
"""More than these make no larger tasks."""

_FAST_S = 0.0005
_MAX_BUSY_S = 0.25
_BUSY = 0.5
_CPU_OF_FAST_ROW_S = 0.0001


class Pace:
    """The size of tasks, by what the last ones took.

    Handing over a task costs as much as some fast rows: where rows take microseconds, a task has many.
    A row that calls a service is a task: rows behind it would wait while other workers are idle.

    Args:
        num_workers: Workers that share the rows.
    """

    def __init__(self, num_workers: int) -> None:
        self._rows_per_step = _STEPS * num_workers
        self._tasks_to_return = _TASKS_TO_RETURN * num_workers
        self._num_fast = 0
        self._num_fast_before = 0
        self._num_tasks = 0

    @property
    def task_rows(self) -> int:
        """Rows of the next task."""
        steps = self._num_fast // self._rows_per_step
        return max(1, min(_MAX_TASK_ROWS, steps + 3 * max(0, steps - _MANY_ROWS)))

    def add(self, num_rows: int, took: Took) -> None:
        """Take note of a task that is done."""
        if not took.is_fast(num_rows):
            if not self._num_fast_before:  # else it was under way when another one was slow
                most = self._rows_per_step * _ENOUGH_STEPS
                self._num_fast_before = min(self._num_fast, most) // 2
            self._num_fast = self._num_tasks = 0
            return
        self._num_fast += num_rows
        self._num_tasks += 1
        if self._num_fast_before and self._num_tasks >= self._tasks_to_return:
            self._num_fast = max(self._num_fast, self._num_fast_before)
            self._num_fast_before = 0


class Took:
    """What a task takes: seconds, and processor time of its thread and of the process meanwhile.

    It begins when it is made.
    """

    __slots__ = ("began_at", "process_cpu_s", "seconds", "thread_cpu_s")

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.thread_cpu_s = time.thread_time()
        self.process_cpu_s = time.process_time()
        self.seconds = 0.0

    def end(self) -> None:
        """Called on the same thread."""
        self.seconds = time.monotonic() - self.began_at
        self.thread_cpu_s = time.thread_time() - self.thread_cpu_s
        self.process_cpu_s = time.process_time() - self.process_cpu_s

    def is_fast(self, num_rows: int) -> bool:
        """Whether its rows waited for nothing but the interpreter, which the other workers have too."""
        if self.seconds < _FAST_S * (1 + num_rows / 8):
            return True
        was_busy = self.process_cpu_s > _BUSY * self.seconds and self.seconds < _MAX_BUSY_S
        return was_busy and self.thread_cpu_s < _CPU_OF_FAST_ROW_S * (1 + num_rows)
