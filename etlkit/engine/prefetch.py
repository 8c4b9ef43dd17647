"""Source batches on their way to the workers: prefetched, cut into chunks, decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.api.source import ROW_ID
from etlkit.errors import ReadExpiredError, SourceError
from etlkit.rows.batches import RowDecoder

if TYPE_CHECKING:
    from etlkit.api.source import SourceReader
    from etlkit.rows.batches import DecodedBatch
    from etlkit.rows.row import Row

_MAX_BATCHES = 2
_MAX_CHUNK_BYTES = 32 * 1024 * 1024
"""A chunk of rows with large values has fewer rows, so that memory is bounded in bytes too."""

_CLOSE_TIMEOUT_S = 5.0
_END = object()


class SourceRows:
    """Consecutive source rows in Arrow, decoded one by one when they are asked for.

    Attributes:
        batch: `ROW_ID` and all columns.
    """

    __slots__ = ("_decoder", "batch")

    def __init__(self, batch: pa.RecordBatch, decoder: RowDecoder) -> None:
        self.batch = batch
        self._decoder = decoder

    def ids(self) -> list[str]:
        """The ids of all rows."""
        row_ids: list[str] = self.batch.column(ROW_ID).to_pylist()
        return row_ids

    def row(self, index: int) -> Row:
        """One row with all columns; `index` counts from 0."""
        return self._decoder.decode(self.batch.slice(index, 1)).rows[0]


class Chunk:
    """Consecutive source rows that are decoded together.

    Attributes:
        batch: The source rows: `ROW_ID` and all columns.
        decoded: The columns the transform reads, as Python values.
        first_row_number: Number of the first row in this run, 1 = first.
        source: The same rows with all columns, without the decoded ones.
    """

    __slots__ = ("_row_ids", "batch", "decoded", "first_row_number", "source")

    def __init__(
        self,
        batch: pa.RecordBatch,
        decoded: DecodedBatch,
        first_row_number: int,
        full_decoder: RowDecoder,
    ) -> None:
        self.batch = batch
        self.source = SourceRows(batch, full_decoder)
        self.decoded = decoded
        self.first_row_number = first_row_number
        self._row_ids: pa.Array = batch.column(ROW_ID)

    def row_id(self, index: int) -> str:
        """The id of one row; `index` counts from 0 in the chunk."""
        row_id: str = self._row_ids[index].as_py()
        return row_id

    def source_row(self, index: int) -> Row:
        """One source row with all columns; for the few that are rejected."""
        return self.source.row(index)


class Prefetcher:
    """Chunks of `chunk_rows` rows from a source that is read on a thread of its own.

    Fetching ahead keeps the network busy while rows are transformed; the queue holds
    `_MAX_BATCHES` source batches, so memory does not grow with the table.

    Args:
        reader: The source.
        decoder: For the columns the transform reads.
        chunk_rows: Rows a chunk; only the last one may be smaller.
        wake: Called whenever `next_chunk` may have something new.
        rows_before: Rows of this run that were read before, for row numbers.

    Attributes:
        ended: No more rows will come.
        expired: It ended early, because the read session expired.
        num_rows_read: Rows read so far, `rows_before` included.
    """

    def __init__(
        self,
        reader: SourceReader,
        decoder: RowDecoder,
        chunk_rows: int,
        wake: Callable[[], None],
        rows_before: int = 0,
    ) -> None:
        self._reader = reader
        self._decoder = decoder
        self._full_decoder = RowDecoder(reader.columns)
        self._chunk_rows = chunk_rows
        self._wake = wake
        self._queue: Queue[pa.RecordBatch | BaseException | object] = Queue(_MAX_BATCHES)
        self._stop = threading.Event()
        self._buffered: list[pa.RecordBatch] = []
        self._num_buffered = 0
        self.num_rows_read = rows_before
        self.ended = False
        self.expired = False
        self._thread = threading.Thread(target=self._fetch, name="etlkit-prefetch", daemon=True)
        self._thread.start()

    def next_chunk(self) -> Chunk | None:
        """Give the next chunk; None = none is complete yet, or the source has `ended`.

        Raises:
            SourceError: The source failed; errors of its thread are raised here.
        """
        while self._num_buffered < self._chunk_rows and not self.ended:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return None
            if item is _END:
                self.ended = True
            elif isinstance(item, ReadExpiredError):
                self.ended = self.expired = True  # the rows read so far are good
            elif isinstance(item, BaseException):
                self.ended = True
                raise item
            elif isinstance(item, pa.RecordBatch) and item.num_rows:
                self._buffered.append(item)
                self._num_buffered += item.num_rows
        return self._make_chunk() if self._num_buffered else None

    def close(self) -> None:
        """Stop fetching and wait for the thread, for a bounded time."""
        self._stop.set()
        give_up_at = time.monotonic() + _CLOSE_TIMEOUT_S  # a read may hang
        while self._thread.is_alive() and time.monotonic() < give_up_at:
            try:
                self._queue.get_nowait()  # makes room if the thread waits to put
            except Empty:
                self._thread.join(timeout=0.01)

    def _make_chunk(self) -> Chunk:
        row_bytes = max(1, self._buffered[0].nbytes // self._buffered[0].num_rows)
        fitting = max(1, _MAX_CHUNK_BYTES // row_bytes)
        take, parts = min(self._chunk_rows, self._num_buffered, fitting), []
        missing = take
        while missing:
            head = self._buffered[0]
            if head.num_rows <= missing:
                parts.append(self._buffered.pop(0))
            else:
                parts.append(head.slice(0, missing))
                self._buffered[0] = head.slice(missing)
            missing -= parts[-1].num_rows
        self._num_buffered -= take
        batch = parts[0] if len(parts) == 1 else _join(parts)
        try:
            decoded = self._decoder.decode(batch)
        except SourceError as error:
            raise self._at_row(batch, error) from error
        chunk = Chunk(batch, decoded, self.num_rows_read + 1, self._full_decoder)
        self.num_rows_read += take
        return chunk

    def _at_row(self, batch: pa.RecordBatch, error: SourceError) -> SourceError:
        """The error with the first row that cannot be decoded; as it is if each of them can."""
        for index in range(batch.num_rows):
            row = batch.slice(index, 1)
            try:
                self._decoder.decode(row)
            except SourceError as found:
                number, row_id = self.num_rows_read + index + 1, row.column(ROW_ID)[0].as_py()
                message = f"row {number} (id {row_id}), {found.message}"
                return SourceError(message, stage="read")
        return error

    def _fetch(self) -> None:
        try:
            for batch in self._reader.batches():
                self._queue.put(batch)
                self._wake()
                if self._stop.is_set():
                    return
            self._queue.put(_END)
        except BaseException as error:
            self._queue.put(error)
        finally:
            self._wake()


def _join(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(parts).combine_chunks()
    return next(iter(table.to_batches()))
