"""Run a job from Python, on Google Cloud or in the embedded world. The command line is made of this."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.api.report import DatamartReport, StatementReport
from etlkit.bigquery.datamart.plan import in_order, make_plan

if TYPE_CHECKING:
    from etlkit.api.datamart import Datamart
    from etlkit.api.job import TransferJob
    from etlkit.api.report import Progress, RunReport
    from etlkit.api.run import Run, Settings
    from etlkit.bigquery.datamart.plan import Plan

PRICE_PER_TIB = 6.25
"""USD on demand in the region US: https://cloud.google.com/bigquery/pricing#on_demand_pricing"""


def run_job(
    job: TransferJob,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    limit: int | None = None,
    resume: str | None = None,
    allow_code_change: bool = False,
    retry_rejects: str | None = None,
    only: str | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_progress: Progress | None = None,
    on_start: Callable[[Run], None] | None = None,
) -> RunReport:
    """Run a job from a script or a notebook.

    Args:
        job: What to run.
        name: The job's name where it has none of its own; None = `job`.
        settings: Project, location and environment; None = what `environment()` gives.
        limit: Source rows to read at most; None = all.
        resume: Id of an unpublished run to go on with, or `"last"`; None = a new run.
        allow_code_change: Resume although code or query changed.
        retry_rejects: Id of a run whose rejected rows to run again, and no others.
        only: Of those, the rows with this class of error; None = all.
        variables: Values of custom variables, given for this run.
        loop: Values of this turn of a loop; they win over the ones given.
        queued_at: Base of `Timestamp` variables, an aware time; None = now.
        on_progress: Called often with stage and counts; None = nobody watches.
        on_start: Given the run before it begins, e.g. to call its `request_stop` later.

    Returns:
        The report of a published run.

    Raises:
        EtlkitError: The run failed; its attribute `report` is a `RunReport`.
        Interrupted: The run was asked to stop; likewise. It can be resumed.
    """
    from etlkit.api.run import RunRequest
    from etlkit.engine.expand_transfer import expand_transfer
    from etlkit.engine.transfer import run_transfer

    now = datetime.now(UTC)
    job, values = expand_transfer(
        job, given=variables, loop=loop, queued_at=queued_at or now, started_at=now
    )
    if retry_rejects is not None:
        job = replace(job, source=job.sink.rejected_rows(job.source, retry_rejects, only))
    request = RunRequest(
        job_name=job.name or name or "job",
        settings=settings or environment(),
        limit=limit,
        variables=values,
        resume=resume,
        allow_code_change=allow_code_change,
        retry_of=retry_rejects,
        started_at=now,
    )
    return run_transfer(job, request, on_start=on_start, on_progress=on_progress)


def environment(*, project: str | None = None, location: str | None = None) -> Settings:
    """Settings from this process's environment variables."""
    from etlkit.api.run import Settings

    return Settings(project=project, location=location, environ=dict(os.environ))


@contextmanager
def local_world(local_dir: Path) -> Iterator[None]:
    """Point this process at the embedded BigQuery and Vision of `local_dir` while inside.

    Raises:
        ConfigError: The `local` extra is not installed.
        JobError: The server does not start.
    """
    from etlkit.local import join_or_start
    from etlkit.local.vision.redirects import redirect_vision

    with join_or_start(local_dir) as server:
        before = dict(os.environ)
        mine = server.endpoints.environ()
        mine["ETLKIT_BUCKETS"] = str(server.local_dir / "buckets")
        for variable in ("ETLKIT_VISION_ENDPOINT", "ETLKIT_VISION_GRPC_ENDPOINT"):
            if os.environ.get(variable):
                mine.pop(variable)  # somebody chose another one on purpose
        os.environ.update(mine)
        try:
            with redirect_vision():
                yield
        finally:
            for variable in mine:
                if variable in before:
                    os.environ[variable] = before[variable]
                else:
                    os.environ.pop(variable, None)


def run_datamart(
    job: Datamart,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    variables: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime | None = None,
    on_start: Callable[[Run], None] | None = None,
) -> DatamartReport:
    """Run a datamart once.

    Args:
        job: What to run.
        name: The job's name where it has none of its own; None = `datamart`.
        settings: Project, location and environment; None = what `environment()` gives.
        variables: Values given for this run.
        loop: Values of this turn of a loop; they win over the ones given.
        queued_at: Base of `Timestamp` variables, an aware time; None = now.
        on_start: Given the run before it begins, e.g. to call its `request_stop` later.

    Returns:
        The report, state `published`.

    Raises:
        EtlkitError: The run failed; its attribute `report` is a `DatamartReport`.
        KeyboardInterrupt: The run was interrupted; likewise.
    """

    def execute(plan: Plan, run: Run, report: DatamartReport) -> None:
        from etlkit.bigquery.datamart.run import run_plan

        if on_start is not None:
            on_start(run)
        run_plan(plan, run, report)
        report.state = "published"

    given = {"given": variables, "loop": loop}
    return _run(job, name, settings, given, queued_at, execute)


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
    """Dry run: have every statement validated and its cost estimated; nothing is written.

    Args:
        job: What to check.
        name: See `run_datamart`, as for the other arguments.
        settings: Likewise.
        variables: Likewise.
        loop: Likewise.
        queued_at: Likewise.
        price_per_tib: USD for 2^40 bytes; the free part of a month is not taken off.

    Returns:
        The report, state `checked`. A statement that needs what an earlier one makes is `unchecked`.

    Raises:
        EtlkitError: A statement is refused; its attribute `report` is a `DatamartReport`.
    """

    def check(plan: Plan, run: Run, report: DatamartReport) -> None:
        from etlkit.bigquery.datamart.dry_run_all import check_plan

        check_plan(plan, run, report, price_per_tib)
        report.state = "checked"

    given = {"given": variables, "loop": loop}
    return _run(job, name, settings, given, queued_at, check)


def run_datamarts(
    datamarts: Iterable[Datamart], *, settings: Settings | None = None
) -> list[DatamartReport]:
    """Run datamarts one after the other, each after those it depends on.

    Args:
        datamarts: Each with a name of its own.
        settings: See `run_datamart`.

    Raises:
        ConfigError: They depend on each other in a circle, or on one that is not there.
        EtlkitError: One failed; the ones behind it did not run.
    """
    queued_at = datetime.now(UTC)
    return [
        run_datamart(job, settings=settings, queued_at=queued_at) for job in in_order(datamarts)
    ]


def _run(
    job: Datamart,
    name: str | None,
    settings: Settings | None,
    given: dict[str, Mapping[str, Any] | None],
    queued_at: datetime | None,
    execute: Callable[[Plan, Run, DatamartReport], None],
) -> DatamartReport:
    from etlkit.api.run import Run, RunRequest

    settings = settings or environment()
    settings = replace(settings, location=settings.location or job.location)
    now = datetime.now(UTC)
    job_name = job.name or name or "datamart"
    report = DatamartReport(run_id="", job=job_name, query_mode=job.query_mode)
    with _reported(report):
        plan = make_plan(job, **given, queued_at=queued_at or now, started_at=now)
        report.variables = {name: str(value) for name, value in plan.variables.items()}
        report.statements = [
            StatementReport(
                number=step.number, line=step.piece.line, statement=step.piece.first_line
            )
            for step in plan.steps
        ]
        request = RunRequest(job_name, settings, variables=plan.variables, started_at=now)
        with Run(request, fingerprint=plan.fingerprint, labels=job.labels) as run:
            report.run_id = run.run_id
            execute(plan, run, report)
    return report


@contextmanager
def _reported(report: DatamartReport) -> Iterator[None]:
    """Hang the report on whatever ends the run."""
    started = time.monotonic()
    try:
        yield
    except BaseException as error:
        report.state = "failed" if isinstance(error, Exception) else "interrupted"
        report.error = str(error) or type(error).__name__
        error.report = report  # type: ignore[attr-defined]
        raise
    finally:
        report.seconds = round(time.monotonic() - started, 3)
        billed = [s.bytes_billed for s in report.statements if s.bytes_billed is not None]
        report.bytes_billed = sum(billed) if billed else None
