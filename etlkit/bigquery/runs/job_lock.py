"""The lock of a job that must not run twice at once: an empty table whose label names the run.

Like the lease, it is changed by `tables.patch` with an etag and never by DML, so only runs of the same
job ever compete for it. A holder is as alive as its guard.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Literal

from etlkit.bigquery.names import TableName, label
from etlkit.bigquery.runs.finish import is_resumable
from etlkit.bigquery.runs.guard import bigquery_time, find_holder, guard_name
from etlkit.errors import RunStateError

if TYPE_CHECKING:
    from google.cloud import bigquery

    from etlkit.bigquery.client import Connection

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_HOLDER = "etlkit_run"
_MAX_SWAPS = 20
"""Swaps lost to others before giving up. Each one lost means that somebody else got the lock."""


def lock_name(
    dataset: tuple[str, str], job_name: str, kind: Literal["job", "workflow"] = "job"
) -> TableName:
    """Where the lock of a job is."""
    digest = hashlib.sha256(job_name.encode()).hexdigest()[:16]
    return TableName(*dataset, f"{kind}_{digest}")


class JobLock:
    """The lock of one job, for one run of it.

    Args:
        connection: The run's connection.
        dataset: Project and dataset of the work tables.
        job_name: The job.
        run_id: The run that wants the lock.
        kind: `job`, or `workflow`: a workflow and a job may have the same name.
        parent: The workflow's run whose task the run is; None = it is no task's. The iterations of a
            loop may run side by side, so runs of the same workflow's run share the lock.
    """

    def __init__(
        self,
        connection: Connection,
        dataset: tuple[str, str],
        job_name: str,
        run_id: str,
        *,
        kind: Literal["job", "workflow"] = "job",
        parent: str | None = None,
    ) -> None:
        self.name: TableName = lock_name(dataset, job_name, kind)
        self._kind = kind
        self._parent = None if parent is None else label(parent)
        self._connection = connection
        self._dataset = dataset
        self._job_name = job_name
        self._run_id = run_id

    def acquire(self) -> str | None:
        """Hold the lock for this run.

        Returns:
            The run that held it before and was not published; None = there is none.

        Raises:
            RunStateError: Another run of the job is in progress.
        """
        from google.cloud import bigquery

        wanted = bigquery.Table(str(self.name), schema=[bigquery.SchemaField("job", "STRING")])
        wanted.description = f"etlkit: lock of {self._kind} {self._job_name}"
        table = self._connection.find_or_make_table(wanted)
        for _ in range(_MAX_SWAPS):
            before = table.labels.get(_HOLDER)
            unpublished = self._refuse_if_alive(before)
            table.labels = {_HOLDER: self._run_id}
            if self._swap(table):
                return unpublished
            table = self._connection.find_or_make_table(wanted)
        raise RunStateError(
            f"{self._kind} {self._job_name} is started by too many processes at once; try again later"
        )

    def _refuse_if_alive(self, run_id: str | None) -> str | None:
        if run_id is None or run_id == self._run_id:
            return None
        holder = find_holder(self._connection, guard_name(self._dataset, run_id))
        if holder is None:  # its guard goes when it is published
            return None
        if holder.is_alive(bigquery_time(self._connection)):
            if self._parent is not None and holder.parent == self._parent:
                return None
            raise RunStateError(
                f"{self._kind} {self._job_name} is in progress already, as run {run_id} ({holder}); "
                f"wait for it, or declare the {self._kind} with is_runnable_concurrently=True"
            )
        # What is left to do of a run that is published must not come after this one's rows.
        return run_id if is_resumable(self._connection, self._dataset, run_id) else None

    def _swap(self, table: bigquery.Table) -> bool:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        try:
            self._connection.client.update_table(
                table, ["labels"], retry=self._connection.retry(), timeout=60.0
            )
        except (PreconditionFailed, NotFound):
            return False
        return True
