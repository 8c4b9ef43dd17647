"""One run or dry run of a datamart, from its description to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from etlkit.api.datamart import Datamart
from etlkit.api.report import DatamartReport, StatementReport, end_state, error_text
from etlkit.api.run import Run, RunRequest
from etlkit.bigquery.datamart.plan import Plan, make_plan


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
    with _completed(report):
        plan = make_plan(job, **values)
        report.variables = {name: str(value) for name, value in plan.variables.items()}
        report.statements = [
            StatementReport(
                number=step.number, line=step.statement.line, statement=step.statement.first_line
            )
            for step in plan.steps
        ]
        request = replace(request, variables=plan.variables)
        with Run(request, fingerprint=plan.fingerprint, labels=job.labels) as run:
            report.run_id = run.run_id
            process(plan, run, report)
    return report


@contextmanager
def _completed(report: DatamartReport) -> Iterator[None]:
    """Fill in duration, cost and error; attach the report to the error that ends the run."""
    started = time.monotonic()
    try:
        yield
    except BaseException as error:
        report.state = end_state(error)
        report.error = error_text(error)
        error.report = report  # type: ignore[attr-defined]
        raise
    finally:
        report.seconds = round(time.monotonic() - started, 3)
        billed = [s.bytes_billed for s in report.statements if s.bytes_billed is not None]
        report.bytes_billed = sum(billed) if billed else None
