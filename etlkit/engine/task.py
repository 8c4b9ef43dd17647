"""`Task`: what a worker takes at a time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlkit.api.outcomes import is_clean
from etlkit.engine.pending_rows import resolved

if TYPE_CHECKING:
    from etlkit.api.outcomes import Outcome
    from etlkit.engine.chunk import Chunk
    from etlkit.engine.pace import Took
    from etlkit.rows.row import Row

_ENCODES_WITHIN_S = 0.05
"""A block of rows that takes longer is not waited for."""


class Task:
    """Consecutive rows for one worker, and their outcomes so far.

    Args:
        rows: The source rows, each made when it is asked for.
        chunk: Where they come from; None = from no source.
        start: The index of the first one in the chunk.
        outcomes: The outcomes, if an earlier attempt has left them.

    Attributes:
        rows: As given; likewise `chunk` and `start`.
        outcomes: One entry per row, in order. Grows while the worker runs; reading it then is safe.
            `PendingRows` stand in it until the worker is done; who reads it meanwhile needs `resolved`.
        num_made: How many of them the worker has encoded: rows with target rows are `MADE` there.
        num_taken: How many of them the pipeline has taken.
        number: Its place among the tasks that were given to workers, 1 = first; 0 = to none.
        is_done: Whether the worker is done with it.
        took: What it took, once a worker thread is done with it.
        has_failed: Whether a row failed that ends the run; later ones may have no outcome then.
        error: What ended the run at the first row without an outcome; None = nothing did.
        is_collected: Whether all outcomes were taken on.
        is_held: Whether it is done and waits for its turn.
    """

    __slots__ = (
        "_encodes_from",
        "_encodes_until",
        "_lock",
        "chunk",
        "error",
        "has_failed",
        "is_collected",
        "is_done",
        "is_held",
        "num_made",
        "num_taken",
        "number",
        "outcomes",
        "rows",
        "start",
        "took",
    )

    def __init__(
        self,
        rows: Sequence[Row],
        chunk: Chunk | None = None,
        start: int = 0,
        outcomes: list[Outcome] | None = None,
    ) -> None:
        self.rows: Sequence[Row] = rows
        self.chunk: Chunk | None = chunk
        self.start: int = start
        self.outcomes: list[Outcome] = [] if outcomes is None else outcomes
        self.num_made: int = 0
        self.num_taken: int = 0
        self.number: int = 0
        self.is_done: bool = outcomes is not None
        self.took: Took | None = None
        self.has_failed: bool = False
        self.error: BaseException | None = None
        self.is_collected: bool = False
        self.is_held: bool = False
        self._encodes_until = 0.0
        self._encodes_from = sys.maxsize
        self._lock = threading.Lock()

    @property
    def is_clean(self) -> bool:
        """Whether each row has an outcome, and none failed."""
        return len(self.outcomes) == len(self.rows) and all(map(is_clean, self.outcomes))

    def count_call(self, units: int, *, takes_many: bool) -> None:
        """Count an attempt at a call for the row that is at work.

        Args:
            units: Billing units of the call.
            takes_many: Whether all rows without an outcome are at work.
        """
        if self.chunk is None:
            return
        done = len(self.outcomes)
        self.chunk.calls.add(self.start + done, len(self.rows) - done if takes_many else 1, units)

    def keep_made(self) -> None:
        """Say that all outcomes so far are encoded, and that the next ones soon will be."""
        self.num_made = len(self.outcomes)
        self.begin_block()

    def begin_block(self) -> None:
        """Say that the next outcomes soon will be encoded."""
        self._encodes_until = time.monotonic() + _ENCODES_WITHIN_S

    def begin_encoding(self, first: int) -> int:
        """Let nobody take outcomes until `end_encoding`: two threads must not encode the same dicts.

        Args:
            first: Index of the first one that is about to be encoded.

        Returns:
            `first`, or the index behind all that were taken or encoded before, if it is higher.
        """
        with self._lock:
            self._encodes_from = first = max(first, self.num_made, self.num_taken)
            return first

    def end_encoding(self) -> None:
        """Let outcomes be taken again, as they are now."""
        self._encodes_from = sys.maxsize

    def take(self, stop: int = sys.maxsize) -> list[Outcome]:
        """The outcomes since the last call, without those that the worker encodes now or soon.

        It encodes a block at a time. If a block takes long, its rows are taken as they are: each may
        be a call that was paid.

        Args:
            stop: Index of the first one to leave.
        """
        with self._lock:
            is_done = self.is_done
            first, last = self.num_taken, len(self.outcomes)
            if not is_done and time.monotonic() < self._encodes_until:
                last = max(first, self.num_made)
            self.num_taken = last = max(first, min(last, self._encodes_from, stop))
            # Decided here: once the lock is free, the worker may encode the rows behind these.
            has_pending = not is_done and last > self.num_made
        if not has_pending:
            return self.outcomes[first:last]
        return self.outcomes_between(first, last)

    def take_rest(self) -> list[Outcome]:
        """All outcomes since the last call, of a run that ends."""
        first, self.num_taken = self.num_taken, len(self.outcomes)
        return self.outcomes_between(first, self.num_taken)

    def outcomes_between(self, first: int, last: int) -> list[Outcome]:
        """The outcomes of some rows, with the rows themselves as far as they are not encoded."""
        return resolved(self.outcomes[first:last], self.start + first)

    def resolve(self) -> None:
        """Put rows themselves in the place of those that are pending."""
        self.outcomes[:] = resolved(self.outcomes, self.start)
