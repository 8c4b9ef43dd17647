"""The table of rejected rows beside a target, and how a run fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.bigquery.names import TableName
from etlkit.bigquery.publish.staging import REJECT_COLUMNS
from etlkit.bigquery.sql.rejects import forget_rejects, insert_rejects
from etlkit.bigquery.sql.staging import Staged, finished_ids
from etlkit.bigquery.table_definition import plain_table
from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection

REJECTS_COLUMNS = (
    Column("run_id", "STRING", "REQUIRED", description="The run that rejected the row"),
    Column("row_id", "STRING", "REQUIRED", description="The row's id in that run"),
    *REJECT_COLUMNS,
)


def rejects_table(target: TableName) -> TableName:
    """Where a target's rejected rows are."""
    return TableName(target.project, target.dataset, f"{target.table}_rejects")


def reject_statements(
    connection: Connection, run: Run, staged: Staged, rejects: TableName
) -> list[str]:
    """The DML that adds a run's rejected rows to their table, which is made if it is missing.

    If the run is one of rejected rows, those that have an outcome now are removed from there.
    """
    statements = []
    if staged.rejects is not None:
        connection.make_table(plain_table(rejects, REJECTS_COLUMNS))
        statements.append(insert_rejects(rejects, staged, run.run_id, REJECT_COLUMNS))
    if run.retry_of is not None and (staged.tables or staged.rejects):
        finished = finished_ids(staged)
        statements.append(forget_rejects(rejects, run.retry_of, finished))
    return statements
