"""The audit: the staged rows match the counts of the run, and the job's checks hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from etlkit.api.checks import STAGED, Check, as_check
from etlkit.bigquery.sql import dml
from etlkit.bigquery.sql.expiration import EXPIRE_DAYS
from etlkit.errors import CheckFailedError, CountMismatchError, SinkError

if TYPE_CHECKING:
    from etlkit.api.outcomes import Counts
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.publish.publisher import StagedRows
    from etlkit.bigquery.publish.staging import Staging
    from etlkit.bigquery.publish.target import Target

_SHOWN_ROWS = 5

MAX_TOUCHED_PARTITIONS = 4_000
"""Partitions that one job may change: https://cloud.google.com/bigquery/quotas#partitioned_tables"""


def audit(
    connection: Connection,
    staging: Staging,
    target: Target,
    checks: Sequence[Check | str],
    counts: Counts,
) -> None:
    """Compare the staged rows with the counts of the engine, then run the checks.

    Raises:
        CountMismatchError: A row is missing, incomplete, or staged but not counted.
        SinkError: The rows go to more partitions than one job may change.
        CheckFailedError: A check failed. The staged rows are kept for inspection.
    """
    compare_counts(staging, counts)
    refuse_many_partitions(connection, staging, target, counts.parts)
    run_checks(connection, staging, checks)


def compare_counts(staging: Staging, counts: Counts) -> None:
    """Compare the staged rows with the counts of the engine.

    Raises:
        CountMismatchError: A row is missing, incomplete, or staged but not counted.
    """
    found = staging.count()
    names = ("read", "written", "skipped", "rejected", "parts")
    if any(getattr(found, name) != getattr(counts, name) for name in names):
        differences = ", ".join(
            f"{name} {getattr(counts, name):,} counted, {getattr(found, name):,} staged"
            for name in names
            if getattr(found, name) != getattr(counts, name)
        )
        raise CountMismatchError(
            f"the staged rows do not match the counts ({differences}); nothing was published",
            read=counts.read,
            staged=found.finished,
        )


def refuse_many_partitions(
    connection: Connection, staged: StagedRows, target: Target, num_rows: int
) -> None:
    """Raise if the rows go to more partitions than one job may change.

    Raises:
        SinkError: Says how many, and the way out.
    """
    by = target.partitioning
    names = {column.name for column in staged.columns}
    if by is None or by.column not in names or num_rows <= MAX_TOUCHED_PARTITIONS:
        return
    text = dml.distinct_partitions(staged.rows(staged.columns), by.expression(staged.columns))
    count = connection.select(text)[0]["n"]
    if count > MAX_TOUCHED_PARTITIONS:
        raise SinkError(
            f"the rows go to {count:,} partitions of {target.name} (by {by.column}); BigQuery changes "
            f"at most {MAX_TOUCHED_PARTITIONS:,} in one job. Nothing was published: give the table a "
            "coarser unit or interval and go on with --resume, or run the job for one period after "
            "the other",
            stage="audit",
        )


def run_checks(connection: Connection, staged: StagedRows, checks: Sequence[Check | str]) -> None:
    """Run the job's checks over the staged rows.

    Raises:
        CheckFailedError: A check failed. The staged rows are kept for inspection.
    """
    for wrong in failed_checks(connection, staged, checks):
        tables = ", ".join(map(str, staged.names))
        raise CheckFailedError(
            f"check failed: {wrong}. Nothing was published; the staged rows are in {tables} "
            f"for {EXPIRE_DAYS} days"
        )


def failed_checks(
    connection: Connection, staged: StagedRows, checks: Sequence[Check | str]
) -> Iterator[str]:
    """What is wrong with the staged rows, one sentence for each check that fails."""
    rows = staged.rows(staged.columns)
    for check in map(as_check, checks):
        text = check.sql.replace(STAGED, f"(\n{rows}\n)")
        answer = connection.select(text, max_rows=_SHOWN_ROWS)
        wrong = check.verdict([tuple(row.values()) for row in answer])
        if wrong is not None:
            yield wrong
