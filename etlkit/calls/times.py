"""How long calls and rows take, measured where somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from etlkit.calls import clock


@dataclass(slots=True, eq=False)
class RowTime:
    """What one run of a hook took: that of a row, or of all rows of a batch.

    Attributes:
        num_rows: How many rows it got.
        seconds: How long it took, the waits of its calls included.
        calls: Calls that belong to it, retries included.
        units: Their billing units.
    """

    num_rows: int = 1
    seconds: float = 0.0
    calls: int = 0
    units: int = 0


@dataclass(slots=True, eq=False)
class Times:
    """The durations of one run. Threads share it: a list takes additions of all of them.

    Attributes:
        calls: Seconds of each attempt that was answered, also with a refusal.
        rows: One for each run of a hook.
    """

    calls: list[float] = field(default_factory=list)
    rows: list[RowTime] = field(default_factory=list)

    @contextmanager
    def row(self, num_rows: int = 1) -> Iterator[None]:
        """Measure what is inside as the work at a row, or at several."""
        measured, began = RowTime(num_rows), clock.now()
        token = _current.set(measured)
        try:
            yield
        finally:
            _current.reset(token)
            measured.seconds = clock.now() - began
            self.rows.append(measured)


def count_call(units: int) -> None:
    """Count an attempt for the row that this thread or task works at, if it is measured."""
    row = _current.get()
    if row is not None:
        row.calls += 1
        row.units += units


_current: ContextVar[RowTime | None] = ContextVar("etlkit_row_time", default=None)
