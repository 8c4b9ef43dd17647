"""After which rows a loop looks at the clock."""

from __future__ import annotations

EVERY = 8
"""Rows between two looks where rows are fast. Several slow rows that no client of ours knows of may
come before the first is noticed, but no more than these."""

_FAST_ROWS = 250
"""Rows that must be fast, one after the other, before the clock is looked at less than once a row."""

_SPARSE = (b"\0" * (EVERY - 1) + b"\1") * 512


class ClockMarks:
    """After which rows a loop looks at the clock: a look costs as much as a tenth of a fast row.

    It looks after each row at first, and again from the first slow row on. A call that a client of
    etlkit makes is known by itself: see `Worker.has_called`.
    """

    def __init__(self) -> None:
        self._num_fast = 0
        self._marks = bytearray()
        self._step = 1

    @property
    def step(self) -> int:
        """Rows since the look before, at most, when a loop has paused."""
        return self._step

    def begin(self, num_rows: int, *, each: bool) -> bytearray:
        """The marks of the next rows; the last one has one.

        Args:
            num_rows: How many there are.
            each: Look after each of them.
        """
        is_sparse = self._num_fast >= _FAST_ROWS and not each
        self._num_fast += num_rows
        self._step = EVERY if is_sparse else 1
        if is_sparse:
            self._marks = bytearray((_SPARSE * (num_rows // len(_SPARSE) + 1))[-num_rows:])
        else:
            self._marks = bytearray(b"\1") * num_rows
        return self._marks

    def add_slow(self) -> None:
        """Look after each row from now on."""
        if self._step > 1:
            self._marks[:] = b"\1" * len(self._marks)
        self._num_fast, self._step = 0, 1
