"""A worker's hold on its shards: a lease of its own, and who else has lost theirs."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.names import TableName
from etlkit.bigquery.runs.finish import drop_late_tables
from etlkit.bigquery.runs.guard import Guard, Holder, end_lease, find_holder, guard_name
from etlkit.bigquery.runs.lease import Lease
from etlkit.bigquery.runs.progress_labels import ROWS_LABEL
from etlkit.bigquery.shards.run_watch import WATCH_S, WATCHES_PER_S, RunWatch
from etlkit.bigquery.shards.shard_map import LOST, ShardEvent
from etlkit.errors import RunTakenOverError

if TYPE_CHECKING:
    from etlkit.api.run import Worker
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.shards.shard_log import LogState

log: logging.Logger = logging.getLogger("etlkit.bigquery")


def worker_guard(dataset: tuple[str, str], run_id: str, worker: str) -> TableName:
    """Where the lease of a worker is."""
    return TableName(*dataset, f"wrk_{run_id}_{worker}")


class _WorkerGuard(Guard):
    """As the guard of a run, with what its loss means for a worker."""

    def taken_over(self, holder: Holder | None = None) -> RunTakenOverError:  # noqa: ARG002
        """The error of a worker that lost its lease."""
        return RunTakenOverError(
            "this worker gave no sign of life for too long, or its run is over: its shards were given "
            "to others, and what it does from here on changes nothing"
        )


class ShardWorker:
    """One process that works on shards of a run. It can be told from all others, ever.

    Args:
        connection: Its connection.
        dataset: Project and dataset of the work tables.
        run_id: The run.
        attempt: The attempt at the run.
        worker: Which of its workers this is.
        on_over: Called, on another thread, when a remote worker sees that the run is over or stops.

    Attributes:
        id: Of the worker.
        count_rows: Gives how many rows got their outcome from it; told with each renewal.
    """

    def __init__(
        self,
        connection: Connection,
        dataset: tuple[str, str],
        run_id: str,
        attempt: int,
        worker: Worker,
        on_over: Callable[[], None],
    ) -> None:
        self.id: str = worker.id
        self._connection = connection
        self._dataset = dataset
        self._run_id = run_id
        self._watch: RunWatch | None = None
        if worker.is_remote:
            every_s = max(WATCH_S, worker.num_workers / WATCHES_PER_S)
            self._watch = RunWatch(
                connection, guard_name(dataset, run_id), attempt, on_over, every_s=every_s
            )
        name = worker_guard(dataset, run_id, self.id)
        self.count_rows: Callable[[], int] = lambda: 0
        self._guard = _WorkerGuard(
            connection, name, run_id, attempt, progress=lambda: {ROWS_LABEL: str(self.count_rows())}
        )
        self._lease = Lease(self._guard)

    def start(self) -> None:
        """Take a lease, and renew it from now on."""
        self._guard.create()
        self._lease.start()
        if self._watch is not None:
            self._watch.start()

    def check(self) -> None:
        """Return if this worker certainly still has its shards. Cheap: called before every row.

        Raises:
            RunTakenOverError: They were given to others, or may have been.
        """
        self._lease.check()

    def raise_if_lost(self, why: BaseException) -> None:
        """Ask the guard itself whether the shards are lost, because something has failed.

        Raises:
            RunTakenOverError: They are.
        """
        try:
            self._guard.check()
        except RunTakenOverError as loss:
            raise loss from why
        except Exception as error:  # the first error is the one to report
            log.info("the guard of the worker could not be asked: %s", google_message(error))

    def end(self, _error: BaseException | None = None) -> None:
        """Give up the lease. Whoever publishes the run drops its table."""
        if self._watch is not None:
            self._watch.close()
        self._lease.close()
        self._guard.end()

    def drop_late_tables(self) -> None:
        """Drop the work tables that are left of the run, if it has no guard any more."""
        drop_late_tables(self._connection, self._dataset, self._run_id)

    def find_lost(self, state: LogState) -> Sequence[ShardEvent]:
        """Look which workers with claims are gone, and take their leases.

        Returns:
            The events to tell of them.
        """
        holding = {claim.worker for claim in state.shards.claims} - {self.id}
        return take_from_dead(self._connection, self._dataset, self._run_id, state, holding)


def take_from_dead(
    connection: Connection,
    dataset: tuple[str, str],
    run_id: str,
    state: LogState,
    workers: set[str],
) -> list[ShardEvent]:
    """Take the leases of those workers that give no sign of life.

    Args:
        connection: To ask with.
        dataset: Project and dataset of the work tables.
        run_id: The run.
        state: What the events have told.
        workers: Who is looked at.

    Returns:
        The events to tell of those that are gone.
    """
    lost = []
    for worker in sorted(workers):
        name = worker_guard(dataset, run_id, worker)
        holder = find_holder(connection, name)
        if holder is not None and holder.is_alive(state.now):
            continue
        log.info("worker %s is gone; others go on with its rows", worker)
        end_lease(connection, name, secrets.token_hex(8))
        lost.append(ShardEvent(LOST, worker))
    return lost
