"""The sink of a worker: stages rows as the run's own writer does, and publishes nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from etlkit.api.run import Interrupted
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.publish.preflight import check_checks
from etlkit.bigquery.publish.staged_writer import StagedWriter
from etlkit.bigquery.publish.staging import Staging
from etlkit.bigquery.publish.target import target_of
from etlkit.bigquery.shards.shard_worker import ShardWorker
from etlkit.errors import RunTakenOverError, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from etlkit.api.job_options import JobOptions
    from etlkit.api.outcomes import Counts
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.modes import TargetOptions
    from etlkit.bigquery.shards.quota import QuotaKeeper
    from etlkit.bigquery.shards.shard_claims import ShardClaims
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.bigquery")


class ShardWriter(StagedWriter[ShardWorker]):
    """See `etlkit.api.sink.SinkWriter`.

    Args:
        options: What the job says about its target.
        job: The job's options.
        run: The attempt, with its worker.
        connection: The worker's connection.
        dataset: Project and dataset of the work tables.
        worker: This worker's hold on its shards.
        claims: What it has claimed.
        quota: Its part of the rates and caps.
    """

    def __init__(
        self,
        options: TargetOptions,
        job: JobOptions,
        run: Run,
        connection: Connection,
        dataset: tuple[str, str],
        worker: ShardWorker,
        claims: ShardClaims,
        quota: QuotaKeeper,
    ) -> None:
        staging = Staging(
            connection, run, dataset, on_durable=self._count_written, generations=self._generations
        )
        super().__init__(staging, worker)
        staging.on_rejected = self._count_rejected
        self._job = job
        self._connection = connection
        self._worker = worker
        self._claims = claims
        self._quota = quota
        self._notify: Callable[[pa.Array], None] | None = None
        with errors_as(SinkError, "open", f"opening the target {options.table} failed"):
            self._target = target_of(run, options, job)
            self._given = self._given_columns(run)
            if not self._given:
                self._staging.find()
        self.target: str = str(self._target.name)

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """See `etlkit.api.sink.SinkWriter.known_columns`; columns that any worker has staged win."""
        known = {column.name: column for column in self._target.columns}
        for column in (*self._given, *self._staging.columns):
            known[column.name] = column.limited_by(known.get(column.name, column))
        return tuple(known.values())

    def _given_columns(self, run: Run) -> tuple[Column, ...]:
        """What need not be looked up in all staging tables; empty = they may have more columns now."""
        if run.worker is None or self._job.on_schema_change == "add_columns":
            return ()
        return run.worker.known_columns

    def find_columns(self) -> bool:
        """Look what others have staged. Whether the columns of the rows are known now."""
        if not self._target.columns and not self._given:
            self._staging.find_shared()
        return bool(self.known_columns)

    def begin(self, columns: tuple[Column, ...]) -> None:
        """See `etlkit.api.sink.SinkWriter.begin`."""
        self._target.check_fit(columns)
        self._owner.check()
        with errors_as(SinkError, "stage", "creating the staging table failed"):
            if columns:
                is_complete = self._job.on_schema_change != "add_columns"
                check_checks(self._connection, self._job.checks, columns, complete=is_complete)
            self._staging.begin(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `etlkit.api.sink.SinkWriter.write`."""
        with self._told_if_lost():
            self._staging.append(batch)

    def commit(self, counts: Counts) -> int:
        """Leave the run to its other workers, and to whoever publishes it."""
        self.flush()
        self._staging.close()
        with errors_as(SinkError, "stage", "the end of the worker could not be told"):
            self._quota.close()
            self._claims.leave()
        self._worker.end()
        return counts.parts

    def abort(self, error: BaseException, /) -> None:
        """See `etlkit.api.sink.SinkWriter.abort`: what is not settled is free for other workers."""
        try:
            self._staging.close()
            self._quota.close()
            is_over = isinstance(error, (Interrupted, RunTakenOverError))
            self._claims.leave(has_failed=not is_over)
        except Exception as second:  # the first error is the one to report
            log.warning("the end of the worker could not be told: %s", second)
        super().abort(error)
        if isinstance(error, Interrupted):  # perhaps because the run is over
            self._worker.drop_late_tables()

    def _generations(self, row_ids: pa.Array) -> pa.Array:
        import pyarrow as pa

        same = self._claims.generation()
        if same is not None:
            return pa.repeat(pa.scalar(same, pa.int64()), len(row_ids))
        return pa.array(map(self._claims.generation_of, row_ids.to_pylist()), pa.int64())

    def _count_written(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        # A row has an outcome when the last row that it became is there.
        one = pa.scalar(1, pa.int64())  # for a bare 1, pyarrow imports pandas: a second
        is_last = pc.greater_equal(pc.add(batch.column(PART), one), batch.column(PARTS))
        self._claims.are_durable(batch.column(ROW_ID).filter(is_last).to_pylist())

    def _count_rejected(self, row_ids: pa.Array) -> None:
        self._claims.are_durable(row_ids.to_pylist())
