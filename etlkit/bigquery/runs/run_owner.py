"""One attempt's hold on its run: guard, lease, job lock and the events it writes."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from etlkit.bigquery import sql
from etlkit.bigquery.client import google_message
from etlkit.bigquery.runs.guard import Guard, guard_name
from etlkit.bigquery.runs.job_lock import JobLock
from etlkit.bigquery.runs.lease import Lease
from etlkit.bigquery.runs.ledger import Ledger
from etlkit.errors import RunTakenOverError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etlkit.api.outcomes import Counts
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection

log = logging.getLogger("etlkit.bigquery")


class RunOwner:
    """Owns a run from its start until it is published, fails, or is taken over.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        target: Where the rows go; empty = no one table.
        mode: How they are published.
        details: Query parameters, files and the like, recorded beside the run's variables.
    """

    def __init__(
        self,
        connection: Connection,
        run: Run,
        dataset: tuple[str, str],
        *,
        target: str,
        mode: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._connection = connection
        self._run = run
        self._dataset = dataset
        self.ledger = Ledger(connection, dataset)
        self.guard = Guard(connection, guard_name(dataset, run.run_id), run.run_id, run.attempt)
        self.lease = Lease(self.guard)
        self._values = {
            "run_id": run.run_id,
            "job": run.job_name,
            "mode": mode,
            "target": target,
            "attempt": run.attempt,
            "fingerprint": run.fingerprint,
            "variables": {**run.variables, **(details or {})},
            "retry_of": run.retry_of,
            "owner": self.guard.owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": run.started_at,
        }

    def start(self, *, exclusive: bool, can_resume: bool = True) -> None:
        """Begin the run, or take it over.

        Args:
            exclusive: Refuse to start while another run of the job is in progress.
            can_resume: Whether a run of this job can be resumed, for the note about an earlier one.

        Raises:
            RunStateError: Another run of the job is in progress, or another process has resumed
                this run.
        """
        self.ledger.make()
        is_new = True
        if self._run.attempt == 1:
            self.guard.create()
        else:
            is_new = self.guard.claim()
        try:
            if exclusive:
                self._lock_job(can_resume=can_resume)
            self._write_start(is_new=is_new)
        except BaseException:
            self._undo_start()
            raise
        self.lease.start()

    def _undo_start(self) -> None:
        """Leave no trace of a run that did not begin; one that was to be resumed can be resumed."""
        try:
            if self._run.attempt == 1:
                self.guard.drop()
            else:
                self.guard.end()
        except Exception as error:  # the error that ended the start is the one to report
            log.warning("guard %s was left behind: %s", self.guard.name, google_message(error))

    def _lock_job(self, *, can_resume: bool) -> None:
        lock = JobLock(self._connection, self._dataset, self._run.job_name, self._run.run_id)
        unpublished = lock.acquire()
        if unpublished and can_resume and self._run.attempt == 1:
            log.info(
                "note: run %s was not published; --resume %s goes on with it",
                unpublished,
                unpublished,
            )

    def _write_start(self, *, is_new: bool) -> None:
        insert, parameters = self.ledger.event("started", self._values)
        guard, owner, attempt = self.guard.name, self.guard.owner, self._run.attempt
        if is_new:
            text = sql.start(guard, owner, attempt, self.ledger.events, insert)
        else:
            text = sql.take_over(guard, owner, attempt, insert)
        with self.losing_is_an_error():
            self._connection.query(text, f"start_{owner}", parameters=parameters)

    def check(self) -> None:
        """Return if this process certainly still holds the run.

        Raises:
            RunTakenOverError: The run was taken over, or its lease ended and could not be renewed.
        """
        self.lease.check()

    def raise_if_lost(self, why: BaseException) -> None:
        """Ask the guard itself whether the run is lost, because something has failed.

        Raises:
            RunTakenOverError: Another process has taken the run over or finished it.
        """
        try:
            self.guard.check()
        except RunTakenOverError as loss:
            raise loss from why
        except Exception as error:  # the first error is the one to report
            log.info("the guard of the run could not be asked: %s", google_message(error))

    def publish(
        self, statements: Sequence[str], counts: Counts | None, cleanup: str | None = None
    ) -> None:
        """Run statements and record that the run is published: all of it or nothing, and once.

        Args:
            statements: DML.
            counts: How the source rows ended; None = there are no rows to count.
            cleanup: Statements to run after this; see `sql.fenced`.

        Raises:
            RunTakenOverError: Another process has taken the run over.
            google.api_core.exceptions.GoogleAPIError: BigQuery refused.
        """
        values = self._values | _counts(counts)
        insert, parameters = self.ledger.event("published", values)
        text = sql.fenced(self.guard.name, self.guard.owner, [*statements, insert], cleanup)
        try:
            with self.losing_is_an_error():
                self._connection.query(text, f"publish_{self.guard.owner}", parameters=parameters)
        except RunTakenOverError:
            # The answer may have been lost, and another process has finished the run since.
            if not self._has_published():
                raise
        self.lease.close()

    def _has_published(self) -> bool:
        rows = self.ledger.find("run_id = @value", self._run.run_id)
        return any((r["state"], r["owner"]) == ("published", self.guard.owner) for r in rows)

    def losing_is_an_error(self) -> _Losing:
        """Turn the fence's refusal into a `RunTakenOverError` that tells who has the run."""
        return _Losing(self.guard)

    def end(self, error: BaseException) -> None:
        """Record why the attempt ended, if the run is still its own; then let it be resumed."""
        self.lease.close()
        if isinstance(error, RunTakenOverError):
            return  # what happens to the run now is its new owner's to record
        event = "failed" if isinstance(error, Exception) else "interrupted"
        values = self._values | {"error": str(error) or type(error).__name__}
        insert, parameters = self.ledger.event(event, values)
        self._connection.query(insert, f"end_{self.guard.owner}", parameters=parameters)
        self.guard.end()

    def finish(self) -> None:
        """Drop the guard, when everything is done after publishing."""
        self.guard.drop()


class _Losing:
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from google.api_core.exceptions import GoogleAPICallError, NotFound

        if not isinstance(error, GoogleAPICallError):
            return
        message = google_message(error)
        guard_is_gone = isinstance(error, NotFound) and self._guard.name.table in message
        if sql.LOST in message or guard_is_gone:
            raise self._guard.taken_over() from error


def _counts(counts: Counts | None) -> dict[str, int]:
    if counts is None:
        return {}
    return {
        "read": counts.read,
        "written": counts.written,
        "skipped": counts.skipped,
        "rejected": counts.rejected,
        "rows_published": counts.parts,
    }
