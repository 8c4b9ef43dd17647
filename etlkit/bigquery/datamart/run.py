"""One run of a datamart: its statements as BigQuery jobs, or its rows staged and published."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etlkit.bigquery import sql
from etlkit.bigquery.client import Connection, connect, errors_as
from etlkit.bigquery.datamart.dry_run import dry_run
from etlkit.bigquery.datamart.insert import Insert
from etlkit.bigquery.datamart.statements import run_step
from etlkit.bigquery.runs.ledger import Ledger
from etlkit.bigquery.source import work_dataset
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.api.report import DatamartReport
    from etlkit.api.run import Run
    from etlkit.bigquery.datamart.plan import Plan

log = logging.getLogger("etlkit.bigquery")


def run_plan(plan: Plan, run: Run, report: DatamartReport) -> None:
    """Run a datamart and fill in its report on the way.

    Raises:
        StatementError: A statement failed; the ones behind it have not been run.
        JobError: The run could not be opened or its rows not be published.
    """
    connection = connect(run)
    ledger = Ledger(connection, run, work_dataset(plan.job.work_dataset, connection.project))
    if plan.job.query_mode == "insert":
        insert = Insert(plan, run, connection, ledger, report)
        insert.validate()
        _open(ledger, plan, report.target, f"insert {plan.job.write_disposition}")
        with _recorded(ledger):
            insert.run()
        return
    if connection.location is None:
        _make_work_dataset(connection, plan, ledger.table.dataset_id)
    _open(ledger, plan, "", "query")
    with _recorded(ledger):
        for step, statement in zip(plan.steps, report.statements, strict=True):
            run_step(connection, plan, step, statement, f"statement_{step.number}")
        with errors_as(SinkError, "ledger", "the ledger could not be told that the run is done"):
            ledger.stop_heartbeat()
            text = sql.mark_published(ledger.table, run.run_id, ledger.owner, {})
            connection.query(text, "published")


def _make_work_dataset(connection: Connection, plan: Plan, dataset_id: str) -> None:
    """Make a missing work dataset where the statements' tables are, and not where nobody looks.

    BigQuery tells the place of a statement that names tables, and `US` for one that names none.
    """
    from google.api_core.exceptions import GoogleAPIError

    with errors_as(SinkError, "open", f"looking for {dataset_id} failed"):
        if connection.find_dataset(dataset_id) is not None:
            return
        places = []
        for step in plan.steps:
            try:
                places.append(dry_run(connection, step.sql, step.parameters).location)
            except GoogleAPIError:  # it is told when the statement runs
                continue
        elsewhere = [place for place in places if place not in {None, "US"}]
        connection.make_dataset(dataset_id, elsewhere[0] if elsewhere else None)


def _open(ledger: Ledger, plan: Plan, target: str, mode: str) -> None:
    with errors_as(SinkError, "open", "writing to the ledger failed"):
        exclusive = not plan.job.is_runnable_concurrently
        ledger.open(target, mode, exclusive=exclusive, can_resume=False)


@contextmanager
def _recorded(ledger: Ledger) -> Iterator[None]:
    """Tell the ledger how a failed run ended."""
    try:
        yield
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "interrupted"
        try:
            ledger.end(state, str(error) or type(error).__name__)
        except Exception as second:  # the first error is the one to report
            log.warning("the ledger could not be told that the run %s: %s", state, second)
        raise
