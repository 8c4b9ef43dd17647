"""`Task`: consecutive rows for one worker, and what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlkit.api.outcomes import Outcome, is_clean
from etlkit.engine.chunk import ChunkRows
from etlkit.rows.row import Row

if TYPE_CHECKING:
    from etlkit.engine.pace import Took

_ENCODES_WITHIN_S = 0.05
"""A block of rows that takes longer is not waited for."""


class Task:
    """Consecutive rows for one worker, and their outcomes so far.

    Attributes:
        rows: The source rows, each made when it is asked for.
        start: Index of the first one in its chunk.
        outcomes: One entry per row, in order. Grows while the worker runs; reading it then is safe.
        num_made: How many of them the worker has encoded: rows with target rows are `MADE` there.
        num_taken: How many of them the pipeline has taken.
        is_done: Whether the worker is done with the task.
        has_failed: Whether a row failed that ends the run; later ones may have no outcome then.
        error: What ended the run at the first row without an outcome; None = nothing did.
        took: What it took, once it is done.
    """

    __slots__ = (
        "_encodes_until",
        "error",
        "has_failed",
        "is_done",
        "num_made",
        "num_taken",
        "outcomes",
        "rows",
        "start",
        "took",
    )

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.start = rows.start if isinstance(rows, ChunkRows) else 0
        self.outcomes: list[Outcome] = []
        self.num_made = 0
        self.num_taken = 0
        self.is_done = False
        self.has_failed = False
        self.error: BaseException | None = None
        self.took: Took | None = None
        self._encodes_until = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether each row has an outcome, and none failed."""
        return len(self.outcomes) == len(self.rows) and all(map(is_clean, self.outcomes))

    def keep_made(self) -> None:
        """Say that all outcomes so far are encoded, and that the next ones soon will be."""
        self.num_made = len(self.outcomes)
        self._encodes_until = time.monotonic() + _ENCODES_WITHIN_S

    def take(self) -> list[Outcome]:
        """The outcomes since the last call, without those that the worker is about to encode.

        It encodes a block at a time. If a block takes long, its rows are taken as they are: each may
        be a call that was paid.
        """
        first, last = self.num_taken, len(self.outcomes)
        if not self.is_done and time.monotonic() < self._encodes_until:
            last = max(first, self.num_made)
        self.num_taken = last
        return self.outcomes[first:last]
