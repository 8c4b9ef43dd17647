"""`Task`: what a worker takes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.api.outcomes import Outcome
    from etlkit.engine.prefetch import Chunk
    from etlkit.rows.row import Row


class Task:
    """Consecutive rows for one worker, and their outcomes so far.

    Args:
        rows: The decoded source rows.
        chunk: Where they come from; None = from no source.
        start: The index of the first one in the chunk.
        outcomes: The outcomes, if an earlier attempt has left them.

    Attributes:
        rows: As given; likewise `chunk` and `start`.
        outcomes: One entry per row, in order. Grows while the worker runs; reading it then is safe.
        number: Its place among the tasks of the run, 1 = first.
        has_failed: Whether a row failed that ends the run; later ones may have no outcome then.
        error: What ended the run at the first row without an outcome; None = nothing did.
        is_collected: Whether all outcomes were taken on.
        is_held: Whether it is done and waits for its turn.
    """

    __slots__ = (
        "chunk",
        "error",
        "has_failed",
        "is_collected",
        "is_held",
        "number",
        "outcomes",
        "rows",
        "start",
    )

    def __init__(
        self,
        rows: list[Row],
        chunk: Chunk | None = None,
        start: int = 0,
        outcomes: list[Outcome] | None = None,
    ) -> None:
        self.rows = rows
        self.chunk = chunk
        self.start = start
        self.outcomes: list[Outcome] = [] if outcomes is None else outcomes
        self.number = 0
        self.has_failed = False
        self.error: BaseException | None = None
        self.is_collected = False
        self.is_held = False
