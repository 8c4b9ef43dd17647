"""Staged rows: what became of every source row, and each of them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etlkit.api.lineage import RUN_ID, without_lineage
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.sql.ddl import create_table
from etlkit.bigquery.sql.expiration import expires
from etlkit.rows.columns import Column, quoted

ATTEMPT = "_etlkit_attempt"
"""INT64, in work tables only: the attempt that staged the row. The latest attempt at a row counts, so
what a process stages after it lost its run changes nothing."""

STAGING_COLUMNS = (
    Column(ROW_ID, "STRING"),
    Column(ATTEMPT, "INT64"),
    Column(PART, "INT64"),
    Column(PARTS, "INT64"),
)
"""What stands before the target's columns in a staging table."""


@dataclass(frozen=True)
class Staged:
    """The work tables that hold what the rows of a run became.

    Attributes:
        tables: Staging tables with the target's columns that each has.
        rejects: The staging table of rejected rows; None = no row was rejected.
        run_id: The run, for target columns of lineage.
    """

    tables: tuple[tuple[TableName, tuple[Column, ...]], ...]
    rejects: TableName | None = None
    run_id: str = ""


def outcomes(staged: Staged) -> str:
    """What became of every source row: one row per id.

    Columns: `parts`, how many rows it became; `standing`, how many of them are staged; `rejected`.
    Staging is at least once, so the same part may be staged twice. A row whose parts are not all
    there was cut off by a crash and has no outcome yet.
    """
    queries = [
        f"SELECT {ROW_ID}, {ATTEMPT}, MIN({PARTS}) AS parts, COUNT(DISTINCT {PART}) AS standing, "
        f"FALSE AS rejected\nFROM ({_union(staged)})\nGROUP BY {ROW_ID}, {ATTEMPT}"
        if staged.tables
        else ""
    ]
    if staged.rejects is not None:
        queries.append(
            f"SELECT DISTINCT {ROW_ID}, {ATTEMPT}, 0 AS parts, 0 AS standing, TRUE AS rejected\n"
            f"FROM {staged.rejects.sql}"
        )
    union = "\nUNION ALL\n".join(filter(None, queries))
    return (
        f"SELECT * FROM (\n{union}\n) WHERE TRUE\n"
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {ROW_ID} "
        f"ORDER BY {ATTEMPT} DESC, rejected DESC) = 1"
    )


def _union(staged: Staged) -> str:
    return " UNION ALL ".join(
        f"SELECT {ROW_ID}, {ATTEMPT}, {PART}, {PARTS} FROM {table.sql}"
        for table, _ in staged.tables
    )


def finished_ids(staged: Staged) -> str:
    """The ids of all rows that have an outcome."""
    return (
        f"SELECT {ROW_ID} FROM (\n{outcomes(staged)}\n)\n"
        "WHERE rejected OR parts = 0 OR standing >= parts"
    )


def audit(staged: Staged) -> str:
    """Counts of source rows, in one row.

    `rejected`; `skipped`; `written` with their `parts`; and those among them that were cut off:
    `broken` with `broken_parts`. Beside them `staged`, the rows of all staging tables with all repeats.
    """
    counts = [f"(SELECT COUNT(*) FROM {table.sql})" for table, _ in staged.tables]
    return (
        "SELECT COUNTIF(rejected) AS rejected, COUNTIF(NOT rejected AND parts = 0) AS skipped,\n"
        "  COUNTIF(parts > 0) AS written, IFNULL(SUM(parts), 0) AS parts,\n"
        "  COUNTIF(parts > 0 AND standing < parts) AS broken,\n"
        "  IFNULL(SUM(IF(standing < parts, parts, 0)), 0) AS broken_parts,\n"
        f"  {' + '.join(counts) or '0'} AS staged\n"
        f"FROM (\n{outcomes(staged)}\n)"
    )


def staged_rows(
    staged: Staged,
    columns: Sequence[Column],
    *,
    with_ids: bool = False,
    skipped: bool = False,
) -> str:
    """The rows to publish: each part of each source row once.

    The latest attempt at a row counts. `MIN(parts)`: should one attempt have staged a row twice with
    different numbers of parts, one of the two is taken, never a mixture.

    Args:
        staged: The work tables.
        columns: The columns to give; one that a table lacks is null there.
        with_ids: Whether `STAGING_COLUMNS` come first.
        skipped: Whether to give skipped and rejected rows too, as one row without values.
    """
    own = without_lineage(columns)
    parts = [_parts_of(table, has, own) for table, has in staged.tables]
    if staged.rejects is not None:
        parts.append(_parts_of_rejects(staged.rejects, own))
    union = "\n  UNION ALL\n  ".join(parts)
    given = [*STAGING_COLUMNS, *columns] if with_ids else columns
    return (
        f"SELECT {_given(given, staged)} FROM (\n  {union}\n)\nWHERE TRUE\n"
        f"QUALIFY ROW_NUMBER() OVER (\n"
        f"    PARTITION BY {ROW_ID}, {PART} ORDER BY {ATTEMPT} DESC, {PARTS}) = 1\n"
        f"  AND {ATTEMPT} = MAX({ATTEMPT}) OVER (PARTITION BY {ROW_ID})\n"
        f"  AND {PARTS} = MIN({PARTS}) OVER (PARTITION BY {ROW_ID}, {ATTEMPT})\n"
        f"  AND {PARTS} >= {0 if skipped else 1}"
    )


def unrepeated_rows(staged: Staged, columns: Sequence[Column]) -> str:
    """As `staged_rows`, where the audit has found that no row is repeated: nothing is sorted.

    Args:
        staged: The work tables.
        columns: As there.
    """
    own = without_lineage(columns)
    union = "\n  UNION ALL\n  ".join(_parts_of(table, has, own) for table, has in staged.tables)
    return f"SELECT {_given(columns, staged)} FROM (\n  {union}\n) WHERE {PARTS} > 0"


def join_staging(table: TableName, columns: Sequence[Column], staged: Staged) -> str:
    """Copy staging tables into one. It is there with all their rows, or not at all.

    Args:
        table: Takes the rows.
        columns: All that the tables have beside `STAGING_COLUMNS`; nullable, as there.
        staged: The tables; rejected rows are not copied.
    """
    union = "\n  UNION ALL\n  ".join(_parts_of(each, has, columns) for each, has in staged.tables)
    clauses = f"OPTIONS({expires()}) AS\nSELECT * FROM (\n  {union}\n)"
    return create_table(table, (*STAGING_COLUMNS, *columns), clauses)


def _given(columns: Sequence[Column], staged: Staged) -> str:
    """The columns of staged rows; all rows of a run have its id."""
    run_id = f"{literal(staged.run_id)} AS {RUN_ID}"
    return ", ".join(run_id if c.name == RUN_ID else quoted(c.name) for c in columns)


def _parts_of(table: TableName, has: Sequence[Column], columns: Sequence[Column]) -> str:
    there = {column.name for column in has}
    chosen = [quoted(column.name) if column.name in there else _null(column) for column in columns]
    meta = [column.name for column in STAGING_COLUMNS]
    return f"SELECT {', '.join([*meta, *chosen])} FROM {table.sql}"


def _parts_of_rejects(rejects: TableName, columns: Sequence[Column]) -> str:
    """Rejected rows as rows without parts: they win over what an earlier attempt staged."""
    meta = [ROW_ID, ATTEMPT, f"0 AS {PART}", f"0 AS {PARTS}"]
    return f"SELECT {', '.join([*meta, *map(_null, columns)])} FROM {rejects.sql}"


def _null(column: Column) -> str:
    value = "[]" if column.mode == "REPEATED" else "NULL"
    return f"CAST({value} AS {column.ddl}) AS {quoted(column.name)}"


def no_rows(columns: Sequence[Column]) -> str:
    """A SELECT of no rows in these columns, to validate what reads them."""
    values = ", ".join(map(_null, columns)) or "NULL"
    return f"SELECT {values} LIMIT 0"
