"""Dry runs: BigQuery validates a statement and tells how many bytes it would process. Free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import Connection, connect, google_message
from etlkit.bigquery.parameters import query_parameters
from etlkit.errors import StatementError

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.context import Run
    from etlkit.datamart_report import DatamartReport, StatementReport
    from etlkit.plan import Plan, Step

TIB = 1024**4


def dry_run(connection: Connection, text: str, parameters: dict[str, Any]) -> bigquery.QueryJob:
    """Have SQL validated.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: BigQuery refused it.
    """
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(dry_run=True, labels=connection.labels())
    config.query_parameters = query_parameters(parameters)
    return connection.client.query(
        text,
        job_config=config,
        location=connection.location,
        retry=connection.retry(),
        job_retry=None,
    )


def check_plan(plan: Plan, run: Run, report: DatamartReport, price_per_tib: float) -> None:
    """Validate every statement and write into the report what each would cost. Nothing is written.

    A statement that needs what an earlier one makes cannot be validated: BigQuery looks at what is
    there now. It is `unchecked`, which is no failure.

    Raises:
        StatementError: BigQuery refuses a statement; the report has all of them.
    """
    connection = connect(run)
    failed: StatementError | None = None
    made = False
    for step, statement in zip(plan.steps, report.statements, strict=True):
        error = _check(connection, plan, step, statement, made=made, run=run)
        failed = failed or error
        if statement.bytes_processed is not None:
            statement.estimated_cost = round(statement.bytes_processed / TIB * price_per_tib, 6)
        made = made or _may_make(step)
    costs = [s.estimated_cost for s in report.statements if s.estimated_cost is not None]
    report.estimated_cost = round(sum(costs), 6) if costs else None
    if failed is not None:
        raise failed


def _check(
    connection: Connection,
    plan: Plan,
    step: Step,
    statement: StatementReport,
    *,
    made: bool,
    run: Run,
) -> StatementError | None:
    from google.api_core.exceptions import GoogleAPIError, NotFound

    from etlkit.bigquery.datamart import in_file, statement_error

    text = step.sql
    if plan.job.query_mode == "insert":
        from etlkit.bigquery.datamart_sql import wrapped

        text = wrapped(step.sql, plan.job.lookback, run.started_at)
    try:
        job = dry_run(connection, text, step.parameters)
    except NotFound as error:
        if made:
            statement.state = "unchecked"
            statement.error = f"needs what an earlier statement makes: {google_message(error)}"
            return None
        statement.state, statement.error = "failed", in_file(google_message(error), step)
    except GoogleAPIError as error:
        statement.state, statement.error = "failed", in_file(google_message(error), step)
    else:
        statement.state = "checked"
        statement.statement_type = job.statement_type
        statement.bytes_processed = job.total_bytes_processed
        return None
    return statement_error(plan, step, statement)


def _may_make(step: Step) -> bool:
    return step.piece.is_script or step.sql.split(None, 1)[0].upper() in {"CREATE", "ALTER", "CALL"}
