"""Where the tasks of a scheduler find each other: an empty table whose metadata say who leads.

As the guard of a run, it is changed by `tables.patch` with an etag and never by DML. It gives no right
to publish: that is the guard's. It only keeps all tasks but one from opening a run.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from etlkit.api.rendezvous import FoundRun, LeadEnd, Standing
from etlkit.api.run import Run, new_run_id
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.google_errors import errors_as, google_message
from etlkit.bigquery.names import TableName, label, shard_events_name, work_dataset
from etlkit.bigquery.runs.find_run import record_of_row
from etlkit.bigquery.runs.finish import finish_published
from etlkit.bigquery.runs.guard import Guard, Holder, bigquery_time, find_holder, guard_name
from etlkit.bigquery.runs.lease import Lease
from etlkit.bigquery.runs.ledger import Ledger
from etlkit.bigquery.shards.shard_log import ShardLog
from etlkit.errors import RunStateError, RunTakenOverError, SinkError

if TYPE_CHECKING:
    from datetime import datetime

    from google.cloud import bigquery

    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import RunRequest
    from etlkit.api.scheduler_task import SchedulerTask
    from etlkit.api.source import Source
    from etlkit.bigquery.modes import TargetOptions

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_RUN = "etlkit_tasks_run"
_OUTCOME = "etlkit_outcome"

_MAX_TELLS = 3


def rendezvous_name(dataset: tuple[str, str], job_name: str, run_key: str) -> TableName:
    """Where the tasks of a job with this key meet."""
    digest = hashlib.sha256(f"{job_name}\n{run_key}".encode()).hexdigest()[:16]
    return TableName(*dataset, f"fleet_{digest}")


class _Lead(Guard):
    """The lead among tasks: as the guard of a run, with what its loss means for them."""

    def taken_over(self, holder: Holder | None = None) -> RunTakenOverError:  # noqa: ARG002
        """The error of a task that leads no more."""
        return RunTakenOverError("another task leads this run now; this one published nothing")

    def take(self, seen: bigquery.Table | None) -> bool:
        """Lead, if nothing has changed since the table was seen; None = it was not there.

        A task that was paused after it looked must not begin a run after another one has published.
        """
        if seen is not None:
            return self._swap(seen)
        try:
            self.create()
        except RunStateError:
            return False
        return True


def open_rendezvous(
    options: TargetOptions,
    job: JobOptions,
    source: Source,
    request: RunRequest,
    task: SchedulerTask,
) -> TaskRendezvous:
    """See `etlkit.api.rendezvous.TakesTasks.meet`."""
    token = new_run_id(request.started_at)
    labels = {"etlkit_job": label(request.job_name)}
    connection = Connection(request.settings, job_prefix=f"etlkit_task_{token}", labels=labels)
    dataset = work_dataset(options.work_dataset, connection.project)
    rendezvous = TaskRendezvous(connection, dataset, request.job_name, task.run_key)
    with errors_as(SinkError, "open", "the place where tasks meet could not be opened"):
        _find_location(connection, ".".join(dataset), job, source, request)
    return rendezvous


def _find_location(
    connection: Connection, dataset_id: str, job: JobOptions, source: Source, request: RunRequest
) -> None:
    """Work where the run will: a dataset that is missing is made where the source is."""
    found = connection.find_dataset(dataset_id)
    if found is not None:
        connection.location = found.location
        return
    with Run(request) as run:
        source.open(job, run).close(succeeded=False)
        connection.location = connect(run).location
    connection.make_dataset(dataset_id)


class TaskRendezvous:
    """See `etlkit.api.rendezvous.Rendezvous`.

    Args:
        connection: Closed with this.
        dataset: Project and dataset of the work tables.
        job_name: The job.
        run_key: What its tasks have in common.
    """

    def __init__(
        self, connection: Connection, dataset: tuple[str, str], job_name: str, run_key: str
    ) -> None:
        self._connection = connection
        self._dataset = dataset
        self._name = rendezvous_name(dataset, job_name, run_key)
        self._run_id: str | None = None
        self._outcome = LeadEnd.UNKNOWN
        self._lead: _Lead | None = None
        self._lease: Lease | None = None
        self._seen: datetime | None = None
        self._table: bigquery.Table | None = None

    def look(self) -> Standing:
        """See `etlkit.api.rendezvous.Rendezvous.look`."""
        with errors_as(SinkError, "open", "looking for the other tasks failed"):
            table = self._table = self._connection.find_table(self._name)
            if table is None:
                return Standing(None, is_led=False)
            holder = Holder.of(table)
            # Every renewal is a sign of life; only without a new one is BigQuery asked for the time.
            is_new = not holder.ended and holder.renewed_at != self._seen is not None
            self._seen = holder.renewed_at
            is_led = is_new or holder.is_alive(bigquery_time(self._connection))
        self._run_id = table.labels.get(_RUN) or None
        return Standing(self._run_id, is_led, LeadEnd(table.labels.get(_OUTCOME, "")))

    def take_lead(self) -> bool:
        """See `etlkit.api.rendezvous.Rendezvous.take_lead`."""
        lead = _Lead(self._connection, self._name, "of tasks", 1, progress=self._told)
        self._outcome = LeadEnd.UNKNOWN
        with errors_as(SinkError, "open", "leading the other tasks failed"):
            if not lead.take(self._table):
                return False
        self._lead, self._lease = lead, Lease(lead)
        self._lease.start()
        return True

    def name_run(self, run_id: str) -> None:
        """See `etlkit.api.rendezvous.Rendezvous.name_run`."""
        self._run_id = run_id
        if self._lead is not None:
            with errors_as(SinkError, "open", "telling the other tasks of the run failed"):
                self._tell(self._lead)

    def leave(self, outcome: LeadEnd, run_id: str | None = None) -> None:
        """See `etlkit.api.rendezvous.Rendezvous.leave`."""
        lead, lease, self._lead, self._lease = self._lead, self._lease, None, None
        if lead is None or lease is None:
            return
        lease.close()
        self._outcome, self._run_id = outcome, run_id or self._run_id
        try:
            self._tell(lead)
            lead.end()
        except RunTakenOverError:
            return
        except Exception as error:  # its lease ends by itself
            log.warning("the other tasks could not be told of the end: %s", google_message(error))

    def find_run(self, run_id: str) -> FoundRun | None:
        """See `etlkit.api.rendezvous.Rendezvous.find_run`."""
        with errors_as(SinkError, "open", "reading the ledger failed"):
            ledger = Ledger(self._connection, self._dataset)
            rows = ledger.find("run_id = @value", run_id, code=True) if ledger.is_made() else []
            if not rows:
                return None
            record = record_of_row(rows[0])
            if record.published is not None:
                finish_published(self._connection, self._dataset, run_id)
                return FoundRun(record, None, is_alive=False, published_at=rows[0]["finished_at"])
            holder = find_holder(self._connection, guard_name(self._dataset, run_id))
            is_alive = holder is not None and holder.is_alive(rows[0]["now"])
            return FoundRun(record, rows[0]["error"], is_alive)

    def has_shards(self, run_id: str) -> bool:
        """See `etlkit.api.rendezvous.Rendezvous.has_shards`."""
        with errors_as(SinkError, "open", "looking for the rows of the run failed"):
            events = shard_events_name(self._dataset, run_id)
            if self._connection.find_table(events) is None:
                return False
            return ShardLog(self._connection, self._dataset, run_id, 0, "look").is_opened()

    def close(self) -> None:
        """See `etlkit.api.rendezvous.Rendezvous.close`."""
        self._connection.close()

    def _tell(self, lead: _Lead) -> None:
        """Renew the lead until the labels are there: a renewal that was on its way may come first."""
        for _ in range(_MAX_TELLS):
            lead.renew()
            table = self._connection.find_table(self._name)
            if table is None or self._told().items() <= table.labels.items():
                return

    def _told(self) -> dict[str, str]:
        """Labels that tell the other tasks of the run."""
        told = {_OUTCOME: self._outcome.value}
        return told | {_RUN: self._run_id} if self._run_id else told
