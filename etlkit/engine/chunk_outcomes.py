"""Outcomes of consecutive rows of a chunk: which failed, which are encoded, which wait as dicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from etlkit.api.outcomes import FullOutcome, Outcome, error_of, is_clean, rows_of

if TYPE_CHECKING:
    from etlkit.engine.chunk import Chunk
    from etlkit.errors import RowError
    from etlkit.rows.row import Row

MADE: Final = FullOutcome(())
"""The outcome of a source row whose target rows are in its chunk's `MadeRows`. It stands in the place
of their dicts: those are gone by then, on the thread that made them, whose cache they are in."""

_COUNTED_TOGETHER = 32

ChunkOutcomes: TypeAlias = "tuple[Chunk, int, list[Outcome]]"
"""A chunk, the index of the first row in it (0 = first), and the outcomes of consecutive rows."""


def all_made(outcomes: list[Outcome]) -> bool:
    """Whether the target rows of all source rows are encoded."""
    return bool(outcomes) and outcomes[0] is MADE and outcomes.count(MADE) == len(outcomes)


def unmade(outcomes: list[Outcome]) -> list[int]:
    """Positions of the outcomes that are not `MADE`."""
    return others(outcomes, MADE)


def others(outcomes: Sequence[Outcome], usual: Outcome) -> list[int]:
    """Positions of the outcomes that are not `usual`, which most are.

    To count takes a hundredth of the time of a loop in Python, so the loop looks only where it must.
    """
    if outcomes.count(usual) == len(outcomes):
        return []
    places: list[int] = []
    for first in range(0, len(outcomes), _COUNTED_TOGETHER):
        together = outcomes[first : first + _COUNTED_TOGETHER]
        if together.count(usual) < len(together):
            places += [at for at, each in enumerate(together, first) if each is not usual]
    return places


def all_single(outcomes: list[Outcome]) -> bool:
    """Whether every source row became one target row; fast, without a loop in Python."""
    return bool(outcomes) and type(outcomes[0]) is dict and set(map(type, outcomes)) == {dict}


def target_rows(collected: list[ChunkOutcomes]) -> list[Row]:
    """All target rows of collected outcomes, in order."""
    rows: list[Row] = []
    for *_, outcomes in collected:
        if all_single(outcomes):
            rows += cast("list[Row]", outcomes)
        else:
            rows += [row for each in outcomes for row in rows_of(each)]
    return rows


def clean_parts(chunk: Chunk, start: int, outcomes: list[Outcome]) -> Iterator[ChunkOutcomes]:
    """Consecutive rows that did not fail, in as few parts as there are gaps between them."""
    for did_not_fail, group in groupby(enumerate(outcomes, start), lambda at: is_clean(at[1])):
        if did_not_fail:
            indices, clean = zip(*group, strict=True)
            yield chunk, indices[0], list(clean)


def errors_of(outcomes: list[Outcome], places: list[int]) -> list[tuple[int, RowError]]:
    """The errors among outcomes, with their positions; `places` are those of `unmade`."""
    found = []
    for at in places:
        each = outcomes[at]
        if type(each) is not dict and (error := error_of(each)) is not None:
            found.append((at, error))
    return found


def num_unmade_rows(outcomes: list[Outcome], places: list[int] | None = None) -> int:
    """How many target rows wait as dicts; `places` are those of `unmade`, if they are known."""
    if all_made(outcomes):
        return 0
    if all_single(outcomes):
        return len(outcomes)
    if places is None:
        places = unmade(outcomes)
    return sum([1 if type(e := outcomes[at]) is dict else len(rows_of(e)) for at in places])


def runs(chunk: Chunk, start: int, outcomes: list[Outcome]) -> Iterator[ChunkOutcomes]:
    """Parts of which each has encoded rows only, or none; rows that became nothing go with either.

    It costs a look at each outcome: leave it out where no rows wait as dicts.
    """
    if MADE not in outcomes or not num_unmade_rows(outcomes):
        yield chunk, start, outcomes
        return
    for _, group in groupby(enumerate(outcomes, start), lambda at: at[1] is MADE):
        indices, run = zip(*group, strict=True)
        yield chunk, indices[0], list(run)
