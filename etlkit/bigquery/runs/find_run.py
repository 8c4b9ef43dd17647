"""Find the run to resume in the ledger. Writes nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import Counts
from etlkit.api.run import LAST, RunRecord, RunRequest
from etlkit.bigquery.runs.ledger_table import ledger_rows
from etlkit.bigquery.runs.process_identity import is_alive
from etlkit.errors import RunStateError

if TYPE_CHECKING:
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName

log = logging.getLogger("etlkit.bigquery")


def find_run(
    connection: Connection, ledger: TableName, request: RunRequest, target: str, mode: str
) -> RunRecord:
    """Find the run that a request wants to resume.

    Args:
        connection: To read with.
        ledger: The ledger's table; it may not exist yet.
        request: Its `resume` is an id, or `LAST`.
        target: Where the job writes now.
        mode: How the job publishes now.

    Raises:
        RunStateError: There is no such run, it is in progress, or it had another target or mode.
    """
    row = _find_row(connection, ledger, request)
    published = row["state"] == "published"
    if not published and row["job"] == request.job_name:
        _check_resumable(row, target, mode)
    counts = Counts(
        read=row["read"] or 0,
        written=row["written"] or 0,
        skipped=row["skipped"] or 0,
        rejected=row["rejected"] or 0,
        parts=row["rows_published"] or 0,
    )
    return RunRecord(
        run_id=row["run_id"],
        job_name=row["job"],
        attempts=row["attempt"],
        fingerprint=row["fingerprint"] or "",
        retry_of=row["retry_of"],
        published=counts if published else None,
        target=row["target"],
    )


def _find_row(connection: Connection, ledger: TableName, request: RunRequest) -> Any:
    exists = connection.find_table(ledger) is not None
    if request.resume == LAST:
        where, value = "job = @value", request.job_name
        rows = ledger_rows(connection, ledger, where, value, "runs") if exists else []
        if not rows:
            raise RunStateError(
                f"job {request.job_name} has no run to resume; start one without --resume"
            )
        # The answer of a publish may have been lost: then the last run is published, and that is
        # fine. An older one is not resumed in its place: its rows would be added to the target.
        if rows[-1]["state"] == "published":
            left = [row["run_id"] for row in rows if row["state"] != "published"]
            if left:
                log.info("run %s was never published; name it to resume it", left[-1])
        return rows[-1]
    where, value = "run_id = @value", str(request.resume)
    rows = ledger_rows(connection, ledger, where, value, "run") if exists else []
    if not rows:
        raise RunStateError(
            f"there is no run {request.resume} in {ledger}; list runs with: python -m etlkit.runs"
        )
    return rows[0]


def _check_resumable(row: Any, target: str, mode: str) -> None:
    run_id = row["run_id"]
    if (row["target"], row["mode"]) != (target, mode):
        raise RunStateError(
            f"run {run_id} goes to {row['target']} with mode {row['mode']}; the job now says "
            f"{target} with mode {mode}. Start a new run"
        )
    if mode == "append_direct":
        raise RunStateError(f"run {run_id} wrote with mode append_direct: it cannot be resumed")
    if is_alive(row):
        raise RunStateError(
            f"run {run_id} is in progress (process {row['pid']} on {row['host']}, last sign of "
            f"life {row['updated_at']:%H:%M:%S} UTC); wait for it, or stop it first"
        )
