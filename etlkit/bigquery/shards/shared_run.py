"""A run that many workers share, for the process that holds it."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from etlkit.api.sink import WorkersNow
from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.runs.guard import end_lease
from etlkit.bigquery.shards.run_workers import workers_of
from etlkit.bigquery.shards.shard_log import ShardLog
from etlkit.bigquery.shards.shard_map import LEFT, OPENED, ShardEvent
from etlkit.bigquery.shards.shard_worker import worker_guard
from etlkit.bigquery.sql.shards import SHARD, unsettled_shards
from etlkit.bigquery.sql.staging import finished_ids
from etlkit.errors import RunStateError

if TYPE_CHECKING:
    from etlkit.api.run import Run
    from etlkit.api.worker_report import WorkerReport
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName
    from etlkit.bigquery.publish.staging import Staging
    from etlkit.bigquery.source import BigQueryReader


log: logging.Logger = logging.getLogger("etlkit.bigquery")


class SharedRun:
    """Opens shards for workers, as often as rows are left.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        reader: The run's frozen rows.
        staging: What was staged of them.
    """

    def __init__(
        self,
        connection: Connection,
        run: Run,
        dataset: tuple[str, str],
        reader: BigQueryReader,
        staging: Staging,
    ) -> None:
        self._connection = connection
        self._run_id = run.run_id
        self._is_task = run.scheduler_task is not None
        self._dataset = dataset
        self._reader = reader
        self._staging = staging
        self._log = ShardLog(connection, dataset, run.run_id, run.attempt, "run")
        self._workers: set[str] = set()
        self._num_shards = self._num_rows = 0

    def open(self) -> int:
        """See `etlkit.api.sink.SharesRun.open_shards`.

        Raises:
            RunStateError: The run was started by one process alone, so its rows have no shards.
        """
        self._refuse_without_shards()
        self._log.make()
        state = self._log.read(every_attempt=True)
        if self._is_task and state.shards.free_or_claimed:
            # Other tasks may be at work. They and their claims do not depend on who holds the run.
            return state.shards.num_left
        left = {row["worker"] for row in state.rows if row["kind"] == LEFT}
        self._workers |= {row["worker"] for row in state.rows if row["worker"]}
        # Those with claims would go on with shards that are given to others.
        for worker in set() if state.shards.is_done else self._workers - left:
            name = worker_guard(self._dataset, self._run_id, worker)
            end_lease(self._connection, name, secrets.token_hex(8))
        self._staging.find_shared()
        self._staging.join_earlier()
        staged = self._staging.staged
        finished = finished_ids(staged) if staged.tables or staged.rejects else None
        rows = self._connection.select(unsettled_shards(self._reader.frozen, finished))
        self._num_rows = sum(row["n"] for row in rows)
        if rows:  # shards between them without rows do no harm: there is nothing to read of them
            first, last = rows[0]["shard"], rows[-1]["shard"]
            source = str(self._reader.rows_left)
            generation = state.generation + 1
            opened = ShardEvent(OPENED, "", first, last, generation, source, rows=self._num_rows)
            self._log.tell([opened])
            self._num_shards = last - first + 1
        return self._num_rows

    def now(self) -> WorkersNow:
        """See `etlkit.api.sink.SharesRun.workers_now`. Shards are about equal: row ids are random."""
        shards = self._log.read().shards
        settled = 1 - shards.num_left / max(1, self._num_shards)
        return WorkersNow(round(self._num_rows * settled), bool(shards.failed))

    def workers(self) -> list[WorkerReport]:
        """See `etlkit.api.sink.SharesRun.workers`."""
        try:
            return workers_of(self._log.read(every_attempt=True), {})
        except Exception as error:  # the rows are there: nobody should have to pay for them again
            log.warning("what the workers have done could not be read: %s", google_message(error))
            return []

    def work_tables(self) -> list[TableName]:
        """Tables to drop when the run is published."""
        state = self._log.read(every_attempt=True)
        self._workers |= {row["worker"] for row in state.rows if row["worker"]}
        guards = [worker_guard(self._dataset, self._run_id, each) for each in sorted(self._workers)]
        return [self._log.name, *guards]

    def _refuse_without_shards(self) -> None:
        table = self._connection.find_table(self._reader.frozen)
        if table is not None and all(field.name != SHARD for field in table.schema):
            raise RunStateError(
                f"run {self._run_id} was started without workers: resume it without them"
            )
