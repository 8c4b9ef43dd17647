"""A run of a single job as the report of a workflow with one task: one page shows them all."""

from __future__ import annotations

from etlkit.api.report import DatamartReport, RunReport, State
from etlkit.api.workflow_report import TaskReport, TaskState, WorkflowReport
from etlkit.cli.quantities import duration_text

_STATES: dict[str, TaskState] = {
    "published": "succeeded",
    "checked": "succeeded",
    "interrupted": "interrupted",
    "running": "running",
}


def as_workflow(report: WorkflowReport | RunReport | DatamartReport) -> WorkflowReport:
    """The report as that of a workflow; one of a workflow is returned as it is."""
    if isinstance(report, WorkflowReport):
        return report
    task = _transfer(report) if isinstance(report, RunReport) else _datamart(report)
    return WorkflowReport(
        run_id=report.run_id,
        job=report.job,
        state=report.state,
        tasks=[task],
        seconds=report.total_s,
        variables=report.variables if isinstance(report, DatamartReport) else {},
        bytes_billed=task.bytes_billed,
        cost=task.cost,
        warnings=report.warnings if isinstance(report, DatamartReport) else [],
        error=report.error,
    )


def _transfer(report: RunReport) -> TaskReport:
    stages = ", ".join(f"{name} {duration_text(s)}" for name, s in report.seconds.items())
    details = {"stages": stages} if stages else {}
    if report.resumed:
        details["resumed"] = f"{report.resumed:,} rows had a result from an earlier attempt"
    in_usd = report.currency == "USD"
    if report.cost is not None and not in_usd:
        details["cost"] = f"{report.cost:,.2f} {report.currency}"
    if report.retries:
        details["retries"] = f"{report.retries:,} of {report.calls:,} calls"
    return TaskReport(
        name=report.job,
        kind="transfer",
        state=_task_state(report.state),
        seconds=report.total_s,
        attempts=1,
        run_id=report.run_id,
        job=report.job,
        target=report.target,
        read=report.read,
        written=report.written,
        skipped=report.skipped,
        rejected=report.rejected,
        rows=report.rows_published,
        calls=report.calls,
        cost=report.cost if in_usd else None,
        rejects=report.error_classes if report.rejected else {},
        first_errors=report.first_errors,
        details=details,
        error=report.error,
    )


def _datamart(report: DatamartReport) -> TaskReport:
    return TaskReport(
        name=report.job,
        kind="datamart",
        state=_task_state(report.state),
        seconds=report.seconds,
        attempts=1,
        run_id=report.run_id or None,
        job=report.job,
        target=report.target,
        rows=report.rows_published,
        bytes_billed=report.bytes_billed,
        cost=report.estimated_cost,
        statements=report.statements,
        error=report.error,
    )


def _task_state(state: State) -> TaskState:
    return _STATES.get(state, "failed")
