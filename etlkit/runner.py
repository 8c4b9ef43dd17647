"""Run jobs from Python, on Google Cloud or in the local world. The command line is made of this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.api.report import PRICE_PER_TIB

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.job import TransferJob
    from etlkit.api.rehearsal_report import RehearsalReport
    from etlkit.api.report import DatamartReport, DryRunReport, Progress, RunReport
    from etlkit.api.run import ParentRun, Run, RunRequest, Settings
    from etlkit.api.scheduler_task import SchedulerTask
    from etlkit.api.workflow_report import WorkflowObserver, WorkflowReport
    from etlkit.api.workflow_state import WorkflowState
    from etlkit.bigquery.datamart.plan import Plan
    from etlkit.bigquery.datamart.run import ShowRows
    from etlkit.engine.preview import Preview
    from etlkit.engine.worker_launcher import WorkerLauncher
    from etlkit.local.local_world import LocalWorld
    from etlkit.open_lineage.facts import SourcesOf
    from etlkit.rows.columns import Column
    from etlkit.workflow.definition import Workflow
    from etlkit.workflow.workflow_run import WorkflowRun


def run_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_start: Callable[[Run], None] | None = None,
    limit: int | None = None,
    resume: str | None = None,
    allow_code_change: bool = False,
    retry_rejects: str | None = None,
    only: str | None = None,
    on_progress: Progress | None = None,
    parent: ParentRun | None = None,
    journal: str | None = None,
    fresh: bool = False,
    reuse_across_code: bool = False,
    workers: int | None = None,
    scheduler_task: SchedulerTask | None = None,
    engine: str | None = None,
    engine_args: Mapping[str, str] | None = None,
) -> RunReport:
    """Run a transfer once.

    Args:
        job: What to run.
        name: The job's name if it has none of its own; None = that of its module or script.
        settings: Project, location and environment; None = those of `environment()`.
        variables: Values of custom variables for this run.
        loop: Values of one iteration of a loop; they take precedence over `variables`.
        queued_at: Time from which `Timestamp` variables count, an aware time; None = now.
        on_start: Called with the run before it begins, e.g. to keep its `request_stop`.
        limit: Source rows to read at most; None = all.
        resume: Id of an unpublished run to continue, `"last"`, or `"auto"`: the last run if it did
            not publish, else a new one. None = a new run.
        allow_code_change: Resume although code or query changed.
        retry_rejects: Id of a run whose rejected rows to run again, and no others.
        only: Of those, only the rows with this class of error; None = all.
        on_progress: Called often with stage and counts; None = progress is shown in a notebook, and
            nowhere else.
        parent: The workflow's run whose task this is; None = it stands for itself.
        journal: Folder for the journals of unpublished runs, or `off`; None = as the job says.
        fresh: Call for every row, also for those that are known from earlier runs.
        reuse_across_code: Take results of earlier runs although other code has made them.
        workers: Processes that share the run; None = as the job says.
        scheduler_task: Which of several tasks this is that share the run; None = it is none. `resume`
            then counts for the task that begins the run, and `on_start` is called with each run that
            this task has a part in.
        engine: Where they run: `beam` or `ray`; None = on this machine. Without a number of workers
            there are as many as the engine has processors.
        engine_args: The engine's own options, e.g. `{"runner": "DataflowRunner", "region": …}` or
            `{"address": …}`.

    Returns:
        The report, state `published`.

    Raises:
        EtlkitError: The run failed; its attribute `report` is a `RunReport`.
        KeyboardInterrupt: The run was interrupted; it has the same attribute. An `Interrupted` run
            can be resumed.
    """
    from etlkit.engine.read_back import rows_reader
    from etlkit.engine.scheduler_task import run_task
    from etlkit.engine.transfer import run_transfer
    from etlkit.engine.worker_count import num_workers, num_workers_of_task
    from etlkit.errors import ConfigError
    from etlkit.notebook import notebook_progress

    job, request = _request(job, name, settings, _Given(variables, loop, queued_at))
    launch = None
    if retry_rejects is None:
        launch = _launcher(job, request, workers, engine, engine_args)
    else:
        if engine is not None:
            raise ConfigError("rejected rows are run again by one process, not on an engine")
        job = replace(job, source=job.sink.rejected_rows(job.source, retry_rejects, only))
    request = replace(
        request,
        limit=limit,
        resume=resume,
        allow_code_change=allow_code_change,
        retry_of=retry_rejects,
        parent=parent,
        journal=journal,
        fresh=fresh,
        reuse_across_code=reuse_across_code,
        num_workers=num_workers(job, workers, engine) if retry_rejects is None else None,
        scheduler_task=scheduler_task,
    )
    if scheduler_task is not None:
        if engine is not None:
            raise ConfigError("the tasks of a scheduler are workers already: leave out the engine")
        request = replace(request, num_workers=num_workers_of_task(job, request))
    try:
        with _watched():
            progress = on_progress or notebook_progress(request.job_name)
            run = run_transfer
            if scheduler_task is not None:
                run = partial(run_task, task=scheduler_task)
            report = run(job, request, on_start=on_start, on_progress=progress, launch=launch)
    except BaseException as error:
        failed = getattr(error, "report", None)
        if failed is not None:
            failed.with_reader(rows_reader(job, request, failed))
        raise
    report.with_reader(rows_reader(job, request, report))
    return report


def preview_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    limit: int = 10,
    on_start: Callable[[Run], None] | None = None,
) -> Preview:
    """Run a few rows of a transfer and write nothing.

    Args:
        job: What to preview.
        name: As in `run_job`; likewise the next four.
        settings: See there.
        variables: See there.
        loop: See there.
        queued_at: See there.
        limit: Source rows to read at most.
        on_start: See there.

    Returns:
        The rows before and after, and the errors of those that failed.

    Raises:
        EtlkitError: The source cannot be read, or the transform failed outside of a row.
    """
    from etlkit.engine.preview import preview_transfer

    job, request = _request(job, name, settings, _Given(variables, loop, queued_at))
    return preview_transfer(job, replace(request, limit=limit), on_start)


def rehearse_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_start: Callable[[Run], None] | None = None,
    on_progress: Progress | None = None,
    num_rows: int = 100,
    seed: int = 0,
    keep_table: bool = False,
    fresh: bool = False,
) -> RehearsalReport:
    """Run a random sample of a transfer's rows from end to end, into a table that is thrown away.

    Calls are real. If the job has `reuse`, the sample is one of the rows that are not known yet, and
    the results are kept for the job's real runs.

    Args:
        job: What to rehearse; its sink is a `BigQuerySink`.
        name: As in `run_job`; likewise the next six.
        settings: See there.
        variables: See there.
        loop: See there.
        queued_at: See there.
        on_start: See there.
        on_progress: See there.
        num_rows: Rows of the sample, at most.
        seed: Another one gives other rows.
        keep_table: Keep the throw-away table until it expires, after 7 days.
        fresh: Call for every row of the sample, also for those that are known from earlier runs.

    Returns:
        What the rows did, and what a run of all rows would take.

    Raises:
        EtlkitError: A run would be refused, or the rehearsal failed; then its attribute `report` is a
            `RehearsalReport`.
        KeyboardInterrupt: It was interrupted; it has the same attribute.
    """
    from etlkit.api.sink import Findings
    from etlkit.api.source import Sampling
    from etlkit.bigquery.rehearsal import rehearsal_job
    from etlkit.engine.rehearsal import Rehearsed, rehearse_transfer
    from etlkit.engine.reuse import plan_reuse
    from etlkit.engine.sample import SampledRows
    from etlkit.engine.transform_spec import TransformSpec

    job, request = _request(job, name, settings, _Given(variables, loop, queued_at))
    sampling, findings = Sampling(num_rows, seed), Findings()
    request = replace(request, fresh=fresh, journal="off")
    plan = partial(plan_reuse, job, TransformSpec(job), request)
    other = SampledRows(job.source, sampling)
    stand_in = rehearsal_job(job, sampling, findings, plan, other, keep=keep_table)
    what = Rehearsed(job, stand_in, sampling, findings, keep_table)
    return rehearse_transfer(what, request, on_start=on_start, on_progress=on_progress)


def dry_run_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    limit: int | None = None,
    fresh: bool = False,
    reuse_across_code: bool = False,
    price_per_tib: float = PRICE_PER_TIB,
) -> DryRunReport:
    """Dry run of a transfer: check it as a run would when it opens, and estimate its cost.

    Nothing is written, no row is read, and no hook is called.

    Args:
        job: What to check.
        name: As in `run_job`; likewise the next seven.
        settings: See there.
        variables: See there.
        loop: See there.
        queued_at: See there.
        limit: See there.
        fresh: See there.
        reuse_across_code: See there.
        price_per_tib: USD for 2^40 bytes; the free amount of each month is not subtracted.

    Returns:
        What the run would cost, and what it would change in the target.

    Raises:
        EtlkitError: The run would be refused.
    """
    from etlkit.engine.dry_run import dry_run_transfer

    job, request = _request(job, name, settings, _Given(variables, loop, queued_at))
    request = replace(request, limit=limit, fresh=fresh, reuse_across_code=reuse_across_code)
    return dry_run_transfer(job, request, price_per_tib)


def find_source_columns(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
) -> tuple[TransferJob, tuple[Column, ...]]:
    """Find the columns of a transfer's source. No row is read, and the sink is not looked at.

    Args:
        job: Whose source.
        name: As in `run_job`; likewise the next two.
        settings: See there.
        variables: See there.

    Returns:
        The job, its variables expanded, and the columns.

    Raises:
        EtlkitError: The source cannot be read.
    """
    from etlkit.serving.source_columns import source_columns

    job, request = _request(job, name, settings, _Given(variables, None, None))
    return job, source_columns(job, request)


def run_datamart(
    job: Datamart,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_start: Callable[[Run], None] | None = None,
    parent: ParentRun | None = None,
    show_rows: ShowRows | None = None,
) -> DatamartReport:
    """Run a datamart once.

    Args:
        job: What to run.
        name: The job's name if it has none of its own; None = that of its module or script.
        settings: As in `run_job`; likewise the others.
        variables: See there.
        loop: See there.
        queued_at: See there.
        on_start: See there.
        parent: See there.
        show_rows: In query mode, called for each SELECT with its `StatementReport` and the first 20
            rows; None = they are not fetched.

    Returns:
        The report, state `published`.

    Raises:
        EtlkitError: The run failed; its attribute `report` is a `DatamartReport`.
        KeyboardInterrupt: The run was interrupted; it has the same attribute.
    """
    from etlkit.bigquery.datamart.read_back import datamart_reader

    def execute(plan: Plan, run: Run, report: DatamartReport) -> None:
        from etlkit.bigquery.datamart.run import run_plan

        if on_start is not None:
            on_start(run)
        run_plan(plan, run, report, show_rows=show_rows)
        report.state = "published"

    given = _Given(variables, loop, queued_at)
    with _watched():
        report = _process_datamart(job, name, settings, given, execute, parent)
    report.with_reader(datamart_reader(report, settings or environment()))
    return report


def check_datamart(
    job: Datamart,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    price_per_tib: float = PRICE_PER_TIB,
) -> DatamartReport:
    """Dry run: let BigQuery validate every statement and estimate its cost. Nothing is written.

    Args:
        job: What to check.
        name: As in `run_datamart`; likewise the next four.
        settings: See there.
        variables: See there.
        loop: See there.
        queued_at: See there.
        price_per_tib: USD for 2^40 bytes; the free amount of each month is not subtracted.

    Returns:
        The report, state `checked`. A statement that needs the result of an earlier one is
        `unchecked`.

    Raises:
        EtlkitError: A statement is refused; its attribute `report` is a `DatamartReport`.
    """

    def check(plan: Plan, run: Run, report: DatamartReport) -> None:
        from etlkit.bigquery.datamart.dry_run_all import check_plan

        check_plan(plan, run, report, price_per_tib)
        report.state = "checked"

    return _process_datamart(job, name, settings, _Given(variables, loop, queued_at), check)


def run_datamarts(
    datamarts: Iterable[Datamart],
    *,
    settings: Settings | None = None,
    queued_at: datetime | None = None,
    on_start: Callable[[Run], None] | None = None,
) -> list[DatamartReport]:
    """Run datamarts one after the other, each after those it depends on.

    Args:
        datamarts: Each with a name of its own.
        settings: As in `run_job`; likewise the others.
        queued_at: See there.
        on_start: See there; called with each run.

    Raises:
        ConfigError: They depend on each other in a circle, or on one that is not among them.
        EtlkitError: One failed; those after it did not run.
    """
    from etlkit.bigquery.datamart.plan import in_order

    queued_at = queued_at or datetime.now(UTC)
    return [
        run_datamart(job, settings=settings, queued_at=queued_at, on_start=on_start)
        for job in in_order(datamarts)
    ]


def run_workflow(
    job: Workflow,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_start: Callable[[WorkflowRun], None] | None = None,
    resume: str | None = None,
    allow_code_change: bool = False,
    from_task: Sequence[str] = (),
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    observer: WorkflowObserver | None = None,
) -> WorkflowReport:
    """Run a workflow once, or go on with a run of it.

    Args:
        job: What to run.
        name: The workflow's name if it has none of its own; None = that of its module or script.
        settings: As in `run_job`.
        variables: Values of the workflow's variables for this run.
        queued_at: As in `run_job`; a resumed run keeps its own.
        on_start: Called with the run before its first task begins, e.g. to keep its `request_stop`.
        resume: Id of an unpublished run to continue, `"last"`, or `"auto"`: the last run if it did
            not publish, else a new one. None = a new run.
        allow_code_change: Resume although code, queries or tasks with results have changed.
        from_task: Run these tasks and all after them. With `resume` they run again.
        only: Run these tasks and no others.
        skip: Run all but these tasks; what comes after them runs as if they had succeeded.
        observer: Is told what happens; None = it is shown in a notebook, and nowhere else.

    Returns:
        The report, state `published`.

    Raises:
        ConfigError: The workflow, a variable or a name of a task is wrong; nothing ran.
        EtlkitError: The run failed; its attribute `report` is a `WorkflowReport`.
        KeyboardInterrupt: The run was interrupted; it has the same attribute. An `Interrupted` run
            can be resumed.
    """
    from etlkit.bigquery.runs.workflow_state import open_workflow_state
    from etlkit.notebook import notebook_observer
    from etlkit.workflow.selection import Selection
    from etlkit.workflow.workflow_run import WorkflowRequest, run

    _refuse_others(job, "Workflow")

    def open_state(request: RunRequest) -> AbstractContextManager[WorkflowState]:
        return open_workflow_state(
            request,
            job.work_dataset,
            is_runnable_concurrently=job.is_runnable_concurrently,
            labels=job.labels,
            near=near,
        )

    def near() -> list[str]:
        tables = job.tables()
        return sorted(tables.writes) + sorted(tables.reads)

    request = WorkflowRequest(
        name=_name(job, name),
        settings=settings or environment(),
        variables=variables or {},
        queued_at=queued_at,
        resume=resume,
        allow_code_change=allow_code_change,
        selection=Selection(from_task=from_task, only=only, skip=skip),
    )
    with _watched():
        observer = observer or notebook_observer(request.name, [task.name for task in job.tasks])
        return run(job, request, open_state, on_start=on_start, observer=observer)


def dry_run_workflow(
    job: Workflow,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    from_task: Sequence[str] = (),
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> WorkflowReport:
    """Dry run: check every task as far as that is possible before others have run. Nothing is written.

    Args:
        job: What to check.
        name: As in `run_workflow`; likewise the others.
        settings: See there.
        variables: See there.
        queued_at: See there.
        from_task: See there.
        only: See there.
        skip: See there.

    Returns:
        The report, state `checked`, with the tasks in an order in which they could run. A task that
        needs what an earlier one makes is `unchecked`.

    Raises:
        ConfigError: The workflow, a variable or a name of a task is wrong.
        EtlkitError: A task would be refused; the attribute `report` is a `WorkflowReport`.
    """
    from etlkit.workflow.dry_run import dry_run
    from etlkit.workflow.selection import Selection

    return dry_run(
        job,
        _name(job, name),
        settings or environment(),
        variables or {},
        queued_at=queued_at,
        selection=Selection(from_task=from_task, only=only, skip=skip),
    )


def environment(*, project: str | None = None, location: str | None = None) -> Settings:
    """Make settings of this process's environment variables.

    Args:
        project: Google Cloud project to bill; None = that of the credentials.
        location: BigQuery location; None = where the data is.
    """
    from etlkit.api.run import Settings

    return Settings(project=project, location=location, environ=dict(os.environ))


def local_world(local_dir: Path | str = ".etlkit", *, location: str | None = None) -> LocalWorld:
    """Make a `with` block in which this process uses the local BigQuery and the local Vision.

    Google's clients work as they are, also those that ask for credentials: the application default
    credentials are those of a made-up service account, unless you have set the address of another
    Vision, which may need your own.

    Args:
        local_dir: Folder of the local tables, buckets and log.
        location: Where the local datasets are by default; None = US, or where a running server is.

    Returns:
        A context manager. It gives environment variables for other programs that you start, e.g. dbt.
        Entering it raises a `ConfigError` if the `local` extra is not installed or a server runs in
        another location, and a `JobError` if the server does not start.

    Raises:
        ConfigError: `local_dir` is no path.
    """
    from etlkit.errors import ConfigError
    from etlkit.local.local_world import LocalWorld

    if not isinstance(local_dir, (str, Path)):
        raise ConfigError(
            f"local_world({local_dir!r}): it takes the path of a folder, e.g. '.etlkit'"
        )
    return LocalWorld(Path(local_dir), location)


@dataclass(frozen=True)
class _Given:
    """Where the values of variables come from, beside their definitions."""

    variables: Mapping[str, Any] | None
    loop: Mapping[str, Any] | None
    queued_at: datetime | None

    def at(self, started_at: datetime) -> dict[str, Any]:
        """Arguments of `etlkit.variables.values.resolve`."""
        return {
            "given": self.variables,
            "loop": self.loop,
            "queued_at": self.queued_at or started_at,
            "started_at": started_at,
        }


def _watched() -> AbstractContextManager[None]:
    """Tell those who want to know of the runs inside; see `etlkit.open_lineage`."""
    from etlkit.open_lineage.watcher import lineage_events

    def sources_of() -> SourcesOf | None:
        from etlkit.local.bigquery.googlesql import is_installed

        if not is_installed():
            return None
        from etlkit.local.bigquery.looked_up_tables import sources_of

        return sources_of

    return lineage_events(sources_of)


def _refuse_others(job: object, kind: str) -> None:
    """Raise for a job of another kind, or the name of one."""
    from etlkit.api.job_options import describe
    from etlkit.errors import ConfigError

    if kind in {each.__name__ for each in type(job).__mro__}:
        return
    if isinstance(job, str):
        module, _, attribute = job.partition(":")
        raise ConfigError(
            f"got the text {job!r}: only the command line takes names. Import {module}, and give "
            f"the {kind} itself: {module}.{attribute or 'job'}"
        )
    functions = {"TransferJob": "run_job", "Datamart": "run_datamart", "Workflow": "run_workflow"}
    fitting = functions.get(type(job).__name__)
    way_out = f"; {fitting} runs it" if fitting is not None else ""
    raise ConfigError(f"got {describe(job)}: this takes a {kind}{way_out}")


def _name(job: TransferJob | Datamart | Workflow, name: str | None) -> str:
    """The job's name: its own, the given one, or that of its module or script."""
    from etlkit.engine.user_modules import own_name

    return job.name or name or own_name(job) or type(job).__name__.lower()


def _launcher(
    job: TransferJob,
    request: RunRequest,
    workers: int | None,
    engine: str | None,
    engine_args: Mapping[str, str] | None,
) -> WorkerLauncher:
    """How workers are started, if there are some.

    Raises:
        ConfigError: There is no such engine, or it cannot run this job.
    """
    from etlkit.engine.importable import check_importable
    from etlkit.engine.worker_count import num_workers
    from etlkit.engine.worker_processes import WorkerProcesses
    from etlkit.errors import ConfigError
    from etlkit.worker_process import NEEDED, main, work

    if engine is None:
        if engine_args:
            raise ConfigError("engine_args go with an engine: beam or ray")
        if workers or job.workers:
            num_workers(job, workers, engine)  # what cannot be shared is refused first
            check_importable(job, with_script=True)
        return partial(WorkerProcesses, main=main, needed=NEEDED)
    from etlkit.engines.engine_workers import EngineWorkers
    from etlkit.engines.registry import make_engine
    from etlkit.engines.sent_order import check_sendable

    num_workers(job, workers, engine)  # what cannot be shared is refused first
    environ = request.settings.environ
    made = make_engine(engine, engine_args or {}, workers or job.workers, environ)
    check_sendable(job, environ, made)
    return partial(EngineWorkers, engine=made, main=work)


def _request(
    job: TransferJob, name: str | None, settings: Settings | None, given: _Given
) -> tuple[TransferJob, RunRequest]:
    """The job with its variables expanded, and the request for a new run of all its rows."""
    from etlkit.api.run import RunRequest
    from etlkit.engine.expansion import expand_transfer

    _refuse_others(job, "TransferJob")
    now, name = datetime.now(UTC), _name(job, name)
    job, values = expand_transfer(job, **given.at(now))
    request = RunRequest(name, settings or environment(), variables=values, started_at=now)
    return job, request


def _process_datamart(
    job: Datamart,
    name: str | None,
    settings: Settings | None,
    given: _Given,
    process: Callable[[Plan, Run, DatamartReport], None],
    parent: ParentRun | None = None,
) -> DatamartReport:
    from etlkit.api.run import RunRequest
    from etlkit.bigquery.datamart.process import process_datamart

    _refuse_others(job, "Datamart")
    now = datetime.now(UTC)
    request = RunRequest(_name(job, name), settings or environment(), parent=parent, started_at=now)
    return process_datamart(job, request, given.at(now), process)
