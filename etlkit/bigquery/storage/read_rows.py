"""Read a table's rows in Arrow over the Storage Read API, whatever happens to the connection.

Protocol: https://cloud.google.com/bigquery/docs/reference/storage
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import google_message
from etlkit.bigquery.storage.grpc_errors import code_name, is_transient
from etlkit.errors import ReadExpiredError

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName

log = logging.getLogger("etlkit.bigquery")

_CALL_S = 600.0
"""One call is ended after this, whether it stalls or just waits for a slow transform; the next one
goes on at its offset."""

_ATTEMPTS = 8
_BACKOFF_S = 0.25


def read_table(connection: Connection, table: TableName) -> Iterator[pa.RecordBatch]:
    """Give all rows of a table in order, each once. A cut stream goes on at its offset.

    Raises:
        ReadExpiredError: The session is over (6 hours after it began); the table is still there.
        google.api_core.exceptions.GoogleAPICallError: It cannot be read.
    """
    import pyarrow as pa
    from google.cloud.bigquery_storage_v1 import types

    client = connection.reader()
    session = client.create_read_session(
        parent=f"projects/{connection.project}",
        read_session=types.ReadSession(table=table.path, data_format=types.DataFormat.ARROW),
        max_stream_count=1,  # one stream keeps the order of the rows
        retry=connection.retry(),
    )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    for stream in session.streams:
        for message in _messages(client, stream.name):
            payload = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
            yield pa.ipc.read_record_batch(payload, schema)


def _messages(client: Any, stream: str) -> Iterator[Any]:
    offset = failures = 0
    while True:
        try:
            for message in client.read_rows(
                read_stream=stream, offset=offset, retry=None, timeout=_CALL_S
            ):
                offset += message.row_count
                failures = 0
                yield message
        except Exception as error:
            if code_name(error) in {"FAILED_PRECONDITION", "NOT_FOUND"}:
                raise ReadExpiredError(
                    f"the read session is over: {google_message(error)}", stage="read"
                ) from error
            failures += 1
            if failures >= _ATTEMPTS or not is_transient(error):
                raise
            log.info("read stream cut after %d rows, going on there: %s", offset, error)
            threading.Event().wait(_BACKOFF_S * 2 ** min(failures, 6))
        else:
            return
