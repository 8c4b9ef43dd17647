"""Values that appended rows do not have.

`default_missing_value_interpretation` holds from the request that sets it on, and
`missing_value_interpretations` for one request. The emulator ignored both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
from bqemulator.storage.sql_identifiers import quoted_table_ref
from google.cloud.bigquery_storage_v1 import types

from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.rules.registry import Asked, rule

if TYPE_CHECKING:
    Name = tuple[str, str, str]

_Interpretation: Final = types.AppendRowsRequest.MissingValueInterpretation
_ROWS: Final = "etlkit_missing"


@rule(
    Asked.FIELDS,
    "A value or a column that appended rows lack is NULL, unless `missing_value_interpretations` or "
    "`default_missing_value_interpretation` says DEFAULT_VALUE.",
    "reference/storage/rpc/google.cloud.bigquery.storage.v1#appendrowsrequest",
)
def missing_value(column: str, default: int, by_column: Mapping[str, int]) -> bool:
    """Whether a missing value becomes the default of its column.

    Args:
        column: In lower case.
        default: `default_missing_value_interpretation` of the connection.
        by_column: `missing_value_interpretations` of the request.
    """
    return by_column.get(column, default) == _Interpretation.DEFAULT_VALUE


class MissingValues:
    """What the requests of a connection say of missing values."""

    def __init__(self) -> None:
        self._default = _Interpretation.MISSING_VALUE_INTERPRETATION_UNSPECIFIED
        self._by_column: Mapping[str, int] = {}

    def read(self, request: Any) -> None:
        """Take the fields of the next request."""
        self._default = request.default_missing_value_interpretation or self._default
        self._by_column = {
            name.casefold(): int(what)
            for name, what in request.missing_value_interpretations.items()
        }

    def defaulted(self, table: Name, connection: Any) -> set[str]:
        """The columns whose missing values become their default, in lower case."""
        names = (name.casefold() for name in defaults_of(connection, table))
        return {name for name in names if missing_value(name, self._default, self._by_column)}

    def fill(self, rows: pa.Table, target: pa.Schema, table: Name, connection: Any) -> pa.Table:
        """Give rows what they lack; columns that are still missing get their default when written.

        DuckDB writes the default of a column that is not named, so NULL must be sent for the others.

        Args:
            rows: As they were sent.
            target: The columns of the table.
            table: Project, dataset and name.
            connection: To DuckDB, which evaluates the defaults.
        """
        sent = {name.casefold(): name for name in rows.column_names}
        defaults = {name.casefold() for name in defaults_of(connection, table)}
        with_default = []
        for field in target:
            name = field.name.casefold()
            is_default = missing_value(name, self._default, self._by_column)
            column = sent.get(name)
            if column is None and not is_default and name in defaults:
                rows = rows.append_column(field.name, pa.nulls(rows.num_rows, field.type))
            elif is_default and column is not None:
                with_default += [column] if rows.column(column).null_count else []
        return _with_defaults(rows, with_default, table, connection) if with_default else rows


def _with_defaults(rows: pa.Table, columns: list[str], table: Name, connection: Any) -> pa.Table:
    """The rows with the default value of each of these columns instead of NULL."""
    defaults = {name.casefold(): text for name, text in defaults_of(connection, table).items()}
    connection.register(_ROWS, rows.select(columns))
    try:
        for column in columns:
            default = defaults.get(column.casefold())
            if default is None:
                continue
            sql = f"SELECT COALESCE({quote(column)}, {default}) AS value FROM {_ROWS}"
            values = connection.execute(sql).to_arrow_table().column("value")
            index = rows.column_names.index(column)
            rows = rows.set_column(
                index, rows.schema.field(index), values.cast(rows.schema.field(index).type)
            )
    finally:
        connection.unregister(_ROWS)
    return rows


def defaults_of(connection: Any, table: Name) -> dict[str, str]:
    """The default values of a table's columns, in DuckDB's SQL; columns without one are left out.

    Args:
        connection: To DuckDB, or the emulator's engine.
        table: Project, dataset and name.
    """
    name = quoted_table_ref(*table).replace("'", "''")
    try:  # `duckdb_columns()` would list the columns of all tables
        found = connection.execute(
            f"SELECT name, dflt_value FROM pragma_table_info('{name}') WHERE dflt_value IS NOT NULL"
        )
    except duckdb.CatalogException:  # there is no such table
        return {}
    return dict(found.fetchall())
