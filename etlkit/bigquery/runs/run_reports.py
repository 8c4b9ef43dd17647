"""Runs of the ledger as reports and as rows of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from etlkit.api.report import DatamartReport, State
from etlkit.api.workflow_report import RunSummary, TaskReport, TaskState, WorkflowReport
from etlkit.bigquery.runs.stored_reports import from_stored
from etlkit.bigquery.runs.workflow_events import (
    WorkflowEvents,
    add_run,
    iso,
    kind_of,
    workflow_of,
)

_TASK_STATES: dict[str, TaskState] = {"published": "succeeded", "dead": "interrupted"}

_KILLED = "the process was killed; go on with --resume"

_SHOWN = (
    "kind",
    "state",
    "run_id",
    "read",
    "written",
    "skipped",
    "rejected",
    "rows",
    "started_at",
    "finished_at",
    "seconds",
    "attempts",
    "error",
)


def task_rows(tasks: Iterable[TaskReport]) -> list[dict[str, Any]]:
    """Tasks as `etlkit runs` lists them: dicts of `task`, fields of its report, and `tasks`."""
    return [
        {
            "task": task.name,
            **{name: getattr(task, name) for name in _SHOWN},
            "tasks": task_rows(task.children),
        }
        for task in tasks
    ]


def report_of_job(row: Mapping[str, Any]) -> WorkflowReport:
    """A run of a transfer or datamart as a workflow of one task.

    Args:
        row: Of the view `runs`, with the report, and `dead` among the states.
    """
    state = row["state"]
    task = TaskReport(
        name=row["job"],
        kind="datamart" if kind_of(row["mode"]) == "datamart" else "transfer",
        state=_TASK_STATES.get(state, state),
        attempts=row["attempt"],
        **_times(row),
    )
    add_run(task, row)
    report = _report(row)
    report.tasks, report.error = [task], task.error
    report.cost, report.bytes_billed = task.cost, task.bytes_billed
    stored = json.loads(row.get("report") or "{}")
    told = from_stored(stored) if stored else None
    if isinstance(told, DatamartReport):
        report.variables, report.warnings = told.variables, told.warnings
    _say_killed(report)
    return report


def report_of_workflow(row: Mapping[str, Any], events: WorkflowEvents) -> WorkflowReport:
    """A run of a workflow, with its tasks.

    Args:
        row: Of the view `runs`, with the report, and `dead` among the states.
        events: What happened to it.
    """
    stored = json.loads(row.get("report") or "{}")
    told = workflow_of(stored or events.now)
    report = _report(row)
    report.tasks = events.task_reports(row["state"])
    report.changes = told.changes or workflow_of(events.now).changes
    report.variables = told.variables or report.variables
    report.warnings, report.queued_at = told.warnings, told.queued_at
    if row["state"] in {"running", "dead"}:
        report.seconds = _seconds_so_far(row, events)
        report.cost = _total([task.cost for task in report.tasks])
        billed = _total([task.bytes_billed for task in report.tasks])
        report.bytes_billed = None if billed is None else int(billed)
    else:
        report.cost, report.bytes_billed = told.cost, told.bytes_billed
    _say_killed(report)
    return report


def _seconds_so_far(row: Mapping[str, Any], events: WorkflowEvents) -> float:
    """From the start of the last attempt until now, or until the last sign of life in the ledger."""
    if row["state"] == "dead" and events.last_at is not None:
        since: float = (events.last_at - row["updated_at"]).total_seconds()
    else:
        since = row["age_s"] - (row["updated_at"] - row["began_at"]).total_seconds()
    return round(max(since, 0.0), 3)


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _report(row: Mapping[str, Any]) -> WorkflowReport:
    return WorkflowReport(
        run_id=row["run_id"],
        job=row["job"],
        state=cast("State", row["state"]),
        attempt=row["attempt"],
        variables={name: _text(value) for name, value in (row["variables"] or {}).items()},
        error=row["error"],
        **_times(row),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _times(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "started_at": iso(row["started_at"] or row["began_at"]),
        "finished_at": iso(row["finished_at"]),
        "seconds": row["seconds"] or 0.0,
    }


def _say_killed(report: WorkflowReport) -> None:
    if report.state != "dead":
        return
    report.error = report.error or _KILLED
    for task in report.tasks:
        if task.state == "interrupted" and task.error is None:
            task.error = "the process was killed"


def summary_of(row: Mapping[str, Any]) -> RunSummary:
    """A run for an overview.

    Args:
        row: Of the view `runs`, with `dead` among the states.
    """
    return RunSummary(
        run_id=row["run_id"],
        job=row["job"],
        kind=kind_of(row["mode"]),
        state=cast("State", row["state"]),
        began_at=row["began_at"].isoformat(),
        finished_at=iso(row["finished_at"]),
        seconds=row["seconds"],
        attempt=row["attempt"],
        target=row["target"] or "",
        read=row["read"],
        written=row["written"],
        skipped=row["skipped"],
        rejected=row["rejected"],
        rows=row["rows_published"],
        bytes_billed=row["bytes_billed"],
        cost=row["cost"],
        parent_run_id=row["parent_run_id"],
        task=row["task"],
        error=row["error"],
    )
