"""The ledger as people read it: runs, their state and age, and the work tables they left."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import connect, errors_as
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.ledger_table import COLUMNS
from etlkit.bigquery.runs.process_identity import is_alive
from etlkit.bigquery.source import work_dataset
from etlkit.errors import RunStateError, SourceError

if TYPE_CHECKING:
    from etlkit.api.run import Run

_WORK_TABLE = re.compile(r"(?:src|out|rej)_(?P<run_id>\d{8}_\d{9}_[0-9a-f]{8})(?:_rest|_\d+)?")
"""Nothing else is ours: a dataset may hold tables of people whose names begin alike."""


def list_runs(run: Run, dataset: str, *, limit: int) -> list[dict[str, Any]]:
    """The latest runs, newest first.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.
        limit: How many.

    Returns:
        Ledger rows with two more keys: `age_s`, seconds since the start, and `state` = `dead` for a
        run that was killed, i.e. says `running` but gives no sign of life.
    """
    return _read(run, dataset, f"SELECT * FROM {{ledger}} ORDER BY run_id DESC LIMIT {int(limit)}")


def show_run(run: Run, dataset: str, run_id: str) -> dict[str, Any]:
    """One run.

    Raises:
        RunStateError: There is none of that id.
    """
    from google.cloud import bigquery

    value = bigquery.ScalarQueryParameter("run_id", "STRING", run_id)
    rows = _read(run, dataset, "SELECT * FROM {ledger} WHERE run_id = @run_id", [value])
    if not rows:
        raise RunStateError(f"there is no run {run_id} in {dataset}.runs")
    return rows[0]


def clean(run: Run, dataset: str) -> list[str]:
    """Drop the work tables that nobody needs any more.

    Those of published runs. Tables of a run that can still be resumed stay, as does everything that
    the ledger does not know.

    Returns:
        Names of the dropped tables.
    """
    connection = connect(run)
    project, name = work_dataset(dataset, connection.project)
    if connection.find_dataset(f"{project}.{name}") is None:
        return []
    dropped = []
    with errors_as(SourceError, "clean", "listing the work tables failed"):
        tables = list(connection.client.list_tables(f"{project}.{name}"))
    states = {row["run_id"]: row["state"] for row in _read(run, dataset, "SELECT * FROM {ledger}")}
    for table in tables:
        match = _WORK_TABLE.fullmatch(table.table_id)
        if match is not None and states.get(match["run_id"]) == "published":
            connection.drop_work_table(TableName(project, name, table.table_id))
            dropped.append(f"{name}.{table.table_id}")
    return dropped


def _read(
    run: Run, dataset: str, sql: str, parameters: list[Any] | None = None
) -> list[dict[str, Any]]:
    connection = connect(run)
    ledger = TableName(*work_dataset(dataset, connection.project), "runs")
    if connection.find_table(ledger) is None:
        return []
    with errors_as(SourceError, "ledger", f"reading {ledger} failed"):
        job = connection.query(
            sql.format(ledger=ledger.sql), f"history_{abs(hash(sql))}", parameters=parameters
        )
        rows = [dict(row) for row in job.result(retry=connection.retry())]
    now = datetime.now(UTC)
    for row in rows:
        for column in COLUMNS:
            row.setdefault(column.name, None)
        if row["state"] in {"starting", "running"} and not is_alive(row):
            row["state"] = "dead"
        row["age_s"] = round((now - row["started_at"]).total_seconds(), 1)
    return rows
