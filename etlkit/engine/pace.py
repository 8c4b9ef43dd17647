"""How many rows a task has where several workers share the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.engine.task import Task

_SLOW_ROW_S = 0.0005
"""A row that takes longer has a task of its own, so that no other row waits behind it."""

_MAX_TASK_ROWS = 64
_STEPS = 16
"""Tasks of each worker that must be fast in a row before a task has one row more, and again as many
for each further row."""


class Pace:
    """The size of tasks, by what the last ones took.

    Handing over a task costs as much as some fast rows: where rows take microseconds, a task has many.
    A row that calls a service is a task: rows behind it would wait while other workers are idle.

    Args:
        num_workers: Workers that share the rows.
    """

    def __init__(self, num_workers: int) -> None:
        self._rows_per_step = _STEPS * num_workers
        self._num_fast = 0

    @property
    def task_rows(self) -> int:
        """Rows of the next task."""
        return max(1, min(_MAX_TASK_ROWS, self._num_fast // self._rows_per_step))

    def add(self, task: Task) -> None:
        """Take note of a task that is done."""
        is_slow = task.seconds > _SLOW_ROW_S * (1 + len(task.rows) / 8)
        self._num_fast = 0 if is_slow else self._num_fast + len(task.rows)
