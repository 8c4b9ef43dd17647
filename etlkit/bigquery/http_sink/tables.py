"""The tables that an `HttpSink` fills beside its API: rejected rows, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.http_sink.sql import RESPONSE_COLUMNS
from etlkit.bigquery.names import TableName, parse_table
from etlkit.bigquery.publish.target import find_dataset
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.http_sink.options import HttpOptions


def responses_table(sink: HttpOptions, connection: Connection) -> TableName | None:
    """Where answers go; None = they are not kept."""
    return None if sink.responses is None else parse_table(sink.responses, connection.project)


def check_tables(sink: HttpOptions, connection: Connection, *, may_create: bool = False) -> None:
    """Raise if rejected rows and answers cannot be stored.

    Args:
        sink: What the job says.
        connection: The run's connection.
        may_create: Whether a missing dataset is created, if the job says so.

    Raises:
        SinkError: No such dataset, or a table of answers with other columns.
    """
    name = parse_table(sink.name, connection.project)
    responses = responses_table(sink, connection)
    with errors_as(SinkError, "open", f"opening the tables of {sink.name} failed"):
        for table in (name, responses):
            if table is not None:
                find_dataset(
                    connection, table.dataset_id, create=sink.create_dataset, may_create=may_create
                )
        if responses is not None:
            _check_responses(connection, responses)


def _check_responses(connection: Connection, table: TableName) -> None:
    from etlkit.bigquery.schema_fields import from_schema_fields

    found = connection.find_table(table)
    if found is None:
        return
    there = {column.name: column for column in from_schema_fields(found.schema)}
    wanted = {column.name: column for column in RESPONSE_COLUMNS}
    wrong = [
        f"{name} {column.ddl}"
        for name, column in wanted.items()
        if name not in there or there[name].ddl != column.ddl
    ]
    wrong += [
        f"no {name} NOT NULL"
        for name, column in there.items()
        if name not in wanted and column.mode == "REQUIRED"
    ]
    if wrong:
        raise SinkError(
            f"{table} is no table of answers: it needs {', '.join(wrong)}. Name another table as "
            "responses, or drop this one",
            stage="open",
        )
