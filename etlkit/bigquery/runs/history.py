"""The ledger as people read it: runs, their state and age.

Runs of workflows stand with their tasks, and any run can be told as a report.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from etlkit.api.report import RunReport
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import work_dataset
from etlkit.bigquery.runs.guard import find_holder, guard_name
from etlkit.bigquery.runs.ledger import ON_REQUEST, VIEW_COLUMNS, WORKFLOW, Ledger
from etlkit.bigquery.runs.run_reports import (
    report_of_job,
    report_of_workflow,
    summary_of,
    task_rows,
)
from etlkit.bigquery.runs.stored_reports import from_stored
from etlkit.bigquery.runs.workflow_events import WorkflowEvents
from etlkit.bigquery.shards.run_workers import RunWorkers, find_workers
from etlkit.errors import SourceError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.api.workflow_report import RunSummary, WorkflowReport


def list_runs(run: Run, dataset: str, *, limit: int) -> list[dict[str, Any]]:
    """The latest runs, newest first; those of workflows with their tasks.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.
        limit: How many. Runs of a workflow's tasks stand below it and do not count.

    Returns:
        Rows of the ledger's view `runs` without `report`, and with three changes: `age_s`, seconds
        since the start; `state` = `dead` for a run that was killed, i.e. is `running` but gives no
        sign of life; `tasks` of a workflow, see `task_rows`.
    """
    connection, ledger = open_ledger(run, dataset)
    if not ledger.is_made():
        return []
    with errors_as(SourceError, "ledger", f"reading {ledger.runs} failed"):
        own = "TRUE" if not ledger.has_tasks else "parent_run_id IS NULL"
        rows = [_shown(connection, ledger, row) for row in ledger.find(own, latest=limit)]
        workflows = [row["run_id"] for row in rows if row["mode"] == WORKFLOW]
        events = WorkflowEvents.read_many(ledger, workflows, values=False) if workflows else {}
    for row in rows:
        if row["run_id"] in events:
            row["tasks"] = task_rows(events[row["run_id"]].task_reports(row["state"]))
    return rows


def show_run(run: Run, dataset: str, run_id: str) -> dict[str, Any]:
    """One run, as in `list_runs`; of a workflow with all tasks of its graph.

    A run that workers share has them as `workers`, and as `all_workers` what they have done together.

    Raises:
        RunStateError: There is none of that id.
    """
    connection, ledger = open_ledger(run, dataset)
    with errors_as(SourceError, "ledger", f"reading {ledger.runs} failed"):
        row = _shown(connection, ledger, _find(ledger, run_id, reports=True))
        report = row.pop("report", None)
        if row["mode"] == WORKFLOW:
            events = WorkflowEvents.read(ledger, run_id)
            row["tasks"] = task_rows(events.task_reports(row["state"]))
        else:
            row |= _workers(connection, ledger, row, report)
    return row


def _workers(
    connection: Connection, ledger: Ledger, row: dict[str, Any], report: str | None
) -> dict[str, Any]:
    """What is known of the workers of a run; empty = one process alone has it."""
    if row["state"] == "published":
        told = from_stored(json.loads(report)) if report else None
        workers = told.workers if isinstance(told, RunReport) else []
        return RunWorkers(workers).to_dict() if workers else {}
    found = find_workers(connection, (ledger.runs.project, ledger.runs.dataset), row["run_id"])
    return {} if found is None else found.to_dict()


def workflow_report(run: Run, dataset: str, run_id: str) -> WorkflowReport:
    """Tell any run of the ledger as the report of a workflow, whether it has ended or not.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.
        run_id: The run. One of a transfer or datamart becomes a workflow of one task.

    Raises:
        RunStateError: There is none of that id.
    """
    connection, ledger = open_ledger(run, dataset)
    with errors_as(SourceError, "ledger", f"reading {ledger.runs} failed"):
        row = _shown(connection, ledger, _find(ledger, run_id, reports=True))
        if row["mode"] != WORKFLOW:
            return report_of_job(row)
        return report_of_workflow(row, WorkflowEvents.read(ledger, run_id))


def runs_of_period(run: Run, dataset: str, *, days: int = 30) -> list[RunSummary]:
    """The runs that began in the last days, oldest first, those of tasks among them.

    Args:
        run: For its settings and clients.
        dataset: The work dataset.
        days: How many.
    """
    connection, ledger = open_ledger(run, dataset)
    if not ledger.is_made():
        return []
    since = f"began_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {int(days)} DAY)"
    with errors_as(SourceError, "ledger", f"reading {ledger.runs} failed"):
        return [summary_of(_shown(connection, ledger, row)) for row in ledger.find(since)]


def _find(ledger: Ledger, run_id: str, *, reports: bool = False) -> dict[str, Any]:
    found = ledger.is_made()
    rows = ledger.find("run_id = @value", run_id, reports=reports) if found else []
    if not rows:
        raise ledger.no_run(run_id)
    return rows[0]


def open_ledger(run: Run, dataset: str) -> tuple[Connection, Ledger]:
    """The run's connection, and the ledger of a work dataset."""
    connection = connect(run)
    return connection, Ledger(connection, work_dataset(dataset, connection.project))


def _shown(connection: Connection, ledger: Ledger, row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in VIEW_COLUMNS if name not in ON_REQUEST or row[name]}
    shown["age_s"] = round((row["now"] - row["began_at"]).total_seconds(), 1)
    if row["state"] == "running":
        dataset = (ledger.runs.project, ledger.runs.dataset)
        holder = find_holder(connection, guard_name(dataset, row["run_id"]))
        if holder is None or not holder.is_alive(row["now"]):
            shown["state"] = "dead"
    return shown
