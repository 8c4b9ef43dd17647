"""Dry run of a workflow: the order of its tasks, what would be refused, and the cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from etlkit.api.report import error_text
from etlkit.api.workflow_report import TaskReport, TaskState, WorkflowReport
from etlkit.api.workflow_state import WorkflowState, task_text
from etlkit.calls.shared import SharedCalls
from etlkit.errors import EtlkitError, WorkflowError
from etlkit.variables.definitions import Value
from etlkit.workflow.definition import Workflow
from etlkit.workflow.graph_run import failed_names, task_reports
from etlkit.workflow.precheck import check_tasks, child_context, first_context, outermost_context
from etlkit.workflow.run_scope import sum_up
from etlkit.workflow.selection import Selection
from etlkit.workflow.task import Task
from etlkit.workflow.task_kind import TaskContext

log: logging.Logger = logging.getLogger("etlkit.workflow")


class DryScope:
    """The `Scope` of a dry run: it has no run.

    Attributes:
        shared: Nothing is called.
        allow_code_change: Nothing is resumed.
    """

    allow_code_change = False

    def __init__(self) -> None:
        self.shared: SharedCalls = SharedCalls()

    @property
    def state(self) -> WorkflowState:
        """A dry run has none."""
        raise AssertionError("a dry run remembers nothing")

    def run_child(self, _workflow: Any, _context: TaskContext, /) -> NoReturn:
        """A dry run runs nothing."""
        raise AssertionError("a dry run runs nothing")

    def dry_run_child(self, workflow: Workflow, context: TaskContext, /) -> bool:
        """See `Scope.dry_run_child`."""
        reports = dry_run_tasks(workflow, child_context(workflow, context), frozenset())
        context.report.children = list(reports.values())
        sum_up(context.report, reports)
        if failed := [each for each in reports.values() if each.state == "failed"]:
            raise WorkflowError(
                "; ".join(f"{each.name}: {each.error}" for each in failed),
                failed=tuple(name for each in failed for name in failed_names(each)),
            )
        return all(each.state in {"checked", "skipped"} for each in reports.values())


def dry_run(
    workflow: Workflow,
    name: str,
    settings: Any,
    variables: Mapping[str, Any],
    *,
    queued_at: datetime | None = None,
    selection: Selection | None = None,
) -> WorkflowReport:
    """Check a workflow as far as that is possible before its tasks have run. Nothing is written.

    Args:
        workflow: What to check.
        name: Its name.
        settings: Project, location and environment.
        variables: Values of its variables.
        queued_at: Time from which they count; None = now.
        selection: Which tasks would run; None = all.

    Returns:
        The report, state `checked`, with the tasks in an order in which they could run.

    Raises:
        ConfigError: The description, a variable or a name of a task is wrong.
        WorkflowError: A task would be refused; the attribute `report` has all of them.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    skipped = (selection or Selection()).skipped(workflow.graph, resumes=False)
    scope = DryScope()
    outer = outermost_context(workflow, name, settings, variables, queued_at or now, scope)
    check_tasks(workflow, outer, skipped)
    report = WorkflowReport(
        run_id="",
        job=name,
        state="checked",
        started_at=now.isoformat(timespec="milliseconds"),
        queued_at=outer.queued_at.isoformat(),
        variables={name: Value(value).text for name, value in outer.variables.items()},
    )
    reports = dry_run_tasks(workflow, outer, skipped)
    report.tasks = list(reports.values())
    report.seconds = round(time.monotonic() - began, 3)
    report.finished_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    total = TaskReport(name="", kind="workflow")
    sum_up(total, reports)
    report.cost = total.cost
    if failed := [each for each in report.tasks if each.state == "failed"]:
        report.state = "failed"
        report.error = "\n".join(f"task {each.name!r}: {each.error}" for each in failed)
        error = WorkflowError(
            report.error, failed=tuple(name for each in failed for name in failed_names(each))
        )
        error.report = report  # type: ignore[attr-defined]
        raise error
    return report


def dry_run_tasks(
    workflow: Workflow, outer: TaskContext, skipped: frozenset[str]
) -> dict[str, TaskReport]:
    """Check all tasks, one after the other; those that would be refused say why."""
    reports = task_reports(workflow, skipped)
    for name, report in reports.items():
        if report.state == "skipped":
            continue
        task = workflow.graph.tasks[name]
        started = time.monotonic()
        has_earlier = bool(outer.path or workflow.graph.before[name])
        report.state = _checked(task, outer, report, has_earlier=has_earlier)
        report.seconds = round(time.monotonic() - started, 3)
        log.info("%s: %s", task_text((*outer.path, name)), report.error or report.state)
    return reports


def _checked(task: Task, outer: TaskContext, report: TaskReport, *, has_earlier: bool) -> TaskState:
    """The state of a task after its check."""
    from etlkit.bigquery.datamart.dry_run_all import is_not_there_yet

    try:
        return "checked" if _check(task, outer, report) else "unchecked"
    except EtlkitError as error:
        report.error = error_text(error)
        if has_earlier and is_not_there_yet(str(error)):
            report.error = f"needs what an earlier task makes: {report.error}"
            return "unchecked"
        return "failed"


def _check(task: Task, outer: TaskContext, report: TaskReport) -> bool:
    if task.loop is not None and task.loop.query is not None:
        report.details["loop"] = "the rows of a query tell its iterations"
        return False
    context = first_context(task, outer)
    context.report = report
    if task.loop is not None:
        count = len(task.loop.iterations(outer.queued_at))
        report.details["loop"] = (
            f"{count:,} iterations; the first one, {context.path[-1]}, is checked"
        )
    return task.runnable.dry_run(context) and not context.stand_ins
