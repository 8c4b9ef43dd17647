"""Every SQL text of etlkit, as pure functions: names and literals in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, literal
from etlkit.rows.columns import Column, quoted

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


def snapshot_rejects(table: TableName, rejects: TableName, limit: int | None, *, only: bool) -> str:
    """Freeze the rows that run `@run_id` rejected, or those of error class `@only` among them."""
    chosen = " AND error_class = @only" if only else ""
    bound = "" if limit is None else f" LIMIT {limit}"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({_expires()}) AS\n"
        f"SELECT row_id AS {ROW_ID}, source_row FROM {rejects.sql}\n"
        f"WHERE run_id = @run_id{chosen}{bound}"
    )


def forget_rejects(rejects: TableName, run_id: str, settled_ids: str) -> str:
    """Take rows that were settled by a later run out of the rejects of an earlier one."""
    return (
        f"DELETE FROM {rejects.sql} WHERE run_id = {literal(run_id)}\n"
        f"AND row_id IN (\n{settled_ids}\n)"
    )


def rows_by_id(frozen: TableName) -> str:
    """Frozen rows of the ids `@ids`."""
    return f"SELECT * FROM {frozen.sql} WHERE {ROW_ID} IN UNNEST(@ids)"


def rest(table: TableName, frozen: TableName, settled_ids: str) -> str:
    """The frozen rows that are not settled yet."""
    return (
        f"CREATE OR REPLACE TABLE {table.sql} OPTIONS({_expires()}) AS\n"
        f"SELECT frozen.* FROM {frozen.sql} AS frozen\n"
        f"LEFT JOIN (\n{settled_ids}\n) AS done ON frozen.{ROW_ID} = done.{ROW_ID}\n"
        f"WHERE done.{ROW_ID} IS NULL"
    )


def staging(table: TableName, columns: Sequence[Column]) -> str:
    """A staging table. Its columns are nullable: skipped rows have no values."""
    meta = (Column(ROW_ID, "STRING"), Column(PART, "INT64"), Column(PARTS, "INT64"))
    return work_table(table, (*meta, *columns))


def work_table(table: TableName, columns: Sequence[Column]) -> str:
    """A table that expires by itself, all columns nullable."""
    body = ",\n  ".join(f"{quoted(column.name)} {column.ddl}" for column in columns)
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


def settled_ids(tables: Sequence[TableName], rejects: TableName | None) -> str:
    """The ids of all rows whose end is staged whole."""
    queries = []
    if tables:
        whole = "parts = 0 OR standing >= parts"
        queries.append(f"SELECT {ROW_ID} FROM (\n{settled(tables)}\n) WHERE {whole}")
    if rejects is not None:
        queries.append(f"SELECT {ROW_ID} FROM {rejects.sql}")
    return "\nUNION DISTINCT\n".join(queries)


def audit(tables: Sequence[TableName]) -> str:
    """Counts of source rows: `skipped`, `written` with their `parts`, and those cut off (`broken`)."""
    return (
        "SELECT COUNTIF(parts = 0) AS skipped, COUNTIF(parts > 0) AS written,\n"
        "  IFNULL(SUM(parts), 0) AS parts, COUNTIF(parts > 0 AND standing < parts) AS broken,\n"
        "  IFNULL(SUM(IF(standing < parts, parts, 0)), 0) AS broken_parts\n"
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


def create_target(
    target: TableName,
    columns: Sequence[Column],
    clauses: str,
    rows: str | None,
    *,
    replace: bool,
) -> str:
    """Make the target in one statement, rows and all: no reader sees it empty.

    Args:
        target: The table.
        columns: With descriptions, if any.
        clauses: PARTITION BY, CLUSTER BY, OPTIONS. Its labels hold the run's id: that is how a
            repeat recognises its own work.
        rows: A SELECT; None = the table begins empty.
        replace: Whether it may be there already.
    """
    verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE"
    body = ",\n  ".join(column.definition for column in columns)
    tail = "" if rows is None else f" AS\n{rows}"
    return f"{verb} {target.sql} (\n  {body}\n)\n{clauses}{tail}"


def add_columns(target: TableName, columns: Sequence[Column]) -> list[str]:
    """Statements that add columns; a repeat changes nothing. New columns of a table are nullable.

    One statement for all: BigQuery takes 5 changes of a table's metadata in 10 seconds,
    https://cloud.google.com/bigquery/quotas#standard_tables
    """
    added = [f"ADD COLUMN IF NOT EXISTS {quoted(c.name)} {c.ddl}" for c in columns]
    return [f"ALTER TABLE {target.sql}\n" + ",\n".join(added)] if added else []


def insert(target: TableName, columns: Sequence[Column], rows: str) -> str:
    """Add the rows."""
    return f"INSERT INTO {target.sql} ({_names(columns)})\n{rows}"


def truncate(target: TableName) -> str:
    """Empty the table; allowed in a transaction."""
    return f"TRUNCATE TABLE {target.sql}"


def merge(
    target: TableName,
    columns: Sequence[Column],
    rows: str,
    keys: Sequence[str],
    update: Sequence[str] | None,
    partition: str | None = None,
) -> str:
    """Update rows that are there by `keys`, insert the others.

    BigQuery joins on this form of a null-safe comparison; on `IS NOT DISTINCT FROM` it may not.

    Args:
        target: The table.
        columns: Of the rows.
        rows: A SELECT.
        keys: Columns that name a row; nulls are equal to each other.
        update: Columns to update; None = all but the keys.
        partition: Partitioning column of a table that wants a filter on it; None = it does not.
    """
    on = " AND ".join(
        f"(T.{k} = S.{k} OR (T.{k} IS NULL AND S.{k} IS NULL))" for k in map(quoted, keys)
    )
    if partition is not None:  # true of every row, and yet the filter that BigQuery asks for
        on += f" AND (T.{quoted(partition)} IS NULL OR T.{quoted(partition)} IS NOT NULL)"
    names = [c.name for c in columns if c.name not in keys] if update is None else list(update)
    sets = ", ".join(f"{quoted(name)} = S.{quoted(name)}" for name in names)
    matched = f"WHEN MATCHED THEN UPDATE SET {sets}\n" if sets else ""
    values = ", ".join(f"S.{quoted(column.name)}" for column in columns)
    return (
        f"MERGE INTO {target.sql} AS T\nUSING (\n{rows}\n) AS S\nON {on}\n{matched}"
        f"WHEN NOT MATCHED THEN INSERT ({_names(columns)}) VALUES ({values})"
    )


def repeated_keys(rows: str, keys: Sequence[str], limit: int) -> str:
    """Merge keys that more than one of the rows has: a few of them, with their number."""
    names = ", ".join(map(quoted, keys))
    return (
        f"SELECT {names}, COUNT(*) AS times FROM (\n{rows}\n)\n"
        f"GROUP BY {names} HAVING COUNT(*) > 1 LIMIT {limit}"
    )


def transaction(
    ledger: TableName, run_id: str, owner: str, statements: Sequence[str], counts: dict[str, int]
) -> str:
    """Statements and the ledger's word that the run is published: all of it or nothing.

    Sent again after it has succeeded, or by an attempt that lost the run to another one, it changes
    nothing. The `UPDATE` of the run's own ledger row makes two publishers of one run conflict, so
    that BigQuery aborts one of them.
    """
    body = ";\n".join([*statements, mark_published(ledger, run_id, owner, counts)])
    return (
        "BEGIN TRANSACTION;\n"
        f"IF (SELECT COUNT(*) FROM {ledger.sql} WHERE {_mine(run_id, owner)}) = 1 THEN\n"
        f"{body};\nEND IF;\nCOMMIT TRANSACTION;"
    )


def mark_published(ledger: TableName, run_id: str, owner: str, counts: dict[str, int]) -> str:
    """The ledger's word that the run is published.

    By itself for a run whose work is done already: BigQuery lets one such statement wait for
    another, where it would abort a transaction.
    """
    values = "".join(f", {quoted(name)} = {int(value)}" for name, value in counts.items())
    return (
        f"UPDATE {ledger.sql} SET state = 'published', updated_at = CURRENT_TIMESTAMP(), "
        f"finished_at = CURRENT_TIMESTAMP(){values} WHERE {_mine(run_id, owner)}"
    )


def _mine(run_id: str, owner: str) -> str:
    return f"run_id = {literal(run_id)} AND owner = {literal(owner)} AND state = 'running'"


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(quoted(column.name) for column in columns)
