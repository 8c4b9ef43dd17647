"""Dry run of a datamart: whether its statements are valid and fit, and what they would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.api.report import TIB
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.datamart.insert import Insert
from etlkit.bigquery.datamart.statements import in_file, statement_error
from etlkit.bigquery.parameters import query_parameters
from etlkit.errors import StatementError

if TYPE_CHECKING:
    from etlkit.api.report import DatamartReport, StatementReport
    from etlkit.api.run import Run
    from etlkit.bigquery.datamart.plan import Plan, Step

_NOT_THERE_YET = (
    "or perhaps it does not exist",
    "Function not found",
    "Procedure not found",
    "Unrecognized name",
)
"""What BigQuery says, not with 404, of things that an earlier statement may make: a table in a dataset
that is not there or may not be looked into, a function, a procedure, a column."""


def check_plan(plan: Plan, run: Run, report: DatamartReport, price_per_tib: float) -> None:
    """Validate every statement and put its estimated cost into the report. Nothing is written.

    A statement that needs what an earlier one makes cannot be validated: BigQuery looks at what is
    there now. It is `unchecked`, which is not a failure.

    Raises:
        StatementError: BigQuery refuses a statement; the report has all of them.
        JobError: The rows of an insert would not fit its table.
    """
    connection = connect(run)
    try:
        if plan.job.query_mode == "insert":
            _check_insert(plan, run, connection, report)
        else:
            _check_statements(plan, connection, report)
    finally:
        for statement in report.statements:
            if statement.bytes_processed is not None:
                cost = statement.bytes_processed / TIB * price_per_tib
                statement.estimated_cost = round(cost, 6)
        costs = [s.estimated_cost for s in report.statements if s.estimated_cost is not None]
        report.estimated_cost = round(sum(costs), 6) if costs else None


def _check_insert(plan: Plan, run: Run, connection: Connection, report: DatamartReport) -> None:
    Insert(plan, run, connection, report).check()


def _check_statements(plan: Plan, connection: Connection, report: DatamartReport) -> None:
    failed: StatementError | None = None
    made = False
    for step, statement in zip(plan.steps, report.statements, strict=True):
        error = _check(connection, plan, step, statement, made=made)
        failed = failed or error
        made = made or _may_make(step)
    if failed is not None:
        raise failed


def _check(
    connection: Connection, plan: Plan, step: Step, statement: StatementReport, *, made: bool
) -> StatementError | None:
    from google.api_core.exceptions import GoogleAPIError, NotFound

    try:
        job = connection.dry_run(step.sql, query_parameters(step.parameters))
    except GoogleAPIError as error:
        message = in_file(error, step, step.sql)
        if made and (isinstance(error, NotFound) or is_not_there_yet(message)):
            statement.state = "unchecked"
            statement.error = f"needs what an earlier statement makes: {message}"
            return None
        statement.state, statement.error = "failed", message
        return statement_error(plan, step, statement)
    statement.state = "checked"
    statement.statement_type = job.statement_type
    statement.bytes_processed = job.total_bytes_processed
    return None


def is_not_there_yet(message: str) -> bool:
    """Whether BigQuery lacks something that an earlier statement or task may make."""
    return "Not found" in message or any(each in message for each in _NOT_THERE_YET)


def _may_make(step: Step) -> bool:
    return step.statement.is_script or step.sql.split(None, 1)[0].upper() in {
        "CREATE",
        "ALTER",
        "CALL",
        "DROP",
    }
