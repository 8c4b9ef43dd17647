"""The loop that a good engineer writes by hand for rows in Arrow, as a measure for the row path.

It has what made such loops fast: a few hundred rows at a time, so that their values stay in the
processor's cache; timestamps made of their integers; rows by a dict display with constant keys; a
column that comes back as it went in is not encoded again. It has no row ids, counts, checks of keys,
retries, calls in flight or resume, and one thread.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pyarrow as pa

BLOCK_ROWS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HandLoop:
    """A loop for the columns of one table.

    Args:
        source: The columns that come in.
        target: The columns that go out.
        function: One row in; a row, None, or an iterator of rows out.
        reads: The columns that the function gets; the others pass by. None = all.
    """

    def __init__(
        self,
        source: pa.Schema,
        target: pa.Schema,
        function: Callable[[dict[str, Any]], Any],
        reads: Sequence[str] | None = None,
    ) -> None:
        self.names = list(source.names if reads is None else reads)
        self.passing = [name for name in source.names if name not in self.names]
        self.target = target
        self.types = dict(zip(target.names, target.types, strict=True))
        self.function = function
        self.errors: list[tuple[dict[str, Any], str]] = []
        targets = "".join(f"v{i}, " for i in range(len(self.names)))
        display = ", ".join(f"{name!r}: v{i}" for i, name in enumerate(self.names))
        self.rows_of: Callable[..., list[dict[str, Any]]] = eval(  # noqa: S307 - names of this file
            f"lambda *columns: [{{{display}}} for {targets} in zip(*columns)]"
        )

    def run(self, batch: pa.RecordBatch, *, is_fan_out: bool, may_raise: bool) -> pa.RecordBatch:
        """The target rows of a batch."""
        blocks = [
            self._block(batch.slice(start, BLOCK_ROWS), is_fan_out=is_fan_out, may_raise=may_raise)
            for start in range(0, batch.num_rows, BLOCK_ROWS)
        ]
        return pa.Table.from_batches(blocks).combine_chunks().to_batches()[0]

    def _block(self, block: pa.RecordBatch, *, is_fan_out: bool, may_raise: bool) -> pa.RecordBatch:
        columns = [decoded(block.column(name)) for name in self.names]
        rows = self.rows_of(*columns)
        results = list(self._careful(rows)) if may_raise else list(map(self.function, rows))
        if is_fan_out:
            made = list(chain.from_iterable(results))
            return pa.RecordBatch.from_arrays(
                [pa.array([row[name] for row in made], kind) for name, kind in self.types.items()],
                schema=self.target,
            )
        if None in results:
            kept = [at for at, row in enumerate(results) if row is not None]
            block = block.take(pa.array(kept))
            columns = [[column[at] for at in kept] for column in columns]
            results = [results[at] for at in kept]
        came = dict(zip(self.names, columns, strict=True))
        arrays = [self._column(name, results, came, block) for name in self.target.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.target)

    def _column(
        self,
        name: str,
        results: Sequence[dict[str, Any]],
        came: dict[str, list[Any]],
        block: pa.RecordBatch,
    ) -> pa.Array:
        if name in self.passing:
            return block.column(name)
        kind = self.types[name]
        values = [row[name] for row in results]
        # A list that was changed in place is equal to itself.
        if name in came and not pa.types.is_nested(kind) and values == came[name]:
            return block.column(name)
        return pa.array(values, kind)

    def _careful(self, rows: Sequence[dict[str, Any]]) -> Iterator[Any]:
        for row in rows:
            try:
                yield self.function(row)
            except ValueError as error:
                self.errors.append((row, str(error)))
                yield None


def decoded(column: pa.Array) -> list[Any]:
    """The values of a column."""
    if column.null_count or not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    spans = column.view(pa.int64()).to_numpy().view("m8[us]").tolist()
    return list(map(_EPOCH.__add__, spans))
