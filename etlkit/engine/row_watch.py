"""Transforms that do not return: which row, since when, and where in the user's code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.calls.worker import Worker, WorkerKey
from etlkit.errors import RowTimeoutError

if TYPE_CHECKING:
    from etlkit.calls.waits import Waits
    from etlkit.engine.task import Task


_LOOKS = 20
"""Looks at the workers in the time of a row."""


@dataclass(slots=True)
class _Seen:
    """How far a worker was, and since when."""

    task: Task
    num_outcomes: int
    since: float


class RowWatch:
    """Looks at the workers from the pipeline's thread, so that the workers themselves lose no time.

    Args:
        timeout_s: How long one call of `transform_row` or `transform_batch` may take; None = for ever.
        waits: What calls wait for; such waits do not count.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, timeout_s: float | None, waits: Waits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._waits = waits
        self._clock = clock
        self._seen: dict[WorkerKey, _Seen] = {}
        self._look_at = -math.inf

    def overdue(self, running: Mapping[WorkerKey, Task]) -> tuple[Task, RowTimeoutError] | None:
        """The task whose row takes too long, with the error to raise; None = there is none.

        Args:
            running: The task of each worker.
        """
        now = self._clock()
        if self._timeout_s == math.inf or now < self._look_at:
            return None
        self._look_at = now + self._timeout_s / _LOOKS  # thousands may be at work
        running = dict(running)
        self._seen = {worker: seen for worker, seen in self._seen.items() if worker in running}
        for worker, task in running.items():
            seen = self._seen.get(worker)
            done = len(task.outcomes)
            moved = seen is None or seen.task is not task or seen.num_outcomes != done
            if moved or self._waits.is_waiting(worker):
                self._seen[worker] = _Seen(task, done, now)
            elif seen is not None and now - seen.since > self._timeout_s:
                return task, RowTimeoutError(_message(worker, self._timeout_s))
        return None


def _message(worker: WorkerKey, timeout_s: float) -> str:
    place = worker.place() if isinstance(worker, Worker) else None
    end = "A thread cannot be stopped from outside, so the run ends"
    if isinstance(worker, Worker) and worker.is_cancellable:
        end = "It is cancelled, and the run ends"
    where = "" if place is None else f" It is at {place}."
    return (
        f"the transform has not returned within row_timeout_s={timeout_s:g}.{where} {end}. Give "
        "the call a timeout of its own, then --resume --allow-code-change"
    )
