"""Find the run to resume in the ledger."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from etlkit.api.outcomes import Counts
from etlkit.api.run import LAST, ParentRun, RunRecord, RunRequest, new_run_id
from etlkit.bigquery.client import Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import label, shard_events_name, work_dataset
from etlkit.bigquery.runs.finish import finish_published
from etlkit.bigquery.runs.guard import find_holder, guard_name
from etlkit.bigquery.runs.ledger import WORKFLOW, Ledger, published_counts
from etlkit.errors import AlreadyPublishedError, RunStateError, SinkError

log: logging.Logger = logging.getLogger("etlkit.bigquery")


def recorded_run(
    request: RunRequest,
    work: str,
    target_of: Callable[[Connection], str],
    mode: str,
    *,
    can_resume: bool = True,
) -> RunRecord:
    """As `find_run`, over a connection of its own. Finishes the clean-up of a run that is published.

    Args:
        request: See `find_run`.
        work: The sink's `work_dataset`.
        target_of: Gives where the job writes now.
        mode: See `find_run`.
        can_resume: See `find_run`.

    Raises:
        RunStateError: As `find_run`.
        SinkError: BigQuery refuses.
    """
    prefix = f"etlkit_find_{new_run_id(datetime.now(UTC))}"
    labels = {"etlkit_job": label(request.job_name)}
    connection = Connection(request.settings, job_prefix=prefix, labels=labels)
    try:
        dataset = work_dataset(work, connection.project)
        target = target_of(connection)
        with errors_as(SinkError, "open", "reading the ledger failed"):
            record = find_run(connection, dataset, request, target, mode, can_resume=can_resume)
            if record.published is not None:
                finish_published(connection, dataset, record.run_id)
            return record
    finally:
        connection.close()


def find_run(
    connection: Connection,
    dataset: tuple[str, str],
    request: RunRequest,
    target: str,
    mode: str,
    *,
    can_resume: bool = True,
) -> RunRecord:
    """Find the run that a request wants to resume. Writes nothing.

    Args:
        connection: To read with.
        dataset: Project and dataset of the work tables.
        request: Its `resume` is an id, or `LAST`.
        target: Where the job writes now.
        mode: How the job publishes now.
        can_resume: Whether runs of this mode can be resumed.

    Raises:
        RunStateError: There is no such run, it is in progress, or it had another target or mode.
    """
    ledger = Ledger(connection, dataset)
    row = _find_row(ledger, request, "job")
    published = row["state"] == "published"
    if row["job"] == request.job_name:  # else the engine says so
        _check_target(row, target, mode)
        if not (can_resume or published):
            raise RunStateError(f"run {row['run_id']} wrote with mode {mode}: it cannot be resumed")
        if not published:
            _check_over(connection, dataset, row)
    shards = shard_events_name(dataset, row["run_id"])
    is_shared = not published and connection.find_table(shards) is not None
    return replace(record_of_row(row), is_shared=is_shared)


def find_workflow_run(
    connection: Connection, dataset: tuple[str, str], request: RunRequest
) -> RunRecord:
    """Find the run of a workflow that a request wants to resume. Writes nothing.

    Args:
        connection: To read with.
        dataset: Project and dataset of the ledger.
        request: Its `resume` is an id, or `LAST`.

    Raises:
        AlreadyPublishedError: The run is published.
        RunStateError: There is no such run, it is in progress, or it is another job's.
    """
    row = _find_row(Ledger(connection, dataset), request, "workflow")
    run_id = row["run_id"]
    if row["job"] != request.job_name or row["mode"] != WORKFLOW:
        kind = "workflow" if row["mode"] == WORKFLOW else "job"
        raise RunStateError(
            f"run {run_id} is a run of {kind} {row['job']}, not of workflow {request.job_name}"
        )
    if row["state"] == "published":
        raise AlreadyPublishedError(
            f"run {run_id} is already published; there is nothing left to do",
            run_id=run_id,
            counts=Counts(),
            target="",
        )
    _check_over(connection, dataset, row)
    return RunRecord(run_id, row["job"], row["attempt"], row["fingerprint"] or "")


def record_of_row(row: dict[str, Any]) -> RunRecord:
    """What the ledger knows of a run, from its row with `code`. It does not know `is_shared`."""
    return RunRecord(
        run_id=row["run_id"],
        job_name=row["job"],
        attempts=row["attempt"],
        fingerprint=row["fingerprint"] or "",
        retry_of=row["retry_of"],
        published=published_counts(row) if row["state"] == "published" else None,
        target=row["target"],
        parent=parent_of_row(row),
        code=json.loads(row.get("code") or "{}"),
    )


def parent_of_row(row: dict[str, Any]) -> ParentRun | None:
    """The workflow's run whose task a run of the ledger is."""
    if row["parent_run_id"] is None:
        return None
    return ParentRun(row["parent_run_id"], row["task"] or "")


def _find_row(
    ledger: Ledger, request: RunRequest, kind: Literal["job", "workflow"]
) -> dict[str, Any]:
    exists = ledger.is_made()
    if request.resume == LAST:
        sign = "=" if kind == "workflow" else "!="
        where = f"job = @value AND IFNULL(mode, '') {sign} '{WORKFLOW}'"
        rows = ledger.find(where, request.job_name, code=True) if exists else []
        if not rows:
            raise RunStateError(
                f"{kind} {request.job_name} has no run to resume; start one without --resume"
            )
        # The answer of a publish may have been lost: then the last run is published, and that is
        # fine. An older one is not resumed in its place: its rows would be added to the target.
        if rows[-1]["state"] == "published":
            left = [row["run_id"] for row in rows if row["state"] != "published"]
            if left:
                log.info("run %s was never published; name it to resume it", left[-1])
        return rows[-1]
    rows = ledger.find("run_id = @value", str(request.resume), code=True) if exists else []
    if not rows:
        raise ledger.no_run(str(request.resume))
    return rows[0]


def _check_target(row: dict[str, Any], target: str, mode: str) -> None:
    run_id = row["run_id"]
    if (row["target"], row["mode"]) != (target, mode):
        raise RunStateError(
            f"run {run_id} goes to {row['target']} with mode {row['mode']}; the job now says "
            f"{target} with mode {mode}. Start a new run"
        )


def _check_over(connection: Connection, dataset: tuple[str, str], row: dict[str, Any]) -> None:
    run_id = row["run_id"]
    holder = find_holder(connection, guard_name(dataset, run_id))
    if holder is not None and holder.is_alive(row["now"]):
        raise RunStateError(
            f"run {run_id} is in progress ({holder}); wait for it, or stop it first"
        )
