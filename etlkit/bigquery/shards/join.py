"""How a worker joins a run."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from etlkit.api.source import ROW_ID
from etlkit.bigquery.client import connect
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import TableName, work_dataset
from etlkit.bigquery.schema_fields import from_schema_fields
from etlkit.bigquery.shards.quota import QuotaKeeper
from etlkit.bigquery.shards.shard_claims import ShardClaims
from etlkit.bigquery.shards.shard_log import ShardLog
from etlkit.bigquery.shards.shard_reader import ShardReader
from etlkit.bigquery.shards.shard_worker import ShardWorker
from etlkit.bigquery.shards.shard_writer import ShardWriter
from etlkit.bigquery.sql.shards import SHARD
from etlkit.calls.leased import LeasedCalls
from etlkit.errors import RunTakenOverError, SinkError

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run
    from etlkit.bigquery.modes import TargetOptions
    from etlkit.bigquery.source import BigQuerySource


def join_run(
    options: TargetOptions, job: JobOptions, run: Run, source: BigQuerySource
) -> tuple[ShardReader, ShardWriter]:
    """See `etlkit.api.sink.TakesWorkers.join`."""
    if run.worker is None:
        raise AssertionError("only a worker joins a run")
    connection = connect(run)
    dataset = work_dataset(options.work_dataset, connection.project)
    frozen = TableName(*work_dataset(source.work_dataset, connection.project), f"src_{run.run_id}")
    with errors_as(SinkError, "open", f"joining run {run.run_id} failed"):
        table = connection.find_table(frozen)
        if table is None:
            raise RunTakenOverError(f"run {run.run_id} is over: its frozen rows are gone")
        connection.location = table.location
        attempt = run.attempt
        if run.scheduler_task is not None:  # another task may hold the run, in a later attempt
            attempt = ShardLog(connection, dataset, run.run_id, attempt, "join").read().attempt
        stop = partial(run.request_stop, signal.SIGTERM)
        worker = ShardWorker(connection, dataset, run.run_id, attempt, run.worker, stop)
        worker.start()
    columns = from_schema_fields(table.schema)
    log = partial(ShardLog, connection, dataset, run.run_id, attempt)
    calls = run.calls.shared
    if not isinstance(calls, LeasedCalls):
        raise AssertionError("a worker's calls have their part of the run's")  # noqa: TRY004
    quota = QuotaKeeper(
        log(f"{run.worker.id}_quota"),
        run.worker.id,
        run.worker.num_workers,
        calls,
        job.max_calls,
        job.max_cost,
    )
    claims = ShardClaims(
        log(run.worker.id),
        run.worker.id,
        run.worker.index,
        run.worker.num_workers,
        worker.find_lost,
    )
    worker.count_rows = lambda: claims.durable_rows
    writer = ShardWriter(options, job, run, connection, dataset, worker, claims, quota)
    quota.start()
    claims.may_start = writer.find_columns
    claims.on_idle = calls.rest
    users = tuple(column for column in columns if column.name not in {ROW_ID, SHARD})
    return ShardReader(connection, run.run_id, frozen, users, claims), writer
