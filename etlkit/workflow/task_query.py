"""One query of a task, as a labelled BigQuery job that is cancelled when the task is to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etlkit.api.report import PRICE_PER_TIB, TIB, StatementReport
from etlkit.api.workflow_state import task_text
from etlkit.bigquery.client import Connection
from etlkit.bigquery.datamart.statements import describe
from etlkit.bigquery.google_errors import errors_as, google_message
from etlkit.bigquery.names import label
from etlkit.bigquery.parameters import query_parameters
from etlkit.errors import SourceError
from etlkit.variables.sql_tokens import one_query
from etlkit.variables.substitution import expand_sql
from etlkit.workflow.task_kind import TaskContext, short_hash


def run_query(
    context: TaskContext,
    sql: str,
    purpose: str,
    *,
    max_rows: int | None,
    maximum_bytes_billed: int | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Run one SELECT of a task to its end; its cost goes into the task's report.

    Args:
        context: Of the task.
        sql: With `$name$` for variables.
        purpose: A part of the job's id.
        max_rows: Rows to fetch at most; None = all.
        maximum_bytes_billed: BigQuery refuses the query rather than bill more; None = no limit.

    Returns:
        Its first rows, and how many it has in all.

    Raises:
        ConfigError: An unknown variable.
        SourceError: BigQuery refused or failed it.
        Interrupted: The task is to stop; the job was cancelled.
    """
    text, parameters = _expanded(context, sql)
    statement = StatementReport(number=1, line=1, statement=_first_line(sql), state="failed")
    context.report.statements.append(statement)
    doing = f"the query of task {task_text(context.path)!r} failed"
    with _connection(context) as connection, errors_as(SourceError, "query", doing):
        statement.job_id = connection.job_id(purpose)
        try:
            job = connection.query(
                text,
                purpose,
                parameters=query_parameters(parameters),
                maximum_bytes_billed=maximum_bytes_billed,
            )
            job.reload(retry=connection.retry())
            describe(statement, job)
            result: Any = job.result(max_results=max_rows)
            rows = [dict(row.items()) for row in result]
        except Exception as error:
            statement.error = google_message(error)
            raise
        statement.state = "done"
        if statement.bytes_billed is not None:
            context.report.bytes_billed = (
                context.report.bytes_billed or 0
            ) + statement.bytes_billed
    return rows, len(rows) if statement.rows is None else statement.rows


def dry_run_query(context: TaskContext, sql: str) -> None:
    """Have BigQuery validate one SELECT of a task; the estimate goes into the task's report.

    Raises:
        ConfigError: An unknown variable.
        SourceError: BigQuery refuses it.
    """
    text, parameters = _expanded(context, sql)
    statement = StatementReport(number=1, line=1, statement=_first_line(sql), state="failed")
    context.report.statements.append(statement)
    with (
        _connection(context) as connection,
        errors_as(
            SourceError, "query", f"the query of task {task_text(context.path)!r} is refused"
        ),
    ):
        job = connection.dry_run(text, query_parameters(parameters))
        statement.state = "checked"
        statement.statement_type = job.statement_type
        statement.bytes_processed = job.total_bytes_processed
        if job.total_bytes_processed is not None:
            cost = job.total_bytes_processed / TIB * PRICE_PER_TIB
            context.report.cost = statement.estimated_cost = round(cost, 6)


def _expanded(context: TaskContext, sql: str) -> tuple[str, dict[str, Any]]:
    """One SELECT with its variables expanded, and its query parameters."""
    functions, query = one_query(sql)
    expanded = expand_sql(functions + query, context.values)
    return expanded.sql, expanded.parameters


def _first_line(sql: str) -> str:
    return sql.strip().split("\n", 1)[0]


@contextmanager
def _connection(context: TaskContext) -> Iterator[Connection]:
    where = short_hash(*context.path, str(context.report.attempts))
    connection = Connection(
        context.settings,
        job_prefix=f"etlkit_{context.run_id}_{context.attempt}_{where}",
        labels={
            **context.labels,
            "etlkit_job": label(context.workflow),
            "etlkit_run": label(context.run_id),
        },
        check_stop=context.check_stop,
    )
    context.on_stop(lambda _signum: connection.cancel_all())
    try:
        yield connection
    finally:
        connection.close()
