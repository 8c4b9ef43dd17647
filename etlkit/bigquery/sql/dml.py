"""Statements that change the rows of a target, and what is asked of the rows before."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.bigquery.names import TableName, literal
from etlkit.rows.columns import Column, quoted

REPEATED = "etlkit: there are more staged rows than the audit has counted"
"""Raised by an INSERT of exactly as many rows."""


def insert(
    target: TableName, columns: Sequence[Column], rows: str, exactly: int | None = None
) -> str:
    """Add the rows.

    Args:
        target: The table.
        columns: Of the rows.
        rows: A SELECT of them.
        exactly: How many there must be, else `REPEATED` is raised; None = any number.
    """
    text = f"INSERT INTO {target.sql} ({names_of(columns)})\n{rows}"
    if exactly is None:
        return text
    return (
        f"{text};\nIF IFNULL(@@row_count, -1) != {int(exactly)} THEN\n"
        f"  RAISE USING MESSAGE = {literal(REPEATED)};\nEND IF"
    )


def empty(target: TableName, partition_filter: str | None) -> str:
    """Delete all rows, as DML that a transaction may hold.

    Args:
        target: The table.
        partition_filter: A filter that is true of every row; None = the table requires none.
            TRUNCATE is refused where one is required, see
            https://cloud.google.com/bigquery/docs/reference/standard-sql/dml-syntax#truncate_table_statement
    """
    if partition_filter is None:
        return f"TRUNCATE TABLE {target.sql}"
    return f"DELETE FROM {target.sql} AS T WHERE {partition_filter}"


def any_partition(column: str | None) -> str:
    """A filter on the partitions of `T` that is true of every row.

    Tables with `require_partition_filter` ask for one:
    https://cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter_in_queries

    Args:
        column: The partitioning column; None = partitions go by the time of loading. That column
            is written without `T`: the local server knows it in no other way, and no other table
            of the statements has it.
    """
    name = "_PARTITIONTIME" if column is None else f"T.{quoted(column)}"
    return f"({name} IS NULL OR {name} IS NOT NULL)"


def merge(
    target: TableName,
    columns: Sequence[Column],
    rows: str,
    keys: Sequence[str],
    update: Sequence[str] | None,
    partition_filter: str | None = None,
) -> str:
    """Update rows that are there by `keys`, insert the others.

    Args:
        target: The table.
        columns: Of the rows.
        rows: A SELECT.
        keys: Columns that name a row; nulls are equal to each other.
        update: Columns to update; None = all but the keys.
        partition_filter: See `empty`.
    """
    on = same_keys(keys) + ("" if partition_filter is None else f" AND {partition_filter}")
    names = [c.name for c in columns if c.name not in keys] if update is None else list(update)
    sets = ", ".join(f"{quoted(name)} = S.{quoted(name)}" for name in names)
    matched = f"WHEN MATCHED THEN UPDATE SET {sets}\n" if sets else ""
    values = ", ".join(f"S.{quoted(column.name)}" for column in columns)
    return (
        f"MERGE INTO {target.sql} AS T\nUSING (\n{rows}\n) AS S\nON {on}\n{matched}"
        f"WHEN NOT MATCHED THEN INSERT ({names_of(columns)}) VALUES ({values})"
    )


def same_keys(keys: Sequence[str]) -> str:
    """A null-safe comparison of `T` and `S` in a form that BigQuery can join on.

    `IS NOT DISTINCT FROM` may be refused in the ON of a MERGE.
    """
    return " AND ".join(
        f"(T.{k} = S.{k} OR (T.{k} IS NULL AND S.{k} IS NULL))" for k in map(quoted, keys)
    )


def names_of(columns: Sequence[Column]) -> str:
    """Quoted names, as they stand in an INSERT."""
    return ", ".join(quoted(column.name) for column in columns)


def distinct_partitions(rows: str, expression: str) -> str:
    """How many partitions rows go to, as `n`. Rows without a value go to one of their own.

    Args:
        rows: A SELECT of the rows.
        expression: What stands behind PARTITION BY.
    """
    return f"SELECT COUNT(DISTINCT IFNULL(CAST({expression} AS STRING), '')) AS n FROM (\n{rows}\n)"


def repeated_keys(rows: str, keys: Sequence[str], limit: int) -> str:
    """Merge keys that more than one of the rows has: a few of them, with their number."""
    names = ", ".join(map(quoted, keys))
    return (
        f"SELECT {names}, COUNT(*) AS times FROM (\n{rows}\n)\n"
        f"GROUP BY {names} HAVING COUNT(*) > 1 LIMIT {limit}"
    )
