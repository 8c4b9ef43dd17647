"""Rows of a query or of a table, for people to look at: as many as fit, and how many there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import REQUEST_S, Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName, check_table, parse_table
from etlkit.errors import ConfigError, SourceError
from etlkit.rows.types import ALIASES
from etlkit.variables.sql_tokens import one_query, tokenize

if TYPE_CHECKING:
    from google.cloud import bigquery

_READABLE = frozenset({"TABLE", "SNAPSHOT", "CLONE"})
"""Tables whose rows `tabledata.list` gives, which costs nothing. The others are queried.
Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list"""

_HINTS = {
    403: "Check that the names are right and that the account may read the tables.",
    404: "Check project, dataset and table names, and --location.",
}
_MAY_BE_SQL = re.compile(r"[\s(]")
_READING = frozenset({"SELECT", "WITH", "FROM"})


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result.

    Attributes:
        name: As BigQuery gives it; a column without an alias is `f0_`.
        type: BigQuery's standard name, e.g. `INT64`; one that etlkit does not know stays as it is.
        is_repeated: Whether its values are lists.
        fields: Of a STRUCT; else empty.
    """

    name: str
    type: str
    is_repeated: bool = False
    fields: tuple[ResultColumn, ...] = ()

    @property
    def shown_type(self) -> str:
        """The type as people write it, e.g. `ARRAY<STRUCT<…>>`."""
        text = "STRUCT<…>" if self.fields else self.type
        return f"ARRAY<{text}>" if self.is_repeated else text


@dataclass(frozen=True)
class ResultRows:
    """What was read.

    Attributes:
        columns: In the order of the query.
        rows: Values as the BigQuery client returns them, in the order of `columns`; None = NULL.
        num_there: Rows that the query or table has; None = more than were read, nobody counted them.
        bytes_billed: Of the query; 0 for a table that was read without one.
    """

    columns: tuple[ResultColumn, ...]
    rows: Sequence[tuple[Any, ...]]
    num_there: int | None
    bytes_billed: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than were read."""
        return self.num_there is None or self.num_there > len(self.rows)


def is_table(text: str) -> bool:
    """Whether a text is the name of a table, not a query. No I/O.

    Raises:
        ConfigError: It is neither.
    """
    text = text.strip()
    try:
        check_table(text)
    except ConfigError as error:
        if _MAY_BE_SQL.search(text) is None:
            raise ConfigError(f"{error}; or write a SELECT") from None
        _check_select(text)
        return False
    return True


def _check_select(sql: str) -> None:
    """Refuse what would change something: a page only reads."""
    _, query = one_query(sql)
    word = next((token.word for token in tokenize(query) if token.kind != "L_PAREN"), "")
    if word not in _READING:
        raise ConfigError(
            f"a page shows the rows of a SELECT or of a table; this statement begins with {word}"
        )


def read_result(
    connection: Connection,
    text: str,
    *,
    limit: int,
    maximum_bytes_billed: int | None = None,
) -> ResultRows:
    """Read the first rows of a query, or rows of a table.

    The rows of a table have no order, and reading them costs nothing. Views, external tables and the
    like are queried with `LIMIT`.

    Args:
        connection: The clients.
        text: One SELECT, `CREATE TEMP FUNCTION` statements before it; or `dataset.table`.
        limit: Rows to read at most.
        maximum_bytes_billed: BigQuery refuses a query rather than bill more; None = no bound.

    Raises:
        ConfigError: It is neither a SELECT nor the name of a table.
        SourceError: BigQuery refused it, or there is no such table.
    """
    if not is_table(text):
        with errors_as(SourceError, "read", "the query failed", _HINTS):
            return _query(connection, text, limit, maximum_bytes_billed)
    name = parse_table(text.strip(), connection.project)
    with errors_as(SourceError, "read", f"reading {name} failed", _HINTS):
        return _read_table(connection, name, limit, maximum_bytes_billed)


def _read_table(
    connection: Connection, name: TableName, limit: int, maximum_bytes_billed: int | None
) -> ResultRows:
    table = connection.find_table(name)
    if table is None:
        raise SourceError(
            f"there is no table {name}; check project, dataset and table names", stage="read"
        )
    if table.table_type not in _READABLE:
        sql = f"SELECT * FROM {name.sql} LIMIT {limit + 1}"
        found = _query(connection, sql, limit, maximum_bytes_billed)
        num_there = None if found.is_cut else found.num_there
        return ResultRows(found.columns, found.rows, num_there, found.bytes_billed)
    rows = connection.client.list_rows(
        table, max_results=limit, retry=connection.retry(), timeout=REQUEST_S
    )
    values = [tuple(row.values()) for row in rows]
    num_there = len(values) if rows.total_rows is None else int(rows.total_rows)
    return ResultRows(_columns(table.schema), values, max(num_there, len(values)))


def _query(
    connection: Connection, sql: str, limit: int, maximum_bytes_billed: int | None
) -> ResultRows:
    job = connection.query(sql, "report", maximum_bytes_billed=maximum_bytes_billed)
    return rows_of_job(connection, job, limit)


def rows_of_job(connection: Connection, job: bigquery.QueryJob, limit: int) -> ResultRows:
    """The first rows of a query that is done, at most `limit`; no columns = it gave no rows."""
    rows = job.result(max_results=limit, retry=connection.retry(), job_retry=None)
    values = [tuple(row.values()) for row in rows]
    num_there = len(values) if rows.total_rows is None else int(rows.total_rows)
    return ResultRows(
        _columns(rows.schema), values, max(num_there, len(values)), job.total_bytes_billed or 0
    )


def _columns(fields: Iterable[bigquery.SchemaField]) -> tuple[ResultColumn, ...]:
    return tuple(
        ResultColumn(
            name=field.name,
            type=ALIASES.get(field.field_type.upper(), field.field_type.upper()),
            is_repeated=field.mode == "REPEATED",
            fields=_columns(field.fields),
        )
        for field in fields
    )
