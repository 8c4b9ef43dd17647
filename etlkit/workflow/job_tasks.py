"""Transfers and datamarts as tasks, and what a task's `run` is wrapped in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.api.report import PRICE_PER_TIB
from etlkit.api.run import ParentRun, Run, RunRequest
from etlkit.api.workflow_report import TaskKind, TaskReport
from etlkit.errors import RunStateError
from etlkit.workflow.python_task import PythonTask
from etlkit.workflow.table_references import datamart_tables, transfer_tables
from etlkit.workflow.task_kind import Runnable, Tables, TaskContext, short_hash

if TYPE_CHECKING:
    from etlkit.api.report import DatamartReport, DryRunReport, RunReport
    from etlkit.bigquery.datamart.plan import Plan

log: logging.Logger = logging.getLogger("etlkit.workflow")

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
        with _told(context.report) as tell:
            tell(
                run_transfer(job, request, on_start=_starter(context), on_progress=context.progress)
            )

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


@dataclass(frozen=True)
class DatamartTask(Runnable):
    """A datamart as a task. Its value is the first row of its last SELECT, in query mode."""

    job: Datamart

    kind: ClassVar[TaskKind] = "datamart"

    def run(self, context: TaskContext, /) -> None:
        """Run all of its statements."""
        from etlkit.bigquery.datamart.run import run_plan

        def execute(plan: Plan, run: Run, report: DatamartReport) -> None:
            _starter(context)(run)
            context.report.statements = report.statements
            run_plan(plan, run, report, wants_row=True)
            report.state = "published"

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
        with _told(report) as tell:
            tell(process_datamart(job, request, _values(job, context, now), process))


@contextmanager
def _told(task: TaskReport) -> Iterator[Callable[[RunReport | DatamartReport], None]]:
    """Take the report of the task's job over, also from the error that ends it."""
    try:
        yield task.add_run
    except BaseException as error:
        report = getattr(error, "report", None)
        if report is not None:
            task.add_run(report)
        raise


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


def _starter(context: TaskContext) -> Callable[[Run], None]:
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
