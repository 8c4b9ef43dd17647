"""`Answers`: outcomes of rows that an earlier attempt of the run has left in its journal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.api.outcomes import Outcome
    from etlkit.engine.chunk import Chunk


class Answers:
    """Outcomes by row id, each taken once.

    Args:
        outcomes: The outcomes. Some may be of rows that are not read any more: they are staged.

    Attributes:
        num_used: How many rows have got their outcome from here.
    """

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        self._outcomes = outcomes
        self.num_used: int = 0

    def add(self, outcomes: dict[str, Outcome]) -> None:
        """Add outcomes, from any thread."""
        self._outcomes.update(outcomes)

    def split(self, chunk: Chunk) -> Iterator[tuple[int, int, list[Outcome] | None]]:
        """Consecutive rows of a chunk: index of the first and of the next one, and their outcomes.

        None = they have to be transformed.
        """
        num_rows = chunk.batch.num_rows
        if not self._outcomes:
            yield 0, num_rows, None
            return
        found = [self._outcomes.pop(row_id, None) for row_id in chunk.source.ids()]
        at = 0
        for is_known, group in groupby(found, lambda each: each is not None):
            several = list(group)
            outcomes = [each for each in several if each is not None]
            yield at, at + len(several), outcomes if is_known else None
            at += len(several)
            self.num_used += len(outcomes)
