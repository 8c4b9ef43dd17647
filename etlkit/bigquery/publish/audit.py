"""The audit: what is staged is what was settled, and the job's own checks hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlkit.api.checks import STAGED, Check, as_check
from etlkit.bigquery import sql
from etlkit.errors import CheckFailedError, CountMismatchError

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.publish.publisher import StagedRows
    from etlkit.bigquery.publish.staging import Staging

_SHOWN_ROWS = 5


def audit(
    connection: Connection, staging: Staging, checks: Sequence[Check | str], counts: Counts
) -> None:
    """Compare what stands in the staging tables with what the engine counted, then ask the checks.

    Raises:
        CountMismatchError: A row is missing, cut off or too many.
        CheckFailedError: A check found something; the staged rows stay for a look.
    """
    found = staging.count()
    names = ("read", "written", "skipped", "rejected", "parts")
    if any(getattr(found, name) != getattr(counts, name) for name in names):
        told = ", ".join(
            f"{name} {getattr(counts, name):,} counted, {getattr(found, name):,} staged"
            for name in names
            if getattr(found, name) != getattr(counts, name)
        )
        raise CountMismatchError(
            f"what is staged is not what was settled ({told}); nothing was published",
            read=counts.read,
            staged=found.finished,
        )
    run_checks(connection, staging, checks)


def run_checks(connection: Connection, staged: StagedRows, checks: Sequence[Check | str]) -> None:
    """Ask the job's checks about the staged rows.

    Raises:
        CheckFailedError: One found something; the staged rows stay for a look.
    """
    rows = staged.rows(staged.columns)
    for check in map(as_check, checks):
        text = check.sql.replace(STAGED, f"(\n{rows}\n)")
        answer = connection.select(text, max_rows=_SHOWN_ROWS)
        wrong = check.verdict([tuple(row.values()) for row in answer])
        if wrong is not None:
            tables = ", ".join(map(str, staged.names))
            raise CheckFailedError(
                f"check failed: {wrong}. Nothing was published; the staged rows are in {tables} "
                f"for {sql.EXPIRE_DAYS} days"
            )
