"""Read a table's rows in Arrow over the Storage Read API, across broken connections.

Protocol: https://cloud.google.com/bigquery/docs/reference/storage
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.storage.reconnect import RECONNECT
from etlkit.bigquery.storage.side_by_side import side_by_side
from etlkit.calls.backoff import Backoff
from etlkit.calls.classify import code_name, is_transient_on_stream
from etlkit.errors import ReadExpiredError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName

_CALL_S = 600.0
"""Deadline of one call, which may stall or only wait for a slow transform. The next call goes on at
its offset."""


def read_table(
    connection: Connection,
    table: TableName,
    *,
    max_streams: int = 1,
    columns: Sequence[str] = (),
    where: str = "",
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of a table, each once. A stream that breaks continues at its offset.

    Args:
        connection: The run's connection.
        table: The table.
        max_streams: Streams to read side by side, at most; BigQuery may give fewer. One stream keeps
            the order of the rows.
        columns: Names of the columns to read; empty = all.
        where: A filter, as in WHERE; empty = all rows.

    Raises:
        ReadExpiredError: The session is over (6 hours after it began); the table is still there.
        google.api_core.exceptions.GoogleAPICallError: It cannot be read.
    """
    import pyarrow as pa
    from google.cloud.bigquery_storage_v1 import types

    client = connection.reader()
    options = types.ReadSession.TableReadOptions(
        selected_fields=list(columns), row_restriction=where
    )
    session = client.create_read_session(
        parent=f"projects/{connection.project}",
        read_session=types.ReadSession(
            table=table.path, data_format=types.DataFormat.ARROW, read_options=options
        ),
        max_stream_count=max_streams,
        retry=connection.retry(),
    )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    streams = [partial(_messages, client, stream.name) for stream in session.streams]
    for message in side_by_side(streams) if len(streams) > 1 else chain(*(s() for s in streams)):
        payload = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
        yield pa.ipc.read_record_batch(payload, schema)


def _messages(client: Any, stream: str) -> Iterator[Any]:
    offset = 0
    backoff = Backoff("reading rows", RECONNECT, is_transient=is_transient_on_stream)
    attempts = backoff.attempts()
    for attempt in attempts:
        with attempt:
            try:
                for message in client.read_rows(
                    read_stream=stream, offset=offset, retry=None, timeout=_CALL_S
                ):
                    offset += message.row_count
                    attempts.progressed()
                    yield message
            except Exception as error:
                if code_name(error) in {"FAILED_PRECONDITION", "NOT_FOUND"}:
                    raise ReadExpiredError(
                        f"the read session is over: {google_message(error)}", stage="read"
                    ) from error
                raise
