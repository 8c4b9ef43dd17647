"""One statement of a datamart as a BigQuery job, with errors at their place in the user's file."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from etlkit.api.report import StatementReport
from etlkit.bigquery.client import REQUEST_S, Connection
from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.parameters import query_parameters
from etlkit.errors import StatementError

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.bigquery.datamart.plan import Plan, Step

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_PLACE = re.compile(r"\[(\d+):(\d+)\]")
"""Where BigQuery says an error is: line and column of the SQL that was sent."""

_DML = {"INSERT", "UPDATE", "DELETE", "MERGE"}


def run_step(
    connection: Connection,
    plan: Plan,
    step: Step,
    statement: StatementReport,
    purpose: str,
    text: str | None = None,
) -> bigquery.QueryJob:
    """Run one statement as a job, and report what it cost.

    Args:
        connection: The run's connection.
        plan: For the bound on bytes and the number of statements.
        step: The statement.
        statement: Its report, to be filled in.
        purpose: See `Connection.query`.
        text: SQL to send in its place; None = its own.

    Returns:
        The job, which is done.

    Raises:
        StatementError: It failed.
    """
    from google.api_core.exceptions import GoogleAPIError

    sent = step.sql if text is None else text
    statement.job_id = connection.job_id(purpose)
    try:
        job = connection.query(
            sent,
            purpose,
            parameters=query_parameters(step.parameters),
            maximum_bytes_billed=plan.job.maximum_bytes_billed,
        )
        job.reload(retry=connection.retry())
    except (GoogleAPIError, ConnectionError, TimeoutError) as error:
        statement.state, statement.error = "failed", in_file(error, step, sent)
        raise statement_error(plan, step, statement) from error
    except BaseException:
        statement.state = "failed"
        raise
    statement.state = "done"
    describe(statement, job)
    if statement.statement_type == "SELECT":
        statement.result_table = _result_table(connection, job)
    if statement.statement_type == "SCRIPT":
        statement.children = _children(connection, job, statement)
    return job


def _result_table(connection: Connection, job: bigquery.QueryJob) -> str | None:
    """Where the rows are kept; None = nowhere that has a name, as in the local BigQuery."""
    from google.api_core.exceptions import NotFound

    if job.destination is None:
        return None
    try:
        list(
            connection.client.list_rows(
                job.destination, max_results=1, retry=connection.retry(), timeout=REQUEST_S
            )
        )
    except NotFound:
        return None
    kept = job.destination
    return f"{kept.project}.{kept.dataset_id}.{kept.table_id}"


def first_row(job: bigquery.QueryJob) -> dict[str, Any] | None:
    """The first row of a SELECT, or of the last SELECT of a script, as JSON values.

    None = there is none.
    """
    from etlkit.rows.json_rows import row_to_plain_json

    rows: Any = job.result(max_results=1)
    return next((row_to_plain_json(dict(row.items())) for row in rows), None)


def in_file(error: BaseException, step: Step, sent: str) -> str:
    """BigQuery's message, with positions in the user's text instead of the text that was sent."""
    added = sent[: sent.index(step.sql)].count("\n")

    def moved(place: re.Match[str]) -> str:
        line, column = int(place[1]) - added, int(place[2])
        if line < 1:
            return place[0]
        if line == 1:
            column += step.statement.column - 1
        return f"[{line + step.statement.line - 1}:{column}]"

    return _PLACE.sub(moved, google_message(error))


def statement_error(plan: Plan, step: Step, statement: StatementReport) -> StatementError:
    """The error of a statement: which one, where it is, and what ran before it."""
    written, number, total = step.statement, step.number, len(plan.steps)
    place = f"line {written.line}, column {written.column}"
    if plan.job.file is not None:
        place = f"{plan.job.file}, {place}"
    rest = ""
    if total > 1 and statement.job_id:
        rest = f"\n{_count(number - 1)} before it ran"
        rest += f", {_count(total - number)} after it did not" if number < total else ""
    job = f"\njob {statement.job_id}" if statement.job_id else ""
    return StatementError(
        f"statement {number} of {total} failed ({place}: {written.first_line}): "
        f"{statement.error}{job}{rest}",
        number=number,
        line=written.line,
        job_id=statement.job_id,
    )


def _count(number: int) -> str:
    return {0: "no statement", 1: "1 statement"}.get(number, f"{number} statements")


def describe(statement: StatementReport, job: bigquery.QueryJob) -> None:
    """Copy BigQuery's figures of a job; what it does not report stays None."""
    statement.statement_type = job.statement_type
    statement.bytes_processed = job.total_bytes_processed
    statement.bytes_billed = job.total_bytes_billed
    statement.slot_ms = job.slot_millis
    if job.started is not None and job.ended is not None:
        statement.seconds = round((job.ended - job.started).total_seconds(), 3)
    if job.statement_type in _DML:
        statement.rows = job.num_dml_affected_rows
    elif job.statement_type == "SELECT":
        statement.rows = _num_rows(job)


def _num_rows(job: bigquery.QueryJob) -> int | None:
    rows: Any = job.result(max_results=0)
    count: int | None = rows.total_rows
    return count


def _children(
    connection: Connection, job: bigquery.QueryJob, parent: StatementReport
) -> list[StatementReport]:
    """The jobs of a script's statements, oldest first."""
    jobs = connection.client.list_jobs(parent_job=job.job_id, retry=connection.retry())
    children = []
    for number, child in enumerate(sorted(jobs, key=lambda each: each.created), 1):
        text = (getattr(child, "query", None) or "").strip().split("\n", 1)[0]
        report = StatementReport(number=number, line=parent.line, statement=text, state="done")
        report.job_id = child.job_id
        if hasattr(child, "statement_type"):
            describe(report, child)
        if child.error_result:
            report.state, report.error = "failed", child.error_result.get("message")
        children.append(report)
    return children
