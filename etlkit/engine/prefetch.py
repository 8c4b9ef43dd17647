"""Source batches on their way to the workers: read ahead, cut into chunks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from etlkit.api.source import ReadsSideBySide, StopsReading
from etlkit.engine.chunk import Chunk
from etlkit.errors import ReadExpiredError
from etlkit.rows.batches import RowDecoder, as_one
from etlkit.telemetry.spans import span

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.api.source import SourceReader
    from etlkit.rows.columns import Column

_MAX_QUEUED_BYTES = 8 * 1024 * 1024
"""The source is read until this much waits, or one batch that is larger."""

_MAX_CHUNK_BYTES = 4 * 1024 * 1024
"""A chunk of rows with large values has fewer rows, so that memory is bounded in bytes too."""

_ENOUGH_ROWS = 500
"""A source that is slow need not fill a chunk before its rows are transformed."""

_CLOSE_TIMEOUT_S = 5.0


class Prefetcher:
    """Chunks of rows from a source that is read on a thread of its own.

    Fetching ahead keeps the network busy while rows are transformed. What waits is bounded in bytes, so
    memory does not grow with the table, nor with the width of its rows.

    Args:
        reader: The source.
        read: The columns that the transform reads.
        chunk_rows: Rows a chunk, at most.
        task_rows: A chunk has a multiple of this many rows, if it is not the last one and its rows are
            not too wide for that.
        rows_per_block: As in `Chunk`.
        wake: Called whenever `next_chunk` may have something new.
        rows_before: Rows of this run that were read before, for row numbers.
        keeps_order: Whether the rows have to come in the source's order.

    Attributes:
        ended: No more rows will come.
        expired: It ended early, because the read session expired.
        num_rows_read: Rows read so far, `rows_before` included.
    """

    def __init__(
        self,
        reader: SourceReader,
        read: tuple[Column, ...],
        chunk_rows: int,
        task_rows: int,
        rows_per_block: int | None,
        wake: Callable[[], None],
        rows_before: int = 0,
        *,
        keeps_order: bool = True,
    ) -> None:
        self._reader = reader
        self._keeps_order = keeps_order
        self._decoder = RowDecoder(read)
        self._rows_per_block = rows_per_block
        self._full_decoder = RowDecoder(reader.columns)
        self._chunk_rows = chunk_rows
        self._task_rows = task_rows
        self._enough_rows = max(task_rows, min(chunk_rows, _ENOUGH_ROWS))
        self._wake = wake
        self._changed = threading.Condition()
        self._queue: deque[tuple[pa.RecordBatch, int]] = deque()  # with its bytes
        self._num_queued = 0
        self._queued_bytes = 0
        self._end: BaseException | None = None
        self._has_ended = False
        self._more_later = False
        self._closed = False
        self.num_rows_read: int = rows_before
        self.ended: bool = False
        self.expired: bool = False
        self._thread = threading.Thread(
            target=partial(copy_context().run, self._read), name="etlkit-prefetch", daemon=True
        )
        self._thread.start()

    def next_chunk(self) -> Chunk | None:
        """Give the next chunk; None = none is complete yet, or the source has `ended`.

        Raises:
            SourceError: The source failed; errors of its thread are raised here.
        """
        with self._changed:
            is_enough = (
                self._num_queued >= self._enough_rows or self._queued_bytes >= _MAX_CHUNK_BYTES
            )
            if not (is_enough or self._has_ended or (self._more_later and self._queue)):
                return None
            parts = self._take_rows()
            self._more_later = self._more_later and bool(self._queue)
            self._changed.notify()
        if parts:
            batch = as_one(parts)
            number = self.num_rows_read + 1
            self.num_rows_read += batch.num_rows
            return Chunk(batch, self._decoder, number, self._full_decoder, self._rows_per_block)
        self.ended = True
        if isinstance(self._end, ReadExpiredError):
            self.expired = True  # the rows read so far are good
        elif self._end is not None:
            raise self._end
        return None

    def close(self) -> None:
        """Stop fetching and wait for the thread, for a bounded time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if isinstance(self._reader, StopsReading):
            self._reader.stop_reading()
        self._thread.join(timeout=_CLOSE_TIMEOUT_S)  # a read may hang

    def _read(self) -> None:
        with span("read"):
            self._fetch()

    def _take_rows(self) -> list[pa.RecordBatch]:
        """Take the rows of a chunk out of the queue."""
        if not self._queue:
            return []
        row_bytes = max(1, self._queued_bytes // self._num_queued)
        missing = max(1, min(self._chunk_rows, self._num_queued, _MAX_CHUNK_BYTES // row_bytes))
        if missing > self._task_rows and not (self._has_ended and missing == self._num_queued):
            missing -= missing % self._task_rows
        parts: list[pa.RecordBatch] = []
        while missing and self._queue:
            head, num_bytes = self._queue.popleft()
            if head.num_rows > missing:
                rest, head = head.slice(missing), head.slice(0, missing)
                rest_bytes = rest.nbytes
                self._queue.appendleft((rest, rest_bytes))
                num_bytes -= rest_bytes
            missing -= head.num_rows
            self._num_queued -= head.num_rows
            self._queued_bytes -= num_bytes
            parts.append(head)
        return parts

    def _fetch(self) -> None:
        end = None
        try:
            for batch in self._batches():
                if not batch.num_rows:
                    self._put_in_use()
                elif not self._put(batch):
                    return
        except BaseException as error:
            end = error
        finally:
            with self._changed:
                self._end, self._has_ended = end, True
            self._wake()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._keeps_order or not isinstance(self._reader, ReadsSideBySide):
            return self._reader.batches()
        return self._reader.batches_in_any_order()

    def _put_in_use(self) -> None:
        """Let what is queued be worked on although it does not fill a chunk: more may come late."""
        with self._changed:
            self._more_later = True
        self._wake()

    def _put(self, batch: pa.RecordBatch) -> bool:
        """Queue a batch; wait while enough waits. False = the run has ended."""
        num_bytes = batch.nbytes
        with self._changed:
            self._queue.append((batch, num_bytes))
            self._num_queued += batch.num_rows
            self._queued_bytes += num_bytes
        self._wake()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._queued_bytes < _MAX_QUEUED_BYTES)
            return not self._closed
