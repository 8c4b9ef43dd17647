"""Transfers and datamarts as tasks, and what a task's `run` is wrapped in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.api.outcomes import Counts
from etlkit.api.report import PRICE_PER_TIB, TIB
from etlkit.api.run import ParentRun, Run, RunRequest
from etlkit.api.workflow_report import TaskKind, TaskReport
from etlkit.errors import RunStateError
from etlkit.workflow.python_task import PythonTask
from etlkit.workflow.table_references import datamart_tables, transfer_tables
from etlkit.workflow.task_kind import Runnable, Tables, TaskContext, short_hash
from etlkit.workflow.values import json_number

if TYPE_CHECKING:
    from etlkit.api.report import DatamartReport, DryRunReport, RunReport
    from etlkit.bigquery.datamart.plan import Plan

log = logging.getLogger("etlkit.workflow")

_J = TypeVar("_J", TransferJob, Datamart)


@dataclass(frozen=True)
class TransferTask(Runnable):
    """A transfer as a task."""

    job: TransferJob

    kind: ClassVar[TaskKind] = "transfer"

    def run(self, context: TaskContext, /) -> None:
        """Run it; go on with a run of it that an earlier attempt left unpublished."""
        from etlkit.engine.transfer import run_transfer

        # Kept for the next attempt: a time that is read again would be another query.
        if "prepared" not in context.kept:
            context.kept["prepared"] = self._prepared(context)
        job, request = context.kept["prepared"]
        scope = context.scope_of_run
        request = replace(
            request,
            resume=_unpublished(context, job, request),
            allow_code_change=scope.allow_code_change,
            parent=scope.state.child(context.path),
            shared=scope.shared,
        )
        latest = Counts()

        def on_progress(stage: str, counts: Counts, expected: int | None) -> None:
            nonlocal latest
            latest = counts
            context.progress(stage, counts, expected)

        try:
            report = run_transfer(job, request, on_start=_starter(context), on_progress=on_progress)
        except BaseException as error:
            self._fill(context.report, getattr(error, "report", None), latest)
            raise
        self._fill(context.report, report, latest)

    def dry_run(self, context: TaskContext, /) -> bool:
        """See `etlkit.dry_run_job`."""
        from etlkit.engine.dry_run import dry_run_transfer

        job, request = self._prepared(context)
        found: DryRunReport = dry_run_transfer(job, request, PRICE_PER_TIB)
        report = context.report
        report.target, report.cost = found.target, found.estimated_cost
        report.details["calls"] = found.calls
        if found.changes:
            report.details["changes"] = "\n".join(found.changes)
        if found.bytes_processed is not None:
            report.details["bytes"] = f"{found.bytes_processed:,}"
        return True

    def check(self, context: TaskContext, /) -> None:
        """See `Runnable.check`."""
        self._prepared(context)

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:
        """See `transfer_tables`."""
        return transfer_tables(self.job, variables or {})

    def fingerprint(self) -> str:
        """Changes with the transform's code, the query and the table."""
        from etlkit.engine.transform_spec import TransformSpec

        code = TransformSpec(self.job).fingerprint(self.job.source)
        return short_hash(code, repr(getattr(self.job.sink, "table", "")))

    def _prepared(self, context: TaskContext) -> tuple[TransferJob, RunRequest]:
        from etlkit.engine.expansion import expand_transfer

        now = datetime.now(UTC)
        job, values = expand_transfer(
            _labelled(self.job, context),
            queued_at=context.queued_at,
            started_at=now,
            inherited=context.values_for(self.job.variables),
            needed=context.needed,
        )
        query = getattr(job.source, "query", None)
        if isinstance(query, str):
            context.report.details["SQL"] = query
        name = context.job_name(job.name)
        context.report.job = name
        return job, RunRequest(name, context.settings, variables=values, started_at=now)

    def _fill(self, report: TaskReport, found: RunReport | None, counts: Counts) -> None:
        if found is None:
            return
        report.run_id = found.run_id or report.run_id
        report.target = found.target
        report.read, report.written = found.read, found.written
        report.skipped, report.rejected = found.skipped, found.rejected
        report.rows, report.calls = found.rows_published, found.calls
        report.cost = found.cost if self.job.currency == "USD" else None
        report.first_errors = found.first_errors
        report.rejects = dict(counts.error_classes)


@dataclass(frozen=True)
class DatamartTask(Runnable):
    """A datamart as a task. Its value is the first row of its last SELECT, in query mode."""

    job: Datamart

    kind: ClassVar[TaskKind] = "datamart"

    def run(self, context: TaskContext, /) -> None:
        """Run all of its statements."""
        from etlkit.bigquery.datamart.run import run_plan
        from etlkit.rows.json_rows import row_to_json

        def execute(plan: Plan, run: Run, report: DatamartReport) -> None:
            _starter(context)(run)
            context.report.statements = report.statements
            row = run_plan(plan, run, report, wants_row=True)
            report.state = "published"
            if row is not None:
                numbers = {k: json_number(v) for k, v in row.items() if isinstance(v, Decimal)}
                context.report.value = row_to_json({**row, **numbers})

        parent = context.scope_of_run.state.child(context.path)
        self._process(context, execute, parent)

    def dry_run(self, context: TaskContext, /) -> bool:
        """See `etlkit.check_datamart`."""
        from etlkit.bigquery.datamart.dry_run_all import check_plan

        def check(plan: Plan, run: Run, report: DatamartReport) -> None:
            context.report.statements = report.statements
            check_plan(plan, run, report, PRICE_PER_TIB)

        self._process(context, check)
        context.report.run_id = None  # there is no run
        return all(each.state == "checked" for each in context.report.statements)

    def check(self, context: TaskContext, /) -> None:
        """See `Runnable.check`."""
        from etlkit.bigquery.datamart.plan import make_plan

        make_plan(self.job, **_values(self.job, context, datetime.now(UTC)))

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:
        """See `datamart_tables`."""
        return datamart_tables(self.job, variables or {})

    def fingerprint(self) -> str:
        """Changes with the SQL and the options."""
        return short_hash(self.job.text(), repr(self.job))

    def _process(self, context: TaskContext, process: Any, parent: ParentRun | None = None) -> None:
        from etlkit.bigquery.datamart.process import process_datamart

        now = datetime.now(UTC)
        job, report = _labelled(self.job, context), context.report
        report.job = context.job_name(job.name)
        report.details["SQL"] = job.text()
        request = RunRequest(report.job, context.settings, started_at=now, parent=parent)
        try:
            found = process_datamart(job, request, _values(job, context, now), process)
        except BaseException as error:
            self._fill(report, getattr(error, "report", None))
            raise
        self._fill(report, found)

    @staticmethod
    def _fill(report: TaskReport, found: DatamartReport | None) -> None:
        if found is None:
            return
        report.run_id = found.run_id or report.run_id
        report.target, report.rows = found.target, found.rows_published
        report.bytes_billed = found.bytes_billed
        report.cost = found.estimated_cost
        if found.bytes_billed is not None:
            report.cost = round(found.bytes_billed / TIB * PRICE_PER_TIB, 6)
        if found.query_mode == "query":
            changed = [s.rows for s in found.statements if s.rows is not None]
            report.rows = sum(changed) if changed else None
        if found.warnings:
            report.details["warnings"] = "\n".join(found.warnings)


def as_runnable(run: Any) -> Runnable:
    """The `run` of a task as one of the kinds.

    Raises:
        ConfigError: It is nothing that a task can run.
    """
    if isinstance(run, Runnable):
        return run
    if isinstance(run, TransferJob):
        return TransferTask(run)
    if isinstance(run, Datamart):
        return DatamartTask(run)
    return PythonTask(run)


def _values(job: Datamart, context: TaskContext, started_at: datetime) -> dict[str, Any]:
    """Arguments of `make_plan`."""
    return {
        "queued_at": context.queued_at,
        "started_at": started_at,
        "inherited": context.values_for(job.variables),
        "needed": context.needed,
    }


def _labelled(job: _J, context: TaskContext) -> _J:
    """The job with the workflow's labels beside its own."""
    return replace(job, labels={**context.labels, **job.labels}) if context.labels else job


def _starter(context: TaskContext) -> Any:
    """What to do with a run before it begins: remember its id, and let it be stopped."""

    def on_start(run: Run) -> None:
        context.report.run_id = run.run_id
        context.on_stop(run.request_stop)

    return on_start


def _unpublished(context: TaskContext, job: TransferJob, request: RunRequest) -> str | None:
    """The run that an earlier attempt at the task left unpublished; None = there is none."""
    run_id = context.report.run_id
    if run_id is None:
        return context.scope_of_run.state.unpublished_child(context.path)
    try:
        job.sink.find_run(replace(request, resume=run_id))
    except RunStateError as error:  # it failed before it was recorded, or cannot be resumed
        log.info("task %s begins a new run: %s", "/".join(context.path), error)
        return None
    return run_id
