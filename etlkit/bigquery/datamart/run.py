"""One run of a datamart: its statements as BigQuery jobs, or its rows staged and published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from etlkit.api.report import StatementReport
from etlkit.api.workflow_state import value_text
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.datamart.insert import Insert
from etlkit.bigquery.datamart.statements import first_row, run_step
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import work_dataset
from etlkit.bigquery.parameters import query_parameters
from etlkit.bigquery.result_rows import ResultRows, rows_of_job
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.errors import JobError, SinkError, SourceError
from etlkit.telemetry.spans import span

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.api.report import DatamartReport
    from etlkit.api.run import Run
    from etlkit.bigquery.datamart.plan import Plan

log: logging.Logger = logging.getLogger("etlkit.bigquery")

SHOWN_ROWS = 20
"""Rows of a SELECT that are shown."""


ShowRows: TypeAlias = Callable[[StatementReport, ResultRows], None]
"""Shows the first rows of a SELECT."""


def run_plan(
    plan: Plan,
    run: Run,
    report: DatamartReport,
    *,
    wants_row: bool = False,
    show_rows: ShowRows | None = None,
) -> None:
    """Run a datamart and fill in its report.

    Args:
        plan: What to run.
        run: The attempt.
        report: Its report.
        wants_row: Whether to fetch the first row of the last SELECT in query mode.
        show_rows: Called with the first rows of each SELECT in query mode; None = nobody looks.

    Raises:
        StatementError: A statement failed; later ones did not run.
        JobError: The run could not start, or its rows could not be published.
    """
    connection = connect(run)
    dataset = work_dataset(plan.job.work_dataset, connection.project)
    if plan.job.query_mode == "insert":
        insert = Insert(plan, run, connection, report)
        insert.validate()
        mode = f"insert {plan.job.write_disposition}"
        with _owned(connection, run, plan, dataset, report.target, mode) as owner:
            insert.run(owner)
            owner.finish()
        return
    if connection.location is None:
        _make_work_dataset(connection, plan, ".".join(dataset))
    with _owned(connection, run, plan, dataset, "", "query") as owner:
        for step, statement in zip(plan.steps, report.statements, strict=True):
            owner.check()
            with span("statement", number=step.number, line=step.statement.line):
                job = run_step(connection, plan, step, statement, f"statement_{step.number}")
            if wants_row and statement.statement_type in {"SELECT", "SCRIPT"}:
                _keep_first_row(job, report)
            if show_rows is not None and statement.statement_type in {"SELECT", "SCRIPT"}:
                _show_first_rows(connection, job, statement, show_rows)
        with errors_as(SinkError, "ledger", "recording the run in the ledger failed"):
            owner.publish([], None)
        owner.finish()


def _show_first_rows(
    connection: Connection, job: bigquery.QueryJob, statement: StatementReport, show: ShowRows
) -> None:
    """Fetch and show them. The statement is done, so a failure here changes nothing."""
    try:
        with errors_as(SourceError, "read", "the rows cannot be shown"):
            rows = rows_of_job(connection, job, SHOWN_ROWS)
    except SourceError as error:
        log.warning("%s", error)
    else:
        if rows.columns:
            show(statement, rows)


def _keep_first_row(job: bigquery.QueryJob, report: DatamartReport) -> None:
    """Put the first row into the report: before the run is published, so that a resume finds it."""
    row = first_row(job)
    try:
        value_text(row)
    except JobError as error:
        report.warnings.append(f"other tasks cannot read the first row: {error}")
    else:
        report.first_row = row


def _make_work_dataset(connection: Connection, plan: Plan, dataset_id: str) -> None:
    """Create a missing work dataset in the location of the statements' tables.

    A dry run gives the location of a statement that names tables, and `US` for any other.
    """
    from google.api_core.exceptions import GoogleAPIError

    with errors_as(SinkError, "open", f"looking for {dataset_id} failed"):
        if connection.find_dataset(dataset_id) is not None:
            return
        places = []
        for step in plan.steps:
            try:
                places.append(
                    connection.dry_run(step.sql, query_parameters(step.parameters)).location
                )
            except GoogleAPIError:  # reported when the statement runs
                continue
        elsewhere = [place for place in places if place not in {None, "US"}]
        connection.make_dataset(dataset_id, elsewhere[0] if elsewhere else None)


@contextmanager
def _owned(
    connection: Connection,
    run: Run,
    plan: Plan,
    dataset: tuple[str, str],
    target: str,
    mode: str,
) -> Iterator[RunOwner]:
    """Own the run, and record why it failed if it does."""
    owner = RunOwner(connection, run, dataset, target=target, mode=mode)
    with errors_as(SinkError, "open", "writing to the ledger failed"):
        owner.start(exclusive=not plan.job.is_runnable_concurrently, can_resume=False)
    try:
        yield owner
    except BaseException as error:
        try:
            owner.end(error)
        except Exception as second:  # the first error is the one to report
            log.warning("the ledger could not record how the run ended: %s", second)
        raise
