"""Tables of given rows in the local BigQuery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


_CHUNK_ROWS: Final = 200
"""Of one request, which may have 10 MB."""


def make_table(
    connection: Connection, name: str, columns: Sequence[Column], rows: Sequence[Row]
) -> None:
    """Make a table anew, with these rows in this order. Its dataset is made if it is missing.

    Args:
        connection: To the local BigQuery.
        name: `dataset.table` or `project.dataset.table`.
        columns: Of the table.
        rows: Native values.
    """
    from etlkit.bigquery.names import parse_table
    from etlkit.bigquery.sql.ddl import create_table
    from etlkit.bigquery.storage.append_rows import Appender
    from etlkit.rows.batches import RowEncoder
    from etlkit.rows.columns import arrow_schema

    table = parse_table(name, connection.project)
    connection.make_dataset(table.dataset_id)
    connection.query(create_table(table, columns, "", replace=True), f"make_{table.table}")
    if not rows:
        return
    encoder = RowEncoder(columns)
    appender = Appender(connection.writer(), table, arrow_schema(columns))
    try:
        for begin in range(0, len(rows), _CHUNK_ROWS):
            appender.append(encoder.encode(rows[begin : begin + _CHUNK_ROWS]))
        appender.flush()
    finally:
        appender.close()
