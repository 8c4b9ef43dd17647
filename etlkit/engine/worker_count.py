"""How many worker processes share a run, as the job and the caller say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etlkit.api.quantities import number_of
from etlkit.api.sink import TakesWorkers
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest

MAX_WORKERS = 1_000
"""Each worker has its own staging table, and a query can read this many tables.
Source: https://cloud.google.com/bigquery/quotas#query_jobs"""


def num_workers(job: TransferJob, given: int | None, engine: str | None) -> int | None:
    """Processes that share the run, as far as it is known; None = this one alone runs it.

    Raises:
        ConfigError: The job's rows cannot be shared.
    """
    number = given or job.workers or (None if engine is None else 1)
    if number is None:
        return None
    check_number(f"{number:,} workers", number)
    if not isinstance(job.sink, TakesWorkers):
        raise ConfigError(
            f"workers need a BigQuerySink, not a {type(job.sink).__name__}: they share staged rows"
        )
    job.sink.check_workers(job.source)
    return number


def check_number(what: str, number: int) -> None:
    """Refuse more workers than can share a run.

    Args:
        what: The workers, for the message.
        number: How many they are, in all tasks.

    Raises:
        ConfigError: They are too many.
    """
    if number > MAX_WORKERS:
        raise ConfigError(
            f"{what}: a run takes {MAX_WORKERS:,} workers at most. Each has a staging table, and a "
            "query of BigQuery takes no more tables"
        )


def num_workers_of_task(job: TransferJob, request: RunRequest) -> int:
    """Processes of a task of a scheduler.

    Raises:
        ConfigError: The job's rows cannot be shared.
    """
    if request.retry_of is not None:
        raise ConfigError("rejected rows are run again by one process, not by tasks of a scheduler")
    if request.parent is not None:
        raise ConfigError("a task of a workflow is run by one process, not by tasks of a scheduler")
    try:
        number = num_workers(job, request.num_workers or 1, None) or 1
    except ConfigError as error:
        raise ConfigError(
            f"this is task {request.scheduler_task} of a scheduler, and tasks share a run as workers "
            f"do: {error}. To run the whole job in this process: --worker off"
        ) from error
    task = request.scheduler_task
    if task is not None:
        check_number(f"{task.count:,} tasks of {number_of(number, 'worker')}", task.count * number)
    return number
