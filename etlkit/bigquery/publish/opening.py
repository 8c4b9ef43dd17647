"""The start of a run at its target, whichever way its rows go there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from etlkit.bigquery.client import Connection
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import parse_table, work_dataset
from etlkit.bigquery.publish.target import Target, target_of
from etlkit.bigquery.runs.job_lock import lock_name
from etlkit.bigquery.runs.ledger import Ledger
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.errors import SinkError

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run
    from etlkit.bigquery.modes import TargetOptions


def look_ahead(options: TargetOptions, job: JobOptions, run: Run, connection: Connection) -> None:
    """Begin to look up what `open_target` will look at, while the source query is checked.

    Args:
        options: What the job says about the target.
        job: The job's options.
        run: The attempt.
        connection: The run's connection.
    """
    dataset = work_dataset(options.work_dataset, connection.project)
    ledger = Ledger(connection, dataset)
    tables = [parse_table(options.table, connection.project), ledger.events, ledger.runs]
    if not job.is_runnable_concurrently:
        tables.append(lock_name(dataset, run.job_name))
    connection.look_ahead([ledger.events.dataset_id], tables)


def open_target(
    options: TargetOptions,
    job: JobOptions,
    run: Run,
    connection: Connection,
    details: Mapping[str, Any],
) -> tuple[Target, RunOwner]:
    """Look at the target, and begin the run or take it over.

    Args:
        options: What the job says about the target.
        job: The job's options.
        run: The attempt.
        connection: The run's connection.
        details: What the source says about the run, recorded in the ledger.

    Raises:
        ConfigError: The options name no dataset, or do not go with the target.
        RunStateError: Another run of the job is in progress, or another process resumed this run.
        SinkError: BigQuery refuses.
    """
    dataset = work_dataset(options.work_dataset, connection.project)
    with errors_as(SinkError, "open", f"opening the target {options.table} failed"):
        target = target_of(run, options, job)
        target.prepare()
        owner = RunOwner(
            connection,
            run,
            dataset,
            target=str(target.name),
            mode=options.mode,
            details=details,
        )
        owner.start(exclusive=not job.is_runnable_concurrently)
    return target, owner
