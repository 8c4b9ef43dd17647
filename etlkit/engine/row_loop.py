"""The row loop: one worker's `Etl` runs the rows of a task, one by one or as one batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from etlkit.api.outcomes import as_returned, classify, is_clean
from etlkit.api.transform import EtlBase, overrides_batch
from etlkit.errors import JobError

if TYPE_CHECKING:
    from etlkit.calls.limits import Meter
    from etlkit.engine.workers import Task
    from etlkit.rows.row import Row

_LOOK_INTERVAL_S = 0.0005
"""A row that begins later than this after the last look at the sink is preceded by another look. So
each paid call is, and rows that take microseconds share one: a look would cost a good part of them."""


class KnownKeys(Protocol):
    """What is known of the keys of rows; see `WorkerPool`."""

    nested_keys: tuple[str, ...]
    num_keys: int


class RowLoop:
    """Runs the tasks of one worker.

    Args:
        etl: The worker's instance.
        known: Looked at for each task.
        wait_until_ready: Returns when the sink is ready for another row; False = the run ends.
        stop: Set when the run ends.
        meter: The run's calls and caps.
        ends_at_error: Whether a row that fails ends the run: then no later row is begun.
    """

    def __init__(
        self,
        etl: EtlBase,
        known: KnownKeys,
        wait_until_ready: Callable[[], bool],
        stop: threading.Event,
        meter: Meter,
        ends_at_error: bool,  # noqa: FBT001
    ) -> None:
        self._etl = etl
        self._known = known
        self._wait_until_ready = wait_until_ready
        self._stop = stop
        self._meter = meter
        self._ends_at_error = ends_at_error
        self._is_batch = overrides_batch(type(etl))
        self._look_at = 0.0

    def run(self, task: Task) -> None:
        """Give each row of a task its outcome, unless one before it ends the run."""
        if self._is_batch:
            self._run_batch(task)
        else:
            self._run_rows(task)

    def _run_rows(self, task: Task) -> None:
        transform, append, meter = self._etl.transform_row, task.outcomes.append, self._meter
        is_capped = meter.is_capped  # looked up once: rows without calls take a microsecond each
        nested_keys, num_keys = self._known.nested_keys, self._known.num_keys
        look_at, clock = self._look_at, time.monotonic
        for row in task.rows:
            if clock() >= look_at:
                if self._stop.is_set() or not self._wait_until_ready():
                    break
                look_at = self._look_at = clock() + _LOOK_INTERVAL_S
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

    def _run_batch(self, task: Task) -> None:
        if not self._wait_until_ready():
            return
        given = list(task.rows)  # the transform may sort its list; the positions in ours stay
        try:
            results = list(self._etl.transform_batch(given))
        except Exception as error:
            results = [error] * len(task.rows)
        self._meter.check()
        name = type(self._etl).__name__
        if len(results) != len(task.rows):
            raise JobError(
                f"{name}.transform_batch returned {len(results)} results for "
                f"{len(task.rows)} rows: it must return one per row, in their order",
                stage="transform",
            )
        _refuse_other_order(name, task.rows, results)
        task.outcomes.extend(map(classify, results))
        task.has_failed = self._ends_at_error and not all(map(is_clean, task.outcomes))


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
