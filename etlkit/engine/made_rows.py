"""Target rows in Arrow: outcomes, encoded by the worker that transformed them or afterwards."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from etlkit.api.outcomes import FullOutcome, Outcome, rows_of
from etlkit.engine.chunk_outcomes import MADE, all_single
from etlkit.engine.output_schema import int_array

if TYPE_CHECKING:
    from etlkit.engine.chunk import Chunk, Part
    from etlkit.engine.output_schema import OutputSchema, Parts
    from etlkit.rows.row import Row

_ID_BYTES = 60
"""About what the id of a row and its part take."""


_MANY = 16_384
"""More rows than a chunk has, mostly."""


@dataclass(frozen=True, slots=True, eq=False)
class MadeRows:
    """The target rows of consecutive source rows, encoded.

    Attributes:
        schema: Whose columns `made` has.
        indices: The source row of each target row, counting from 0 in the chunk; ascending.
        parts: Part and number of parts of each target row; None = all rows have one part.
        arrays: The columns that the transform makes; None = it left all values as they were, so that
            the chunk has them.
    """

    schema: OutputSchema
    indices: Sequence[int]
    parts: Parts | None
    arrays: list[Any]

    def between(self, start: int, stop: int) -> MadeRows:
        """Those of the source rows from `start` to before `stop`."""
        indices = self.indices
        if not indices or (indices[0] >= start and indices[-1] < stop):
            return self
        first, last = bisect_left(indices, start), bisect_left(indices, stop)
        parts = None if self.parts is None else tuple(each[first:last] for each in self.parts)
        return MadeRows(
            self.schema,
            indices[first:last],
            cast("Parts | None", parts),
            [None if each is None else each.slice(first, last - first) for each in self.arrays],
        )

    def widened(self, schema: OutputSchema) -> MadeRows | None:
        """The same rows with the columns of a schema that has more; None = see `widened_arrays`."""
        if schema is self.schema:
            return self
        arrays = schema.widened_arrays(self.schema, self.arrays, len(self.indices))
        return None if arrays is None else MadeRows(schema, self.indices, self.parts, arrays)

    def outcomes(self, chunk: Chunk) -> Iterator[tuple[int, Outcome]]:
        """The rows as they were before they were encoded, by the index of their source row."""
        rows = zip(self.indices, self.schema.rows_of(self.batch(chunk)), strict=True)
        if self.parts is None:
            yield from rows
            return
        for index, group in groupby(rows, itemgetter(0)):
            yield index, FullOutcome(tuple(row for _, row in group))

    def num_bytes(self) -> int:
        """Bytes of the columns that are not the chunk's, and of ids."""
        # They are no slices, so `nbytes` would say the same, in thirty times the time.
        made = [each.get_total_buffer_size() for each in self.arrays if each is not None]
        num_bytes: int = sum(made)
        return num_bytes + len(self.indices) * _ID_BYTES

    def batch(self, chunk: Chunk) -> pa.RecordBatch:
        """The rows as `SinkWriter.write` takes them."""
        return self.schema.batch(chunk, self.indices, self.parts, self.arrays)


def make_rows(
    schema: OutputSchema, chunk: Chunk, start: int, outcomes: list[Outcome], part: Part | None
) -> MadeRows:
    """Encode the target rows of outcomes.

    Args:
        schema: The output columns.
        chunk: Where the rows come from.
        start: Index of the first row in the chunk.
        outcomes: Of consecutive rows, none of them `MADE`.
        part: The rows as they were decoded; None = not known any more.

    Raises:
        RowSchemaError: A row does not fit the columns; `index` is its position in `flatten`'s rows, as
            far as it is known.
    """
    rows, indices, parts = flatten(start, outcomes)
    schema.drop_undecided(rows)
    if part is None:
        arrays = schema.encoder.encode_touched(rows, are_plain=True)
    else:
        first = part.first
        is_whole = indices == range(first, first + part.block.batch.num_rows)
        positions = None if is_whole else [index - first for index in indices]
        arrays = schema.encoder.encode_touched(rows, part.block, positions, are_plain=True)
    for wrong in schema.passing_errors(chunk, indices).values():
        raise wrong
    return MadeRows(schema, indices, parts, arrays)


def merged(found: list[MadeRows], chunk: Chunk) -> MadeRows:
    """Rows of one schema and one chunk, in order and at least one of them, as one."""
    if len(found) == 1:
        return found[0]
    indices: Sequence[int] = range(found[0].indices[0], found[-1].indices[-1] + 1)
    is_range = {type(each.indices) for each in found} == {range}
    if not is_range or len(indices) != sum([len(each.indices) for each in found]):
        indices = array("q")
        for each in found:
            indices.extend(each.indices)
    parts: Parts | None = None
    if [each.parts for each in found].count(None) < len(found):
        pairs = [each.parts or ([0] * len(each.indices), [1] * len(each.indices)) for each in found]
        parts = (
            ints(pair[0] for pair in pairs),
            ints(pair[1] for pair in pairs),
        )
    schema = found[0].schema
    arrays: list[Any] = []
    for i, name in enumerate(schema.made_names):
        pieces = [each.arrays[i] for each in found if each.arrays[i] is not None]
        if not pieces:
            arrays.append(None)
            continue
        if len(pieces) < len(found):
            pieces = [
                taken(chunk.batch.column(name), each.indices)
                if each.arrays[i] is None
                else each.arrays[i]
                for each in found
            ]
        arrays.append(pa.concat_arrays(pieces))
    return MadeRows(schema, indices, parts, arrays)


def taken(column: pa.Array, indices: Sequence[int]) -> pa.Array:
    """The values at these positions; no copy of those that stand together."""
    if isinstance(indices, range):
        return column.slice(indices.start, len(indices))
    return column.take(int_array(indices))


def take_made(chunk: Chunk, start: int, stop: int) -> list[MadeRows]:
    """Take the encoded rows of some source rows out of their chunk, in the order of the source.

    Workers leave them there in the order in which they end.
    """
    found = []
    for made in tuple(chunk.made):  # a worker may add to it
        part = made.between(start, stop)
        if part is made:
            chunk.made.remove(made)
        if part.indices:
            found.append(part)
    return sorted(found, key=lambda part: part.indices[0])


def mark_made(outcomes: list[Outcome], made: MadeRows) -> list[Outcome]:
    """The outcomes with `MADE` for each that has target rows."""
    if isinstance(made.indices, range):  # each of them has one
        return [MADE] * len(outcomes)
    return [MADE if type(each) is dict or rows_of(each) else each for each in outcomes]


def flatten(start: int, outcomes: list[Outcome]) -> tuple[list[Row], Sequence[int], Parts | None]:
    """Target rows, the source row each comes from, and its part and number of parts.

    Where no source row became more than one target row, the parts are None; where each became one, the
    indices are a range.
    """
    if all_single(outcomes):
        return cast("list[Row]", outcomes), range(start, start + len(outcomes)), None
    if not any(map(rows_of, [each for each in outcomes if type(each) is not dict])):
        indices = [i for i, each in enumerate(outcomes, start) if type(each) is dict]
        return [each for each in outcomes if type(each) is dict], indices, None
    groups = list(map(rows_of, outcomes))
    sizes = list(map(len, groups))
    return (
        list(chain.from_iterable(groups)),
        ints(map(repeat, range(start, start + len(sizes)), sizes)),
        (ints(map(range, sizes)), ints(map(repeat, sizes, sizes))),
    )


@cache
def _first_ints() -> array[int]:
    return array("q", range(_MANY))


def int_range(start: int, stop: int) -> array[int]:
    """Consecutive integers, a copy of ready ones where they are small: there is one for each row."""
    return _first_ints()[start:stop] if stop <= _MANY else array("q", range(start, stop))


def ints(groups: Iterable[Iterable[int]]) -> array[int]:
    """Integers as compact as in Arrow: there may be a thousand target rows for each source row."""
    return array("q", chain.from_iterable(groups))
