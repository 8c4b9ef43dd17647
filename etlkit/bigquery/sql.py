"""Every SQL text of etlkit, as pure functions: names and literals in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.bigquery.names import TableName, literal
from etlkit.columns import Column, quoted
from etlkit.sink import PART, PARTS
from etlkit.source import ROW_ID

EXPIRE_DAYS = 7
"""Work tables of a run that was never finished are gone after this."""


def _expires() -> str:
    interval = f"INTERVAL {EXPIRE_DAYS} DAY"
    return f"expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), {interval})"


def source_rows(query: str, limit: int | None) -> str:
    """The user's query with an id on every row.

    The line break keeps a trailing `--` comment of the query from swallowing the bracket.
    """
    rows = f"SELECT GENERATE_UUID() AS {ROW_ID}, q.* FROM (\n{query.rstrip().rstrip(';')}\n) AS q"
    return rows if limit is None else f"{rows} LIMIT {limit}"


def snapshot(table: TableName, query: str, limit: int | None) -> str:
    """Freeze the source rows. `IF NOT EXISTS`: a repeat must not give new ids to the same rows."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({_expires()}) AS\n"
        f"{source_rows(query, limit)}"
    )


def staging(table: TableName, columns: Sequence[Column]) -> str:
    """A staging table. Its columns are nullable: skipped rows have no values."""
    lines = [f"{ROW_ID} STRING", f"{PART} INT64", f"{PARTS} INT64"]
    lines += [f"{quoted(column.name)} {column.ddl}" for column in columns]
    body = ",\n  ".join(lines)
    return f"CREATE TABLE IF NOT EXISTS {table.sql} (\n  {body}\n) OPTIONS({_expires()})"


def settled(tables: Sequence[TableName]) -> str:
    """What became of every source row: one row per id with its number of parts, and how many stand.

    Staging is at least once, so the same row may stand twice; a row whose parts are not all there
    was cut off and is not settled.
    """
    union = " UNION ALL ".join(
        f"SELECT {ROW_ID}, {PART}, {PARTS} FROM {table.sql}" for table in tables
    )
    return (
        f"SELECT {ROW_ID}, MIN({PARTS}) AS parts, COUNT(DISTINCT {PART}) AS standing\n"
        f"FROM ({union})\nGROUP BY {ROW_ID}"
    )


def audit(tables: Sequence[TableName]) -> str:
    """Counts of settled source rows: `skipped`, `written`, `parts`, and `broken`."""
    return (
        "SELECT COUNTIF(parts = 0) AS skipped, COUNTIF(parts > 0) AS written,\n"
        "  IFNULL(SUM(parts), 0) AS parts, COUNTIF(parts > 0 AND standing < parts) AS broken\n"
        f"FROM (\n{settled(tables)}\n)"
    )


def staged_rows(
    tables: Sequence[tuple[TableName, Sequence[Column]]], columns: Sequence[Column]
) -> str:
    """The rows to publish: each part of each source row once.

    `MIN(parts)`: should two attempts at a row have given different numbers of rows, one of them is
    taken, never a mixture of both.

    Args:
        tables: Staging tables with the columns each has.
        columns: The columns to give; one that a table lacks is null there.
    """
    union = "\n  UNION ALL\n  ".join(_part_of(table, has, columns) for table, has in tables)
    names = ", ".join(quoted(column.name) for column in columns)
    return (
        f"SELECT {names} FROM (\n  {union}\n)\nWHERE {PARTS} > 0\n"
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {ROW_ID}, {PART} ORDER BY {PARTS}) = 1\n"
        f"  AND {PARTS} = MIN({PARTS}) OVER (PARTITION BY {ROW_ID})"
    )


def _part_of(table: TableName, has: Sequence[Column], columns: Sequence[Column]) -> str:
    there = {column.name for column in has}
    chosen = [
        quoted(column.name)
        if column.name in there
        else f"CAST(NULL AS {column.ddl}) AS {quoted(column.name)}"
        for column in columns
    ]
    return f"SELECT {', '.join([ROW_ID, PART, PARTS, *chosen])} FROM {table.sql}"


def publish(
    target: TableName,
    ledger: TableName,
    run_id: str,
    columns: Sequence[Column],
    rows: str,
    *,
    truncate: bool,
    counts: dict[str, int],
) -> str:
    """One transaction: rows into the target, and the ledger says so, or neither.

    Sent again after it has succeeded it changes nothing. The `UPDATE` of the run's own ledger row
    makes two publishers of one run conflict, so that BigQuery aborts one of them.
    """
    names = ", ".join(quoted(column.name) for column in columns)
    lines = [f"INSERT INTO {target.sql} ({names})\n{rows};"] if columns else []
    if truncate:
        lines.insert(0, f"TRUNCATE TABLE {target.sql};")
    body = "\n".join(lines)
    guard = f"SELECT COUNT(*) FROM {ledger.sql} WHERE run_id = {literal(run_id)}"
    return (
        "BEGIN TRANSACTION;\n"
        f"IF ({guard} AND state = 'published') = 0 THEN\n"
        f"{body}\n{mark_published(ledger, run_id, counts)};\n"
        "END IF;\n"
        "COMMIT TRANSACTION;"
    )


def create_target(
    target: TableName,
    columns: Sequence[Column],
    rows: str,
    labels: dict[str, str],
    *,
    replace: bool,
) -> str:
    """Make the target in one statement, rows and all: no reader sees it empty.

    The labels hold the run's id: that is how a repeat recognises its own work.
    """
    verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE"
    body = ",\n  ".join(column.definition for column in columns)
    pairs = ", ".join(f"({literal(key)}, {literal(value)})" for key, value in labels.items())
    return f"{verb} {target.sql} (\n  {body}\n) OPTIONS(labels = [{pairs}]) AS\n{rows}"


def mark_published(ledger: TableName, run_id: str, counts: dict[str, int]) -> str:
    """The ledger's word that a run is published."""
    values = "".join(f", {quoted(name)} = {int(value)}" for name, value in counts.items())
    return (
        f"UPDATE {ledger.sql} SET state = 'published', updated_at = CURRENT_TIMESTAMP(), "
        f"finished_at = CURRENT_TIMESTAMP(){values} WHERE run_id = {literal(run_id)}"
    )
