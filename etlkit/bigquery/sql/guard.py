"""The guard: one row that says who owns a run. See `etlkit.bigquery.runs.guard`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etlkit.bigquery.names import TableName, literal
from etlkit.rows.columns import Column

GUARD_COLUMNS = (
    Column("owner", "STRING", description="Token of the attempt that may publish"),
    Column("attempt", "INT64", description="Grows at every take-over"),
    Column("state", "STRING", description="running or published"),
    Column("cleanup", "STRING", description="Statements to run after publishing; null = none"),
)

LOST = "etlkit: another process owns this run"
"""Raised by statements of a process that lost its run."""

LOST_PARENT = "etlkit: another process owns the run of the workflow"
"""Raised at the start of a task's run whose workflow's run was lost."""


@dataclass(frozen=True)
class Holding:
    """A guard, and the attempt that has to hold it."""

    guard: TableName
    owner: str


def _while_held(parent: Holding | None) -> str:
    """Raise `LOST_PARENT` if the workflow's run has another owner. It only looks: no conflicts."""
    if parent is None:
        return ""
    mine = f"owner = {literal(parent.owner)} AND state = 'running'"
    return (
        f"IF NOT EXISTS (SELECT 1 FROM {parent.guard.sql} WHERE {mine}) THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST_PARENT)};\nEND IF;\n"
    )


def start(
    guard: TableName,
    owner: str,
    attempt: int,
    events: TableName,
    then: str,
    parent: Holding | None = None,
) -> str:
    """Own a run that has no guard yet, or raise `LOST`: it may have been published a moment ago.

    Args:
        guard: The run's guard table, just created and empty.
        owner: The token of this attempt.
        attempt: Its number.
        events: The ledger's events.
        then: An INSERT of the event that tells of it; `@run_id` is the run.
        parent: The hold on the workflow's run whose task this run is; None = it is no task's.
    """
    return (
        f"BEGIN TRANSACTION;\n{_while_held(parent)}"
        f"IF EXISTS (SELECT 1 FROM {events.sql} WHERE run_id = @run_id AND event = 'published') "
        f"THEN\n  RAISE USING MESSAGE = {literal(LOST)};\nEND IF;\n"
        f"INSERT INTO {guard.sql} (owner, attempt, state)\n"
        f"VALUES ({literal(owner)}, {int(attempt)}, 'running');\n{then};\nCOMMIT TRANSACTION;"
    )


def take_over(
    guard: TableName, owner: str, attempt: int, then: str, parent: Holding | None = None
) -> str:
    """Own a run instead of its earlier attempt, or raise `LOST`. Arguments as of `start`."""
    mine = f"owner = {literal(owner)} AND attempt = {int(attempt)} AND state = 'running'"
    return (
        "BEGIN TRANSACTION;\n"
        f"UPDATE {guard.sql} SET owner = {literal(owner)}, attempt = {int(attempt)}\n"
        f"WHERE attempt < {int(attempt)} AND state = 'running';\n"
        f"IF NOT EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine}) THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST)};\nEND IF;\n"
        f"{_while_held(parent)}{then};\nCOMMIT TRANSACTION;"
    )


def fenced(guard: TableName, owner: str, statements: Sequence[str], cleanup: str | None) -> str:
    """Statements that run once, and only for the process that owns the run: all or nothing.

    The guard is changed first. Two publishers of one run conflict there, so BigQuery cancels one of
    them, and a process that lost the run raises before it changes anything. Sent again after it has
    succeeded, the text changes nothing.

    Args:
        guard: The run's guard table.
        owner: The token of this attempt.
        statements: DML.
        cleanup: Statements to run after publishing; None = none. They stay in the guard until it
            is dropped, so that a resume can finish them.
    """
    mine = f"owner = {literal(owner)}"
    kept = "NULL" if cleanup is None else literal(cleanup)
    body = ";\n".join(statements)
    return (
        "BEGIN TRANSACTION;\n"
        f"UPDATE {guard.sql} SET state = 'publishing', cleanup = {kept}\n"
        f"WHERE {mine} AND state = 'running';\n"
        f"IF EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine} AND state = 'publishing') THEN\n"
        f"{body};\n"
        f"UPDATE {guard.sql} SET state = 'published' WHERE {mine};\n"
        f"ELSEIF NOT EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine} AND state = 'published') THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST)};\n"
        "END IF;\nCOMMIT TRANSACTION;"
    )


def recorded(guard: TableName, owner: str, statements: Sequence[str]) -> str:
    """Statements that add to the ledger while the run goes on, only for the process that owns it.

    The guard is changed first, as in `fenced`, and its state stays `running`.

    Args:
        guard: The run's guard table.
        owner: The token of this attempt.
        statements: INSERTs that change nothing when they are repeated.
    """
    mine = f"owner = {literal(owner)} AND state = 'running'"
    body = ";\n".join(statements)
    return (
        "BEGIN TRANSACTION;\n"
        f"UPDATE {guard.sql} SET state = 'running' WHERE {mine};\n"
        f"IF NOT EXISTS (SELECT 1 FROM {guard.sql} WHERE {mine}) THEN\n"
        f"  RAISE USING MESSAGE = {literal(LOST)};\nEND IF;\n"
        f"{body};\nCOMMIT TRANSACTION;"
    )


def revoke(guard: TableName, owner: str) -> str:
    """Take an unpublished run away from its attempt, which can no longer publish it then.

    Args:
        guard: The run's guard table.
        owner: A token that no attempt has.
    """
    return f"UPDATE {guard.sql} SET owner = {literal(owner)} WHERE state = 'running'"


def guard_row(guard: TableName) -> str:
    """The guard's row, with BigQuery's time as `now`."""
    return f"SELECT owner, attempt, state, cleanup FROM {guard.sql}"


NOW = "SELECT CURRENT_TIMESTAMP() AS now"
"""BigQuery's clock."""
