"""Pieces of settled rows: what consecutive rows of a chunk became."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from etlkit.settle import Outcome, rows_of

if TYPE_CHECKING:
    from etlkit.base import Row
    from etlkit.feed import Chunk

Piece: TypeAlias = "tuple[Chunk, int, list[Outcome]]"
"""A chunk, the position of its first row concerned (0 = first), and what became of the rows."""


def rows_of_pieces(pieces: list[Piece]) -> list[Row]:
    """All target rows, in order."""
    return [row for *_, settled in pieces for each in settled for row in rows_of(each)]


def all_plain(settled: list[Outcome]) -> bool:
    """Whether every source row became one target row; said without looking at each in Python."""
    return set(map(type, settled)) == {dict}


def flatten(
    start: int, settled: list[Outcome]
) -> tuple[list[Row], Sequence[int], list[tuple[int, int]] | None]:
    """Target rows, the source row each comes from, and its part and number of parts.

    Where every source row became one target row, the indices are a range and the parts None.
    """
    if all_plain(settled):
        return cast("list[Row]", settled), range(start, start + len(settled)), None
    rows: list[Row] = []
    indices: list[int] = []
    parts: list[tuple[int, int]] = []
    for index, each in enumerate(settled, start):
        each_rows = rows_of(each)
        for part, row in enumerate(each_rows):
            rows.append(row)
            indices.append(index)
            parts.append((part, len(each_rows)))
    return rows, indices, parts
