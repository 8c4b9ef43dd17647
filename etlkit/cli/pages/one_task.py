"""A run of a single job as the report of a workflow with one task: one page shows them all."""

from __future__ import annotations

from etlkit.api.report import DatamartReport, RunReport
from etlkit.api.workflow_report import TaskKind, TaskReport, TaskState, WorkflowReport

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
    kind: TaskKind = "transfer" if isinstance(report, RunReport) else "datamart"
    task = TaskReport(
        name=report.job,
        kind=kind,
        state=_STATES.get(report.state, "failed"),
        seconds=report.total_s,
        attempts=1,
    )
    task.add_run(report)
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
