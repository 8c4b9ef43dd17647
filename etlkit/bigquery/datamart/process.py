"""One run or dry run of a datamart, from its description to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from etlkit.api.datamart import Datamart
from etlkit.api.outcomes import Counts
from etlkit.api.report import DatamartReport, StatementReport, end_state, error_text
from etlkit.api.run import Run, RunRequest
from etlkit.api.run_watch import WatchedRun, run_watcher
from etlkit.bigquery.datamart.plan import Plan, make_plan
from etlkit.telemetry.current_run import CurrentRun, in_run
from etlkit.telemetry.spans import RunSpan, run_span


def process_datamart(
    job: Datamart,
    request: RunRequest,
    values: Mapping[str, Any],
    process: Callable[[Plan, Run, DatamartReport], None],
) -> DatamartReport:
    """Expand a datamart's variables, and run or check its statements.

    Args:
        job: What to run.
        request: The run that is asked for; its `variables` are set here.
        values: Where the values of variables come from: arguments of `make_plan`.
        process: Runs or checks the plan and fills in the report.

    Returns:
        The report.

    Raises:
        EtlkitError: It failed; the attribute `report` is a `DatamartReport`.
        KeyboardInterrupt: It was interrupted; likewise.
    """
    location = request.settings.location or job.location
    request = replace(request, settings=replace(request.settings, location=location))
    report = DatamartReport(run_id="", job=request.job_name, query_mode=job.query_mode)
    ending = _Ending(report)
    parent = request.parent
    named = CurrentRun("", request.job_name)
    if parent is not None:
        named = replace(named, task=parent.task, parent=parent.run_id)
    with run_span("datamart", named) as span, _told(span, report), ending:
        plan = make_plan(job, **values)
        report.variables = {name: str(value) for name, value in plan.variables.items()}
        report.statements = [
            StatementReport(
                number=step.number, line=step.statement.line, statement=step.statement.first_line
            )
            for step in plan.steps
        ]
        request = replace(request, variables=plan.variables)
        with Run(
            request, fingerprint=plan.fingerprint, labels=job.labels, report=ending.report_now
        ) as run:
            report.run_id = run.run_id
            watched = WatchedRun(
                "datamart",
                run.run_id,
                run.job_name,
                job,
                run.settings,
                run.parent,
                statements=[step.sql for step in plan.steps],
            )
            with in_run(replace(named, run_id=run.run_id)), _watched(watched, report, ending):
                process(plan, run, report)
    return report


@contextmanager
def _watched(run: WatchedRun, report: DatamartReport, ending: _Ending) -> Iterator[None]:
    """Tell whoever watches runs of this one. A dry run is none."""
    run_watcher().started(run)
    error: BaseException | None = None
    try:
        yield
    except BaseException as caught:
        error = caught
        raise
    finally:
        if report.state != "checked":
            run.target = report.target
            run_watcher().ended(run, ending.report_now(None, error), error)


@contextmanager
def _told(span: RunSpan, report: DatamartReport) -> Iterator[None]:
    """Tell telemetry how it ended."""
    try:
        yield
    finally:
        names = ("run_id", "state", "query_mode", "target", "rows_published", "bytes_billed")
        span.set(**{name: getattr(report, name) for name in names})
        span.ended(report.state)


class _Ending:
    """Fills in duration, cost and error; attaches the report to the error that ends the run."""

    def __init__(self, report: DatamartReport) -> None:
        self._report = report
        self._started = time.monotonic()

    def report_now(self, counts: Counts | None, error: BaseException | None) -> DatamartReport:
        """The report if the run ended now; see `Run.report`."""
        billed = [s.bytes_billed for s in self._report.statements if s.bytes_billed is not None]
        return replace(
            self._report,
            state="published" if error is None else end_state(error),
            error=None if error is None else error_text(error),
            rows_published=self._report.rows_published if counts is None else counts.parts,
            seconds=round(time.monotonic() - self._started, 3),
            bytes_billed=sum(billed) if billed else None,
        )

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        ended = self.report_now(None, error)
        report = self._report
        report.seconds, report.bytes_billed = ended.seconds, ended.bytes_billed
        if error is not None:
            report.state, report.error = ended.state, ended.error
            error.report = report  # type: ignore[attr-defined]
