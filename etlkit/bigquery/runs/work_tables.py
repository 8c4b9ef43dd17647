"""The work tables that runs have left, and which of them nobody needs any more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName, parse_table, swap_name
from etlkit.bigquery.runs.finish import finish_published
from etlkit.bigquery.runs.guard import bigquery_time, find_holder, guard_name
from etlkit.bigquery.runs.history import open_ledger
from etlkit.errors import SourceError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.runs.ledger import Ledger

_WORK_TABLE = re.compile(
    r"(?:src|out|rej|cal|ans|shd|wrk|run)_(?P<run_id>\d{8}_\d{9}_[0-9a-f]{8})"
    r"(?:_rest(?:_\d+)?|_\d+(?:w[0-9a-f]{8})?_\d+|_[0-9a-f]{8}(?:_\d+)?)?"
)
"""Nothing else is ours: a dataset may hold tables of people whose names begin alike."""


def clean(run: Run, dataset: str) -> list[str]:
    """Drop the work tables that nobody needs any more.

    Those of published runs, and those of the runs of a workflow's task when the workflow is published
    or the task's job was run again. Those that were to take the place of a target, of runs that can
    no longer be resumed. Tables of a run that can still be resumed stay, as does everything that the
    ledger does not know.

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
        beside = _left_beside_targets(connection, ledger)
    ours = []
    for table in tables:
        match = _WORK_TABLE.fullmatch(table.table_id)
        if match is not None and match["run_id"] in unneeded:
            ours.append((match["run_id"], table.table_id))
    with errors_as(SourceError, "clean", "finishing published runs failed"):
        for run_id in dict.fromkeys(run_id for run_id, _ in ours if run_id in published):
            finish_published(connection, place, run_id)
    unused = [*(TableName(*place, table_id) for _, table_id in ours), *beside]
    for name in unused:
        connection.drop_work_table(name)
    return [f"{name.dataset}.{name.table}" for name in unused]


def _left_beside_targets(connection: Connection, ledger: Ledger) -> list[TableName]:
    """Tables of `allow_drop` whose runs were killed before they were published.

    They do not expire: one that is published holds the rows until it takes the target's place.
    """
    place = (ledger.runs.project, ledger.runs.dataset)
    made: dict[str, dict[TableName, str]] = {}
    for row in ledger.find("mode = @value", "delete_in_advance"):
        if row["state"] != "published":
            target = parse_table(row["target"], place[0])
            new = swap_name(target, row["run_id"])
            made.setdefault(target.dataset_id, {})[new] = row["run_id"]
    left = []
    for dataset_id, names in made.items():
        if connection.find_dataset(dataset_id) is None:
            continue
        there = {
            table.table_id for table in connection.client.list_tables(dataset_id, timeout=60.0)
        }
        left += [
            name
            for name, run_id in names.items()
            if name.table in there and connection.find_table(guard_name(place, run_id)) is None
        ]
    return left


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
