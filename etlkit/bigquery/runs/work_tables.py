"""The work tables that runs have left, and which of them nobody needs any more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.finish import finish_published
from etlkit.bigquery.runs.guard import bigquery_time, find_holder, guard_name
from etlkit.bigquery.runs.history import open_ledger
from etlkit.errors import SourceError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.runs.ledger import Ledger

_WORK_TABLE = re.compile(
    r"(?:src|out|rej|run)_(?P<run_id>\d{8}_\d{9}_[0-9a-f]{8})(?:_rest|_\d+_\d+)?"
)
"""Nothing else is ours: a dataset may hold tables of people whose names begin alike."""


def clean(run: Run, dataset: str) -> list[str]:
    """Drop the work tables that nobody needs any more.

    Those of published runs, and those of the runs of a workflow's task when the workflow is published
    or the task's job was run again. Tables of a run that can still be resumed stay, as does
    everything that the ledger does not know.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.

    Returns:
        Names of the dropped tables.
    """
    connection, ledger = open_ledger(run, dataset)
    place = (ledger.runs.project, ledger.runs.dataset)
    if not ledger.is_made():
        return []
    with errors_as(SourceError, "clean", "listing the work tables failed"):
        tables = list(connection.client.list_tables(".".join(place), timeout=60.0))
        published = {row["run_id"] for row in ledger.find("state = @value", "published")}
        unneeded = published | _left_by_tasks(connection, ledger, published)
    ours = []
    for table in tables:
        match = _WORK_TABLE.fullmatch(table.table_id)
        if match is not None and match["run_id"] in unneeded:
            ours.append((match["run_id"], table.table_id))
    with errors_as(SourceError, "clean", "finishing published runs failed"):
        for run_id in dict.fromkeys(run_id for run_id, _ in ours if run_id in published):
            finish_published(connection, place, run_id)
    for _, table_id in ours:
        connection.drop_work_table(TableName(*place, table_id))
    return [f"{place[1]}.{table_id}" for _, table_id in ours]


def _left_by_tasks(connection: Connection, ledger: Ledger, published: set[str]) -> set[str]:
    """Runs of tasks that are not published, not at work, and will not be resumed."""
    if not ledger.has_tasks:
        return set()
    last: dict[tuple[str, str], dict[str, Any]] = {}
    left = []
    for row in ledger.find("parent_run_id IS NOT NULL"):
        key = row["parent_run_id"], row["task"]
        if key in last:
            left.append(last[key])
        last[key] = row
    left += [row for row in last.values() if row["parent_run_id"] in published]
    idle = [row["run_id"] for row in left if row["state"] != "published"]
    return {run_id for run_id in idle if not _is_alive(connection, ledger, run_id)}


def _is_alive(connection: Connection, ledger: Ledger, run_id: str) -> bool:
    guard = guard_name((ledger.runs.project, ledger.runs.dataset), run_id)
    holder = find_holder(connection, guard)
    return holder is not None and holder.is_alive(bigquery_time(connection))
