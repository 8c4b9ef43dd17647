"""Finish what is left to do after a run is published: statements, then its work tables.

A process may be killed between the transaction that publishes and this. The guard keeps the statements
until everything is done, so whoever meets the run next finishes it.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from etlkit.bigquery.client import REQUEST_S
from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.guard import guard_name
from etlkit.bigquery.sql.guard import guard_row

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_MAX_CLEANUPS = 3
"""Jobs to try, each after the one before has failed."""


def run_cleanup(connection: Connection, run_id: str, statements: str) -> None:
    """Run the statements that are left to do after publishing, by one process at a time.

    All processes ask for the same job id, so BigQuery starts one job, and the others wait for it.
    Two at once could drop the table that the other one has just put in place. A process that is killed
    does not end its job.

    Args:
        connection: To do it with.
        run_id: The run that is published.
        statements: As its guard keeps them.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: They failed.
    """
    from google.api_core.exceptions import GoogleAPICallError

    for number in range(1, _MAX_CLEANUPS + 1):
        try:
            connection.query(statements, "cleanup", job_id=f"etlkit_{run_id}_cleanup_{number}")
        except GoogleAPICallError:  # perhaps it is an earlier process's job that failed
            if number == _MAX_CLEANUPS:
                raise
        else:
            return


def finish_published(connection: Connection, dataset: tuple[str, str], run_id: str) -> bool:
    """Finish a run if it is published and its guard is still there.

    Args:
        connection: To do it with.
        dataset: Project and dataset of the work tables.
        run_id: The run.

    Returns:
        Whether the run is published; False = it is not, or it has no guard.
    """
    guard = guard_name(dataset, run_id)
    if connection.find_table(guard) is None:
        return False
    rows = connection.select(guard_row(guard))
    if not rows or rows[0]["state"] != "published":
        return False
    if rows[0]["cleanup"]:
        run_cleanup(connection, run_id, rows[0]["cleanup"])
    drop_work_tables(connection, dataset, run_id)
    connection.drop_work_table(guard)
    return True


def drop_work_tables(connection: Connection, dataset: tuple[str, str], run_id: str) -> None:
    """Drop all work tables of a run except its guard.

    Args:
        connection: To do it with.
        dataset: Project and dataset of the work tables.
        run_id: A run that is over.

    Raises:
        google.api_core.exceptions.GoogleAPIError: They could not be listed.
    """
    ours = re.compile(rf"(?:src|out|rej|ans|cal|shd|wrk)_{re.escape(run_id)}(?:_.*)?")
    project, name = dataset
    listed = connection.client.list_tables(
        f"{project}.{name}", retry=connection.retry(), timeout=REQUEST_S
    )
    for table in listed:
        if ours.fullmatch(table.table_id):
            connection.drop_work_table(TableName(project, name, table.table_id))


def drop_late_tables(connection: Connection, dataset: tuple[str, str], run_id: str) -> None:
    """Drop the work tables that are left of a run without a guard. They expire: a failure is a warning.

    A machine may stand still between two requests for as long as it takes others to publish the run.
    They call this once the guard is gone. What comes later is dropped by the process that lost the run.
    While there is a guard, nothing is dropped: the run can be resumed, or is about to be finished.

    Args:
        connection: To do it with.
        dataset: Project and dataset of the work tables.
        run_id: The run.
    """
    try:
        if connection.find_table(guard_name(dataset, run_id)) is None:
            drop_work_tables(connection, dataset, run_id)
    except Exception as error:
        log.warning("work tables of run %s may be left: %s", run_id, google_message(error))


def is_resumable(connection: Connection, dataset: tuple[str, str], run_id: str) -> bool:
    """Whether a run whose process is gone can be resumed. If not, what it left is finished.

    Args:
        connection: To do it with.
        dataset: Project and dataset of the work tables.
        run_id: A run with a guard.
    """
    if finish_published(connection, dataset, run_id):
        return False
    guard = guard_name(dataset, run_id)
    if connection.find_table(guard) is None:
        return False
    if connection.select(guard_row(guard)):
        return True
    connection.drop_work_table(guard)  # it was killed before the ledger knew of it
    return False
