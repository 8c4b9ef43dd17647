"""Chunks: consecutive source rows in Arrow, decoded block by block when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import pyarrow as pa

from etlkit.api.source import ROW_ID
from etlkit.engine.call_counts import CallCounts
from etlkit.errors import SourceError
from etlkit.rows.batches import DecodedBatch, RowDecoder
from etlkit.rows.row import Row

_BLOCK_CELLS = 3000
_MIN_BLOCK_ROWS = 500
"""The values of a block, and the dicts they become, stay in the processor's cache. In smaller blocks,
what Arrow costs per column counts more."""


def block_rows(num_columns: int) -> int:
    """Rows that are decoded together, of a transform that reads this many columns."""
    return max(_MIN_BLOCK_ROWS, _BLOCK_CELLS // max(1, num_columns))


class SourceRows:
    """Consecutive source rows in Arrow, decoded when they are asked for.

    Attributes:
        batch: `ROW_ID` and all columns.
    """

    __slots__ = ("_decoder", "batch")

    def __init__(self, batch: pa.RecordBatch, decoder: RowDecoder) -> None:
        self.batch: Any = batch
        self._decoder = decoder

    def ids(self) -> list[str]:
        """The ids of all rows."""
        row_ids: list[str] = self.batch.column(ROW_ID).to_pylist()
        return row_ids

    def row(self, index: int) -> Row:
        """One row with all columns; `index` counts from 0."""
        return self._decoder.decode(self.batch.slice(index, 1)).rows[0]

    def rows(self, indices: Sequence[int]) -> list[Row]:
        """Some rows with all columns, decoded together."""
        return self._decoder.decode(self.batch.take(pa.array(indices, pa.int64()))).rows


class Chunk:
    """Consecutive source rows on their way through the engine.

    Args:
        batch: The source rows: `ROW_ID` and all columns.
        decoder: For the columns the transform reads.
        first_row_number: Number of the first row in this run, 1 = first.
        full_decoder: For all columns.
        rows_per_block: Rows that are decoded together; None = all.

    Attributes:
        source: The rows with all columns.
        made: What workers have encoded of it: `MadeRows` of `etlkit.engine.made_rows`.
        calls: The calls that its rows took, if somebody counts them.
    """

    __slots__ = (
        "_blocks",
        "_decoder",
        "_lock",
        "_read",
        "_row_ids",
        "_rows_per_block",
        "batch",
        "calls",
        "first_row_number",
        "made",
        "num_bytes",
        "source",
    )

    def __init__(
        self,
        batch: pa.RecordBatch,
        decoder: RowDecoder,
        first_row_number: int,
        full_decoder: RowDecoder,
        rows_per_block: int | None = None,
    ) -> None:
        self.batch: Any = batch
        self.num_bytes: int = batch.nbytes
        self.source: SourceRows = SourceRows(batch, full_decoder)
        self.first_row_number: int = first_row_number
        self.made: list[Any] = []
        self.calls: CallCounts = CallCounts()
        self._decoder = decoder
        self._rows_per_block = rows_per_block or max(1, batch.num_rows)
        self._blocks: dict[int, DecodedBatch] = {}
        self._lock = threading.Lock()
        self._read: pa.RecordBatch | None = None
        self._row_ids: pa.Array = batch.column(ROW_ID)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, on average."""
        row_bytes: int = self.num_bytes // max(1, self.batch.num_rows)
        return row_bytes

    def row_id(self, index: int) -> str:
        """The id of one row; `index` counts from 0 in the chunk."""
        row_id: str = self._row_ids[index].as_py()
        return row_id

    def read_batch(self, start: int, stop: int) -> pa.RecordBatch:
        """The rows from `start` to before `stop` in Arrow, with the columns the transform reads."""
        return self.batch.slice(start, stop - start).select(self._decoder.names)

    def rows(self, start: int, stop: int) -> ChunkRows:
        """The rows from `start` to before `stop`, as the transform gets them."""
        return ChunkRows(self, start, min(stop, self.batch.num_rows))

    def row(self, index: int) -> Row:
        """One row, as the transform gets it; `index` counts from 0 in the chunk.

        Raises:
            SourceError: A value cannot be read; names its row.
        """
        number, at = divmod(index, self._rows_per_block)
        return (self._blocks.get(number) or self._block(number)).row(at)

    def parts(self, start: int, stop: int) -> Iterator[Part]:
        """Decode these rows, block by block. Workers that share a block decode it once.

        Raises:
            SourceError: A value cannot be read; names its row.
        """
        size = self._rows_per_block
        for number in range(start // size, -(-stop // size)):
            first = number * size
            yield Part(self, self._block(number), first, max(start, first), min(stop, first + size))

    def known_parts(self, start: int, stop: int) -> list[Part]:
        """These rows, block by block, if all of these blocks are decoded; empty = they are not."""
        size, parts = self._rows_per_block, []
        for number in range(start // size, -(-stop // size)):
            first, block = number * size, self._blocks.get(number)
            if block is None:
                return []
            parts.append(Part(self, block, first, max(start, first), min(stop, first + size)))
        return parts

    def forget(self, part: Part) -> None:
        """Drop the decoded values of a block that no other task has rows of."""
        if part.stop - part.start == part.block.batch.num_rows:
            self._blocks.pop(part.first // self._rows_per_block, None)

    def _block(self, number: int) -> DecodedBatch:
        with self._lock:
            block = self._blocks.get(number)
            if block is None:
                first, size = number * self._rows_per_block, self._rows_per_block
                try:
                    if self._read is None:  # columns are selected once, and not for each block
                        self._read = self._decoder.select(self.batch)
                    block = self._decoder.decode(self._read.slice(first, size))
                except SourceError as error:
                    raise self._at_row(self.batch.slice(first, size), first, error) from error
                self._blocks[number] = block
            return block

    def _at_row(self, batch: pa.RecordBatch, start: int, error: SourceError) -> SourceError:
        """The error with the first row that cannot be decoded; as it is if each of them can."""
        for index in range(batch.num_rows):
            try:
                self._decoder.decode(batch.slice(index, 1))
            except SourceError as found:
                number, row_id = self.first_row_number + start + index, self.row_id(start + index)
                message = f"row {number} (id {row_id}), {found.message}"
                return SourceError(message, stage="read")
        return error


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of one decoded block.

    Attributes:
        chunk: Where they come from.
        block: The decoded block.
        first: Index in the chunk of the block's first row.
        start: Index in the chunk of the first row of this part.
        stop: Index after the last one.
    """

    chunk: Chunk
    block: DecodedBatch
    first: int
    start: int
    stop: int

    def tuples(self, more: Sequence[Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """The values of each row, and one more of `more`; see `DecodedBatch.tuples`."""
        return self.block.tuples(self.start - self.first, self.stop - self.first, more)


class ChunkRows(Sequence[Row]):
    """Rows of a chunk, each made when it is asked for.

    A row is made anew each time, but lists and dicts in it are the same ones: ask once.
    """

    __slots__ = ("chunk", "start", "stop")

    def __init__(self, chunk: Chunk, start: int, stop: int) -> None:
        self.chunk: Chunk = chunk
        self.start: int = start
        self.stop: int = stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Row]:
        for part in self.chunk.parts(self.start, self.stop):
            names = part.block.names
            for values in part.tuples():
                yield dict(zip(names, values, strict=False))

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> ChunkRows: ...

    def __getitem__(self, index: int | slice) -> Row | ChunkRows:
        if isinstance(index, slice):
            found = range(self.start, self.stop)[index]
            if found.step != 1:
                raise ValueError("rows of a chunk are consecutive")
            return ChunkRows(self.chunk, found.start, found.stop)
        return self.chunk.row(range(self.start, self.stop)[index])
