"""Run datamarts from Python, on BigQuery or in the embedded world."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from etlkit.datamart_report import DatamartReport, StatementReport
from etlkit.plan import in_order, plan
from etlkit.runner import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etlkit.context import Run, Settings
    from etlkit.datamart import Datamart
    from etlkit.plan import Plan

PRICE_PER_TIB = 6.25
"""USD on demand in the region US: https://cloud.google.com/bigquery/pricing#on_demand_pricing"""


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
        from etlkit.bigquery.datamart import run_plan

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
        from etlkit.bigquery.datamart_check import check_plan

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
    from etlkit.context import Run

    settings = settings or environment()
    settings = replace(settings, location=settings.location or job.location)
    with Run(job.name or name or "datamart", settings, labels=job.labels) as run:
        report = DatamartReport(run_id=run.run_id, job=run.job, query_mode=job.query_mode)
        with _reported(report):
            ready = plan(
                job, **given, queued_at=queued_at or run.started_at, started_at=run.started_at
            )
            report.variables = {name: str(value) for name, value in ready.variables.items()}
            report.statements = [
                StatementReport(
                    number=step.number, line=step.piece.line, statement=step.piece.first_line
                )
                for step in ready.steps
            ]
            execute(ready, run, report)
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
