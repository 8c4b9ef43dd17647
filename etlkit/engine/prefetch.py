"""Source batches on their way to the workers: fetched ahead, cut into chunks, decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.api.source import ROW_ID
from etlkit.errors import ReadExpiredError
from etlkit.rows.batches import RowDecoder

if TYPE_CHECKING:
    from etlkit.api.source import SourceReader
    from etlkit.rows.batches import DecodedBatch
    from etlkit.rows.row import Row

_BATCHES_AHEAD = 2
_MAX_CHUNK_BYTES = 32 * 1024 * 1024
"""A chunk of rows with large values is cut short, so that memory is bounded in bytes too."""

_CLOSE_S = 5.0
_END = object()


class Chunk:
    """Consecutive source rows that are decoded together.

    Attributes:
        batch: The rows as they came, `ROW_ID` and all columns.
        decoded: The columns the transform reads, as Python values.
        first_row_number: Position of the first row among those read, 1 = first of the run.
    """

    __slots__ = ("_row_ids", "_whole", "batch", "decoded", "first_row_number")

    def __init__(
        self,
        batch: pa.RecordBatch,
        decoded: DecodedBatch,
        first_row_number: int,
        whole: RowDecoder,
    ) -> None:
        self.batch = batch
        self._whole = whole
        self.decoded = decoded
        self.first_row_number = first_row_number
        self._row_ids: pa.Array = batch.column(ROW_ID)

    def row_id(self, index: int) -> str:
        """The id of one row; `index` counts from 0 inside the chunk."""
        row_id: str = self._row_ids[index].as_py()
        return row_id

    def source_row(self, index: int) -> Row:
        """One row as it came, all columns; for the few that are put aside."""
        return self._whole.decode(self.batch.slice(index, 1)).rows[0]


class Prefetcher:
    """Chunks of `chunk_rows` rows from a source that is read on a thread of its own.

    Fetching ahead keeps the network busy while rows are transformed; the queue holds
    `_BATCHES_AHEAD` source batches, so memory does not grow with the table.

    Args:
        reader: The source.
        decoder: For the columns the transform reads.
        chunk_rows: Rows a chunk; only the last one may be smaller.
        wake: Called whenever `next_chunk` may have something new.
        rows_before: Rows of this run that came earlier, for row numbers.

    Attributes:
        ended: Nothing more will come.
        expired: It ended before the source did, because the read session was over.
        rows_given: Rows that came so far.
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
        self._whole = RowDecoder(reader.columns)
        self._chunk_rows = chunk_rows
        self._wake = wake
        self._queue: Queue[pa.RecordBatch | BaseException | object] = Queue(_BATCHES_AHEAD)
        self._stop = threading.Event()
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self.rows_given = rows_before
        self.ended = False
        self.expired = False
        self._thread = threading.Thread(target=self._fetch, name="etlkit-feed", daemon=True)
        self._thread.start()

    def next_chunk(self) -> Chunk | None:
        """Give the next chunk; None = none is complete yet, or the source has `ended`.

        Raises:
            SourceError: The source broke; whatever its thread met is raised here.
        """
        while self._held_rows < self._chunk_rows and not self.ended:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return None
            if item is _END:
                self.ended = True
            elif isinstance(item, ReadExpiredError):
                self.ended = self.expired = True  # the rows given so far are good
            elif isinstance(item, BaseException):
                self.ended = True
                raise item
            elif isinstance(item, pa.RecordBatch) and item.num_rows:
                self._held.append(item)
                self._held_rows += item.num_rows
        return self._cut() if self._held_rows else None

    def close(self) -> None:
        """Stop fetching and wait for the thread, but not for ever."""
        self._stop.set()
        give_up_at = time.monotonic() + _CLOSE_S  # a source may hang in its read
        while self._thread.is_alive() and time.monotonic() < give_up_at:
            try:
                self._queue.get_nowait()  # makes room, should the thread be waiting to put
            except Empty:
                self._thread.join(timeout=0.01)

    def _cut(self) -> Chunk:
        row_bytes = max(1, self._held[0].nbytes // self._held[0].num_rows)
        fitting = max(1, _MAX_CHUNK_BYTES // row_bytes)
        take, parts = min(self._chunk_rows, self._held_rows, fitting), []
        missing = take
        while missing:
            head = self._held[0]
            if head.num_rows <= missing:
                parts.append(self._held.pop(0))
            else:
                parts.append(head.slice(0, missing))
                self._held[0] = head.slice(missing)
            missing -= parts[-1].num_rows
        self._held_rows -= take
        batch = parts[0] if len(parts) == 1 else _join(parts)
        chunk = Chunk(batch, self._decoder.decode(batch), self.rows_given + 1, self._whole)
        self.rows_given += take
        return chunk

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
