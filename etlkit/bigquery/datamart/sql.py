"""The SQL texts of datamarts, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from etlkit.api.datamart import Lookback, ValidityColumns
from etlkit.bigquery.names import TableName
from etlkit.bigquery.sql.dml import names_of, same_keys
from etlkit.bigquery.sql.expiration import expires
from etlkit.rows.columns import Column, quoted


def wrapped(query: str, lookback: Lookback | None, now: datetime) -> str:
    """The user's query, limited to its period.

    Args:
        query: A SELECT.
        lookback: The period; None = all of it.
        now: The end of the period is counted back from this aware time.
    """
    if lookback is None:
        return query
    first, end = period(lookback, now)
    column = quoted(lookback.column)
    return (
        f"SELECT * FROM (\n{query}\n)\n"
        f"WHERE {column} >= {_bound(lookback, first)} AND {column} < {_bound(lookback, end)}"
    )


def period(lookback: Lookback, now: datetime) -> tuple[datetime, datetime]:
    """Start (included) and end (excluded) of the period, as aware times in its time zone."""
    local = now.astimezone(ZoneInfo(lookback.time_zone))
    if lookback.unit == "hours":
        instant = local.astimezone(UTC)
        bounds = (instant - timedelta(hours=hours) for hours in (lookback.start, lookback.end))
        first, end = (bound.astimezone(local.tzinfo) for bound in bounds)
        return first, end
    today = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=lookback.start), today - timedelta(days=lookback.end - 1)


def _bound(lookback: Lookback, at: datetime) -> str:
    if lookback.column_type == "DATE":
        return f"DATE '{at:%Y-%m-%d}'"
    if lookback.column_type == "DATETIME":
        return f"DATETIME '{at:%Y-%m-%d %H:%M:%S.%f}'"
    return timestamp(at)


def timestamp(at: datetime) -> str:
    """A TIMESTAMP literal."""
    return f"TIMESTAMP '{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00'"


def stage(table: TableName, query: str) -> str:
    """Keep the rows of a query in a work table; a repeat changes nothing."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({expires()}) AS\n"
        f"SELECT * FROM (\n{query}\n)"
    )


def staged(table: TableName, columns: Sequence[Column]) -> str:
    """The staged rows."""
    return f"SELECT {names_of(columns)} FROM {table.sql}"


def new_versions(
    table: TableName, columns: Sequence[Column], validity: ValidityColumns, at: datetime
) -> str:
    """The staged rows as versions that are valid from `at` on."""
    return (
        f"SELECT {names_of(columns)}, {timestamp(at)} AS {quoted(validity.valid_from)}, "
        f"CAST(NULL AS TIMESTAMP) AS {quoted(validity.valid_to)}, "
        f"TRUE AS {quoted(validity.is_current)} FROM {table.sql}"
    )


def close_versions(
    target: TableName,
    rows: str,
    keys: Sequence[str],
    incremental: str,
    validity: ValidityColumns,
    at: datetime,
    partition_filter: str | None = None,
) -> str:
    """End the current version of every row that has a newer one.

    Args:
        target: The table.
        rows: A SELECT of the new versions.
        keys: Columns that name a row.
        incremental: The column that tells which of two versions is newer; null is oldest.
        validity: Names of the validity columns.
        at: When the old versions end.
        partition_filter: A filter that is true of every row; None = the table requires none.
    """
    column = quoted(incremental)
    return (
        f"UPDATE {target.sql} AS T SET {quoted(validity.valid_to)} = {timestamp(at)}, "
        f"{quoted(validity.is_current)} = FALSE\nFROM (\n{rows}\n) AS S\n"
        f"WHERE T.{quoted(validity.is_current)} AND {same_keys(keys)}{_and(partition_filter)}\n"
        f"AND (S.{column} > T.{column} OR (T.{column} IS NULL AND S.{column} IS NOT NULL))"
    )


def insert_versions(
    target: TableName,
    columns: Sequence[Column],
    rows: str,
    keys: Sequence[str],
    validity: ValidityColumns,
    partition_filter: str | None = None,
) -> str:
    """Add the new versions of rows that have no current one: unknown rows, and those just closed."""
    chosen = ", ".join(f"S.{quoted(column.name)}" for column in columns)
    names = ", ".join(map(quoted, keys))
    return (
        f"INSERT INTO {target.sql} ({names_of(columns)})\nSELECT {chosen} FROM (\n{rows}\n) AS S\n"
        f"LEFT JOIN (\n  SELECT {names}, TRUE AS etlkit_there FROM {target.sql} AS T\n"
        f"  WHERE {quoted(validity.is_current)}{_and(partition_filter)}\n) AS T\n"
        f"ON {same_keys(keys)}\nWHERE T.etlkit_there IS NULL"
    )


def count_rows(table: TableName) -> str:
    """How many rows a table has, as `n`."""
    return f"SELECT COUNT(*) AS n FROM {table.sql}"


def _and(partition_filter: str | None) -> str:
    return "" if partition_filter is None else f" AND {partition_filter}"
