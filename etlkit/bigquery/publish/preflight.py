"""The preflight: what publishing would refuse, found by dry runs before rows are paid for.

A dry run is free and writes nothing. Checks run over a SELECT of nulls in the columns of the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlkit.api.checks import STAGED, Check, as_check
from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.sql.staging import no_rows
from etlkit.bigquery.sql.user_sql import user_dml
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.modes import TargetOptions
    from etlkit.bigquery.publish.target import Target
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_UNKNOWN_NAME = "Unrecognized name"
"""How BigQuery begins when a column is not there."""


def check_before_load(connection: Connection, options: TargetOptions, target: Target) -> None:
    """Have BigQuery validate `before_load` against the target as it is now.

    Raises:
        SinkError: It would refuse a statement. A target that is missing is not judged.
    """
    from google.api_core.exceptions import BadRequest, Forbidden, NotFound

    if options.before_load is None or target.table is None:
        return
    for statement in user_dml(options.before_load):
        try:
            connection.dry_run(statement)
        except (BadRequest, Forbidden, NotFound) as error:
            raise SinkError(
                f"before_load would fail: {google_message(error)}\n{statement}", stage="open"
            ) from error


def check_checks(
    connection: Connection,
    checks: Sequence[Check | str],
    columns: Sequence[Column],
    *,
    complete: bool,
) -> None:
    """Have BigQuery validate the job's checks.

    Args:
        connection: The run's connection.
        checks: The job's.
        columns: Of the rows.
        complete: Whether no more columns can come; False = a name that is not known yet is a
            warning.

    Raises:
        SinkError: BigQuery would refuse a check.
    """
    from google.api_core.exceptions import BadRequest, Forbidden, NotFound

    for check in map(as_check, checks):
        text = check.sql.replace(STAGED, f"(\n{no_rows(columns)}\n)")
        try:
            connection.dry_run(text)
        except (BadRequest, Forbidden, NotFound) as error:
            said = google_message(error)
            if not complete and said.startswith(_UNKNOWN_NAME):
                log.warning(
                    "check %s fails unless later rows bring the column: %s", check.title, said
                )
                continue
            raise SinkError(
                f"check {check.title} cannot run: {said}. The rows have "
                + (", ".join(column.name for column in columns) or "no columns"),
                stage="open",
            ) from error
