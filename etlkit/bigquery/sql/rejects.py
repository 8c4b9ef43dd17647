"""Rejected rows: kept beside the target, frozen for a retry, and taken out once they are finished."""

from __future__ import annotations

from collections.abc import Sequence

from etlkit.api.source import ROW_ID
from etlkit.bigquery.names import TableName, literal
from etlkit.bigquery.sql.dml import names_of
from etlkit.bigquery.sql.expiration import expires
from etlkit.bigquery.sql.staging import ATTEMPT, Staged, outcomes
from etlkit.rows.columns import Column


def snapshot_rejects(table: TableName, rejects: TableName, limit: int | None, *, only: bool) -> str:
    """Freeze the rows that run `@run_id` rejected, or those of error class `@only` among them."""
    chosen = " AND error_class = @only" if only else ""
    bound = "" if limit is None else f" LIMIT {limit}"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} OPTIONS({expires()}) AS\n"
        f"SELECT row_id AS {ROW_ID}, source_row FROM {rejects.sql}\n"
        f"WHERE run_id = @run_id{chosen}{bound}"
    )


def forget_rejects(rejects: TableName, run_id: str, finished_ids: str) -> str:
    """Take rows that a later run has finished out of the rejected rows of an earlier one."""
    return (
        f"DELETE FROM {rejects.sql} WHERE run_id = {literal(run_id)}\n"
        f"AND row_id IN (\n{finished_ids}\n)"
    )


def insert_rejects(
    rejects: TableName, staged: Staged, run_id: str, columns: Sequence[Column]
) -> str:
    """Add the rejected rows of a run to the target's table of rejected rows, each once."""
    if staged.rejects is None:
        raise ValueError("no row was rejected")
    names = names_of(columns)
    return (
        f"INSERT INTO {rejects.sql} (run_id, row_id, {names})\n"
        f"SELECT {literal(run_id)}, {ROW_ID}, {names} FROM {staged.rejects.sql}\n"
        f"WHERE {ROW_ID} IN (\n"
        f"  SELECT {ROW_ID} FROM (\n{outcomes(staged)}\n) WHERE rejected\n)\n"
        f"QUALIFY ROW_NUMBER() OVER (\n"
        f"    PARTITION BY {ROW_ID} ORDER BY {ATTEMPT} DESC, rejected_at) = 1"
    )
