"""Transforms that do not return: which row, since when, and where in the user's code."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.api.user_errors import users_frame
from etlkit.errors import RowTimeoutError

if TYPE_CHECKING:
    from etlkit.calls.waits import Waits
    from etlkit.engine.task import Task


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
        self._seen: dict[int, _Seen] = {}

    def overdue(self, running: Mapping[int, Task]) -> tuple[Task, RowTimeoutError] | None:
        """The task whose row takes too long, with the error to raise; None = there is none.

        Args:
            running: The task of each worker, by the ident of its thread.
        """
        if self._timeout_s == math.inf:
            return None
        now, running = self._clock(), dict(running)
        self._seen = {thread: seen for thread, seen in self._seen.items() if thread in running}
        for thread, task in running.items():
            seen = self._seen.get(thread)
            done = len(task.outcomes)
            moved = seen is None or seen.task is not task or seen.num_outcomes != done
            if moved or self._waits.is_waiting(thread):
                self._seen[thread] = _Seen(task, done, now)
            elif seen is not None and now - seen.since > self._timeout_s:
                return task, RowTimeoutError(_message(thread, self._timeout_s))
        return None


def _message(thread: int, timeout_s: float) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - the only way to another thread's frames
    stack = () if frame is None else [*traceback.walk_stack(frame)][::-1]
    place = users_frame([(each.f_code.co_filename, line) for each, line in stack])
    where = "" if place is None else f" It is at {place}."
    return (
        f"the transform has not returned within row_timeout_s={timeout_s:g}.{where} A thread cannot be "
        "stopped from outside, so the run ends. Give the call a timeout of its own, then --resume "
        "--allow-code-change"
    )
