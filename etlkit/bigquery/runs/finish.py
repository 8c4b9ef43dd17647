"""Finish what is left to do after a run is published: statements, then its work tables.

A process may be killed between the transaction that publishes and this. The guard keeps the statements
until everything is done, so whoever meets the run next finishes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from etlkit.bigquery import sql
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.guard import guard_name

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection


def finish_published(connection: Connection, dataset: tuple[str, str], run_id: str) -> bool:
    """Finish a run if it is published and its guard is still there.

    Args:
        connection: To do it with.
        dataset: Project and dataset of the work tables.
        run_id: The run.

    Returns:
        Whether the run is published; False = it is not, or it has no guard.
    """
    guard = guard_name(dataset, run_id)
    if connection.find_table(guard) is None:
        return False
    rows = connection.select(sql.guard_row(guard))
    if not rows or rows[0]["state"] != "published":
        return False
    if rows[0]["cleanup"]:
        connection.query(rows[0]["cleanup"], f"cleanup_{run_id}")
    ours = re.compile(rf"(?:src|out|rej)_{re.escape(run_id)}(?:_.*)?")
    project, name = dataset
    for table in connection.client.list_tables(f"{project}.{name}", timeout=60.0):
        if ours.fullmatch(table.table_id):
            connection.drop_work_table(TableName(project, name, table.table_id))
    connection.drop_work_table(guard)
    return True
