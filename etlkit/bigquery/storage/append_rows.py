"""Write rows to one table over the Storage Write API, in Arrow, at least once.

The Python client has no bounded window of requests in flight, does not reopen a dropped or idle
connection, and does not resend what was not acknowledged. This module does. Repeats are harmless:
staged rows have ids, and publishing removes repeats.

Protocol: https://cloud.google.com/bigquery/docs/write-api
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etlkit.api.outcomes import RefusedRow
from etlkit.api.sink import PART
from etlkit.api.source import ROW_ID
from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.storage.append_window import TARGET_BYTES, AppendWindow
from etlkit.bigquery.storage.reconnect import NEW_COLUMNS, RECONNECT
from etlkit.calls import clock
from etlkit.calls.backoff import AttemptLoop, Backoff
from etlkit.calls.classify import is_transient_on_stream, is_transient_when_new
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from google.cloud.bigquery_storage_v1 import BigQueryWriteClient

    from etlkit.bigquery.names import TableName

MAX_REQUEST_BYTES = 20 * 1000 * 1000
"""An AppendRows request must be smaller: https://cloud.google.com/bigquery/quotas#write-api-limits"""

MAX_SILENT_S = 5.0
"""When staging acknowledges nothing for this long, no more rows are paid for until it does."""

_ACK_DEADLINE_S = 60.0
"""A connection that acknowledges nothing for this long is closed and opened again."""

_UNAVAILABLE = 14
_NEW_TABLE_S = 60.0
"""A table made a moment ago may be unknown to the write service for a while."""


class Appender:
    """The `_default` stream of one table.

    Args:
        client: Storage Write client.
        table: The table; its columns are those of `schema`.
        schema: Of every batch that will be appended.
        fills_defaults: Whether columns that the rows lack get their default value; else NULL. A null
            in a column that they have stays NULL.
        is_altered: Whether the table got new columns a moment ago, which the service may not know yet.
        on_durable: Called with rows when they are durable, on the connection's thread; None = nobody
            needs to know.
    """

    def __init__(
        self,
        client: BigQueryWriteClient,
        table: TableName,
        schema: pa.Schema,
        *,
        fills_defaults: bool = False,
        is_altered: bool = False,
        on_durable: Callable[[pa.RecordBatch], None] | None = None,
    ) -> None:
        self._client = client
        self._table = table
        self._stream = f"{table.path}/streams/_default"
        self._fills_defaults = fills_defaults
        self._is_altered = is_altered
        self._on_durable = on_durable
        self._names = list(schema.names)
        self._schema = schema.serialize().to_pybytes()
        self._changed = threading.Condition()
        self._window = AppendWindow()
        self._refused: list[RefusedRow] = []
        self._acked_at = self._opened_at = time.monotonic()
        self._attempts: AttemptLoop | None = None
        self._stop = clock.Stop()
        self._conversation: object = None
        self._call: Any = None
        self._error: SinkError | None = None
        self._closed = False
        self._is_away = False
        self._thread: threading.Thread | None = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Send rows, together with others if they come faster than they are stored.

        Waits while too much is unacknowledged.

        Raises:
            SinkError: BigQuery refused rows, now or earlier, or the connection cannot be kept.
        """
        for piece in _split(batch, TARGET_BYTES):
            num_bytes = pa.ipc.get_record_batch_size(piece)
            if num_bytes + len(self._schema) >= MAX_REQUEST_BYTES:
                self._refuse_large(piece, num_bytes)
            else:
                self._send(piece)

    def _refuse_large(self, piece: pa.RecordBatch, num_bytes: int) -> None:
        message = f"it takes {num_bytes:,} bytes; a request must stay below {MAX_REQUEST_BYTES:,}"
        if ROW_ID not in piece.schema.names:
            raise SinkError(f"a row cannot be written: {message}", stage="stage")
        with self._changed:
            row_id = piece.column(ROW_ID)[0].as_py()
            self._refused.append(RefusedRow(row_id, piece.num_rows, message))

    @property
    def has_refused(self) -> bool:
        """Whether `take_refused` has rows to give."""
        return bool(self._refused)

    def take_refused(self) -> list[RefusedRow]:
        """Source rows that BigQuery did not take, since the last call."""
        with self._changed:
            refused, self._refused = self._refused, []
        return refused

    def is_ready(self) -> bool:
        """Whether more rows may be paid for: what was sent is being acknowledged. Cheap.

        False while something is sent and unacknowledged: from the moment when the connection breaks
        until the next acknowledgement, and when there was none for `MAX_SILENT_S`.

        Raises:
            SinkError: The connection cannot be kept.
        """
        if self._error is not None:
            raise self._error
        if self._window.is_empty:
            return True
        return not self._is_away and time.monotonic() - self._acked_at < MAX_SILENT_S

    def flush(self) -> None:
        """Return when everything is acknowledged, i.e. durable.

        Raises:
            SinkError: As `append`.
        """
        self._wait(lambda: self._window.is_empty)

    def close(self) -> None:
        """End the connection without waiting for anything."""
        with self._changed:
            self._closed = True
            self._stop.set()
            if self._call is not None:
                self._call.cancel()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _send(self, batch: pa.RecordBatch) -> None:
        self._wait(lambda: self._window.has_room)
        with self._changed:
            if self._window.is_empty:
                self._acked_at = time.monotonic()
            self._window.add(batch)
            self._changed.notify_all()
        if self._thread is None:
            name = f"etlkit-append-{self._table.table}"
            self._thread = threading.Thread(target=self._talk, name=name, daemon=True)
            self._thread.start()

    def _wait(self, ready: Any) -> None:
        with self._changed:
            while self._error is None and not ready():
                if self._closed:
                    raise SinkError(
                        f"the connection to {self._table} was closed before all rows were stored",
                        stage="stage",
                    )
                silent_s = time.monotonic() - self._acked_at
                if silent_s > _ACK_DEADLINE_S and self._call is not None:
                    self._acked_at = time.monotonic()
                    self._call.cancel()  # the sending thread opens a new connection
                self._changed.wait(timeout=_ACK_DEADLINE_S / 10)
            if self._error is not None:
                raise self._error

    def _talk(self) -> None:
        """Keep a connection up while there is something to send; runs on its own thread."""
        backoff = Backoff(
            f"appending to {self._table}",
            NEW_COLUMNS if self._is_altered else RECONNECT,
            is_transient=self._is_transient,
            stop=self._stop,
        )
        try:
            while self._work_to_do():
                self._attempts = backoff.attempts()
                self._attempts.call(self._converse)
        except clock.Stopped:
            return
        except Exception as error:
            if not self._closed:
                self._give_up(error)

    def _work_to_do(self) -> bool:
        # An idle connection is closed by the server after 600 s; it is opened again on demand.
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._window.is_empty)
            return not self._closed

    def _converse(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._conversation = conversation = object()
            again = list(self._window.unacked)
        try:
            # Outside of the US the service needs the stream's name for routing.
            call = self._client.append_rows(
                self._messages(conversation, again),
                retry=None,
                metadata=[("x-goog-request-params", f"write_stream={self._stream}")],
            )
            self._call = call
            for response in call:
                self._acknowledge(response)
            if self._window.unacked and not self._closed:
                raise _grpc_error(_UNAVAILABLE, "the connection ended without an answer")
        finally:
            with self._changed:
                self._conversation = self._call = None
                self._changed.notify_all()  # ends the messages, which gRPC reads on a thread of its own

    def _messages(self, conversation: object, again: Sequence[pa.RecordBatch]) -> Iterator[Any]:
        """The requests of one connection: first what an earlier one has sent in vain."""
        from google.cloud.bigquery_storage_v1 import types

        schema: Any = types.ArrowSchema(serialized_schema=self._schema)
        missing = types.AppendRowsRequest.MissingValueInterpretation
        not_sent: Any = missing.DEFAULT_VALUE if self._fills_defaults else missing.NULL_VALUE
        # The default for all columns is also for nulls in those that are sent, unless each request
        # says otherwise of them.
        sent = dict.fromkeys(self._names if self._fills_defaults else (), missing.NULL_VALUE)
        for batch in chain(again, iter(partial(self._next_request, conversation), None)):
            payload = batch.serialize().to_pybytes()
            rows = types.ArrowRecordBatch(serialized_record_batch=payload)
            data = types.AppendRowsRequest.ArrowData(rows=rows)
            request = types.AppendRowsRequest(
                write_stream=self._stream, arrow_rows=data, missing_value_interpretations=sent
            )
            if schema is not None:  # once per connection
                request.arrow_rows.writer_schema = schema
                request.default_missing_value_interpretation = not_sent
                schema = None
            yield request

    def _next_request(self, conversation: object) -> pa.RecordBatch | None:
        """Wait for rows to send; None = this connection is over."""
        with self._changed:
            while not self._closed and self._conversation is conversation:
                batch = self._window.next_request()
                if batch is not None:
                    return batch
                self._changed.wait()
        return None

    def _acknowledge(self, response: Any) -> None:
        with self._changed:
            if response.error.code and not self._can_leave_out(response):
                details = "; ".join(f"row {e.index}: {e.message}" for e in response.row_errors[:3])
                raise _grpc_error(
                    response.error.code,
                    response.error.message + (f" ({details})" if details else ""),
                )
            batch = self._window.acknowledge()
            self._acked_at = time.monotonic()
            self._is_away = False
            if self._attempts is not None:
                self._attempts.progressed()
            if response.error.code:
                self._leave_out(batch, {e.index: e.message for e in response.row_errors})
            self._changed.notify_all()
        if self._on_durable is not None and not response.error.code:
            self._on_durable(batch)

    def _can_leave_out(self, response: Any) -> bool:
        """Whether the request can be sent again without its bad rows. Nothing was written."""
        return bool(response.row_errors) and ROW_ID in self._window.unacked[0].schema.names

    def _leave_out(self, batch: pa.RecordBatch, errors: dict[int, str]) -> None:
        """Refuse the source rows of bad rows, with all their parts, and send the others again."""
        ids = batch.column(ROW_ID).to_pylist()
        bad = {ids[index]: message for index, message in errors.items() if index < len(ids)}
        self._refused += [RefusedRow(i, ids.count(i), message) for i, message in bad.items()]
        keep = [at for at, row_id in enumerate(ids) if row_id not in bad]
        if keep:
            self._window.add(batch.take(pa.array(keep, pa.int64())))

    def _is_transient(self, error: BaseException) -> bool:
        if self._closed:  # we cancelled the call ourselves
            return False
        with self._changed:
            self._is_away = True
        is_new = time.monotonic() - self._opened_at < _NEW_TABLE_S
        if self._is_altered and _is_extra_fields(error):
            return True
        return is_transient_on_stream(error) or (is_new and is_transient_when_new(error))

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._error = SinkError(
                f"staging rows in {self._table} failed: {google_message(error)}", stage="stage"
            )
            self._error.__cause__ = error
            self._changed.notify_all()


def _is_extra_fields(error: BaseException) -> bool:
    """Whether the service says that the table lacks columns of the rows.

    The code is in the message of the status, or in a detail that the message is written from.
    """
    text = f"{error} {getattr(error, 'details', '')}"
    return "SCHEMA_MISMATCH_EXTRA_FIELDS" in text or "due to extra fields" in text


def _grpc_error(number: int, message: str) -> Exception:
    """The error of a gRPC code, as Google's clients raise it."""
    from google.api_core.exceptions import from_grpc_status

    error: Exception = from_grpc_status(number, message)  # type: ignore[no-untyped-call]
    return error


def _split(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Halve a batch until each piece is small, never between the parts of one source row."""
    if batch.num_rows == 0:
        return
    cut = _cut_near_middle(batch) if batch.nbytes > max_bytes else 0
    if cut == 0:
        yield batch
        return
    yield from _split(batch.slice(0, cut), max_bytes)
    yield from _split(batch.slice(cut), max_bytes)


def _cut_near_middle(batch: pa.RecordBatch) -> int:
    """The start of a source row that is nearest to the middle; 0 = there is none but the first."""
    if PART not in batch.schema.names:  # rejected rows and direct appends: every row is independent
        return int(batch.num_rows // 2)
    starts = [i for i, part in enumerate(batch.column(PART).to_pylist()) if part == 0 and i]
    return min(starts, key=lambda i: abs(i - batch.num_rows // 2), default=0)
