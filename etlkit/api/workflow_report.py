"""The reports of a workflow and of its tasks, and who is told of them while it runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from etlkit.api import html
from etlkit.api.outcomes import Counts
from etlkit.api.report import (
    PRICE_PER_TIB,
    TIB,
    DatamartReport,
    RunReport,
    State,
    StatementReport,
)

TaskKind = Literal[
    "transfer", "datamart", "check", "http", "webhook", "workflow", "python", "dbt", "branch"
]
"""What a task runs; `branch` is an `IfElse`, `python` a callable."""

TaskState = Literal[
    "waiting",
    "running",
    "succeeded",
    "failed",
    "interrupted",
    "bypassed",
    "skipped",
    "not_run",
    "checked",
    "unchecked",
]
"""Where a task is, or how it ended.

`waiting` is also a failed task that waits for its next attempt. `bypassed`: it is on the branch that
was not taken. `skipped`: the command line left it out. `not_run`: a task before it failed, or the
workflow was stopped first. After a dry run `checked`, or `unchecked`: it cannot be checked, or needs
what an earlier task makes.
"""

FINISHED: tuple[TaskState, ...] = ("succeeded", "bypassed", "skipped")
"""States of a task that a resumed run does not run again; a skipped one keeps its state."""


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """An attempt at a task that failed and was followed by another one.

    Attributes:
        started_at: When it began, ISO 8601 with UTC offset.
        finished_at: When it failed, in the same form.
        error: Why.
    """

    started_at: str
    finished_at: str
    error: str


@dataclass(kw_only=True)
class TaskReport:
    """One task of one run of a workflow.

    Attributes:
        name: The task's name, unique within its workflow.
        kind: What it runs.
        state: See `TaskState`.
        after: The tasks that must end before it: name to `""`, or to `then` or `otherwise` if the
            edge is a branch of an `IfElse`.
        started_at: When its last attempt began, ISO 8601 with UTC offset; None = it did not begin.
        finished_at: When it ended, in the same form; None = it did not end.
        seconds: Duration of its last attempt.
        attempts: Attempts made in this run of the workflow, 0 = none.
        failed_attempts: The attempts before the last one, oldest first.
        from_earlier: Whether an earlier attempt at the workflow's run finished it.
        run_id: Id of the run of a transfer, datamart or child workflow in the ledger; None = it has
            none.
        job: Name of that job; empty = it is none.
        target: Where its rows went; empty = no one place.
        read: Source rows read by a transfer; None = the task has no such rows; the same for the next.
        written: Source rows written.
        skipped: Source rows left out by the transform.
        rejected: Source rows rejected with their error.
        rows: Rows published, or changed and returned by SQL.
        calls: Calls to services.
        bytes_billed: Bytes that BigQuery billed; None = not known.
        cost: Cost of its calls and bytes in USD; None = not known.
        value: What other tasks can read of it: the number of a check, the return value of a callable,
            the first row of a datamart, the answer of a request. JSON values only.
        branch: `then` or `otherwise`, for an `IfElse`; None = any other task.
        statements: Of a datamart.
        rejects: Rejected rows by class of error.
        first_errors: The first few row errors of a transfer.
        details: More for people, title to text, e.g. the SQL of a check.
        children: Iterations of a loop, tasks of a child workflow, models and tests of dbt.
        fingerprint: A text that changes with the definition of what it runs; empty = not known.
        error: Why it failed; None = it did not.
    """

    name: str
    kind: TaskKind
    state: TaskState = "waiting"
    after: dict[str, str] = field(default_factory=dict)
    started_at: str | None = None
    finished_at: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    failed_attempts: list[FailedAttempt] = field(default_factory=list)
    from_earlier: bool = False
    run_id: str | None = None
    job: str = ""
    target: str = ""
    read: int | None = None
    written: int | None = None
    skipped: int | None = None
    rejected: int | None = None
    rows: int | None = None
    calls: int | None = None
    bytes_billed: int | None = None
    cost: float | None = None
    value: Any = None
    branch: Literal["then", "otherwise"] | None = None
    statements: list[StatementReport] = field(default_factory=list)
    rejects: dict[str, int] = field(default_factory=dict)
    first_errors: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)
    children: list[TaskReport] = field(default_factory=list)
    fingerprint: str = ""
    error: str | None = None

    def add_run(self, report: RunReport | DatamartReport) -> None:
        """Take over what the report of the task's job tells: its run, counts, cost, value and error.

        State, times and attempts are the task's own, and stay.
        """
        self.run_id, self.job = report.run_id or self.run_id, report.job
        self.target, self.error = report.target, report.error
        if isinstance(report, DatamartReport):
            self._add_statements(report)
        else:
            self._add_rows(report)

    def _add_rows(self, report: RunReport) -> None:
        in_usd = report.currency == "USD"
        self.read, self.written = report.read, report.written
        self.skipped, self.rejected = report.skipped, report.rejected
        self.rows, self.calls = report.rows_published, report.calls
        self.cost = report.cost if in_usd else None
        self.first_errors = list(report.first_errors)
        self.rejects = dict(report.error_classes) if report.rejected else {}
        if report.resumed:
            told = f"{report.resumed:,} rows had a result from an earlier attempt"
            self.details["resumed"] = told
        if report.reused:
            self.details["reused"] = f"{report.reused:,} rows are known from earlier runs"
        if report.retries:
            self.details["retries"] = f"{report.retries:,} of {report.calls:,} calls"
        if report.cost is not None and not in_usd:
            self.details["cost"] = f"{report.cost:,.2f} {report.currency}"
        if report.seconds:
            stages = (f"{name} {seconds:.1f} s" for name, seconds in report.seconds.items())
            self.details["stages"] = ", ".join(stages)

    def _add_statements(self, report: DatamartReport) -> None:
        counted = [each.rows for each in report.statements if each.rows is not None]
        self.rows = report.rows_published
        if self.rows is None and counted:
            self.rows = sum(counted)
        self.statements = list(report.statements)
        self.bytes_billed, self.cost = report.bytes_billed, report.estimated_cost
        if report.bytes_billed is not None:
            self.cost = round(report.bytes_billed / TIB * PRICE_PER_TIB, 6)
        self.value = report.first_row
        if report.warnings:
            self.details["warnings"] = "\n".join(report.warnings)


@dataclass(kw_only=True)
class WorkflowReport:
    """The outcome of one run of a workflow.

    Attributes:
        run_id: The run's id in the ledger.
        job: The workflow's name.
        state: `published` when every task that had to run has succeeded; `failed` or `interrupted`;
            `checked` after a dry run; from the ledger also `running` or `dead`.
        tasks: In an order that respects the edges.
        attempt: 1, and one more at every resume.
        started_at: When this attempt began, ISO 8601 with UTC offset.
        finished_at: When it ended; None = it is running, or was killed.
        seconds: Duration of this attempt.
        queued_at: Time from which `Timestamp` variables and periods of loops count, in the same
            form; a resumed run keeps it.
        variables: The value of each variable, as text.
        changes: What differs from the graph with which the run began, one sentence each.
        bytes_billed: Of all tasks; None = none is known.
        cost: Of all tasks in USD; None = none is known.
        warnings: E.g. a webhook that did not answer.
        error: Why the run failed; None = it did not.
    """

    run_id: str
    job: str
    state: State = "failed"
    tasks: list[TaskReport] = field(default_factory=list)
    attempt: int = 1
    started_at: str | None = None
    finished_at: str | None = None
    seconds: float = 0.0
    queued_at: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    bytes_billed: int | None = None
    cost: float | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def total_s(self) -> float:
        """Duration of the run, in seconds."""
        return self.seconds

    def to_json(self) -> str:
        """The report as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, default=str)

    def _repr_html_(self) -> str:
        """The report for a notebook."""
        names = (
            "task",
            "state",
            "read",
            "written",
            "skipped",
            "rejected",
            "rows",
            "seconds",
            "error",
        )
        rows = [
            (
                task.name,
                html.Html(html.state(task.state)),
                task.read,
                task.written,
                task.skipped,
                task.rejected,
                task.rows,
                task.seconds or None,
                task.error,
            )
            for task in self.tasks
        ]
        return html.page_of(
            html.headline(html.text(self.job), html.state(self.state)),
            html.error(self.error),
            html.table(names, rows),
            html.headline(html.text(f"run {self.run_id}, {self.seconds:.1f} s")),
        )


JobKind = Literal["transfer", "datamart", "workflow"]
"""What a run of the ledger is a run of."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run of the ledger, for an overview of many.

    Attributes:
        run_id: Its id.
        job: Name of the job or workflow.
        kind: What it is.
        state: Where it is; see `State`.
        began_at: When it began, ISO 8601 with UTC offset, by BigQuery's clock.
        finished_at: When its last attempt ended, in the same form; None = it runs, or is dead.
        seconds: Duration of its last attempt; None = not known.
        attempt: 1, and one more at every resume.
        target: Where its rows went; empty = no one place.
        read: Source rows read; None = it has none; the same for the next ones.
        written: Source rows written.
        skipped: Source rows left out by the transform.
        rejected: Source rows rejected with their error.
        rows: Rows published; of a workflow, of all its tasks.
        bytes_billed: Bytes that BigQuery billed; None = not known.
        cost: Cost of its calls and bytes in USD; None = not known.
        parent_run_id: The workflow's run whose task it is; None = it stands for itself.
        task: The task's path, `load/2024-01-02`; None as above.
        error: Why it failed; None = it did not.
    """

    run_id: str
    job: str
    kind: JobKind
    state: State
    began_at: str
    finished_at: str | None = None
    seconds: float | None = None
    attempt: int = 1
    target: str = ""
    read: int | None = None
    written: int | None = None
    skipped: int | None = None
    rejected: int | None = None
    rows: int | None = None
    bytes_billed: int | None = None
    cost: float | None = None
    parent_run_id: str | None = None
    task: str | None = None
    error: str | None = None


class WorkflowObserver(Protocol):
    """Is told what happens in a workflow while it runs. Called from several threads."""

    def task_changed(self, path: tuple[str, ...], report: TaskReport, /) -> None:
        """A task began or ended.

        Args:
            path: Names from the outermost workflow's task down to this one.
            report: The task as it is now.
        """

    def task_progress(
        self, path: tuple[str, ...], stage: str, counts: Counts, expected: int | None, /
    ) -> None:
        """A transfer within the workflow went on. See `etlkit.api.report.Progress`."""
