"""One attempt's hold on its run: guard, lease, job lock and the events it writes."""

from __future__ import annotations

import json
import logging
import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from etlkit.api.report import DatamartReport, RunReport, end_state, error_text
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.api.workflow_state import value_text
from etlkit.bigquery.google_errors import google_message
from etlkit.bigquery.runs.finish import drop_late_tables, finish_published
from etlkit.bigquery.runs.guard import Guard, guard_name
from etlkit.bigquery.runs.job_lock import JobLock
from etlkit.bigquery.runs.lease import Lease
from etlkit.bigquery.runs.ledger import Ledger, published_counts
from etlkit.bigquery.runs.progress_labels import progress_labels
from etlkit.bigquery.runs.stored_reports import to_stored
from etlkit.bigquery.sql import guard as guard_sql
from etlkit.errors import (
    AlreadyPublishedError,
    ConfigError,
    RunStateError,
    RunTakenOverError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etlkit.api.outcomes import Counts
    from etlkit.api.report import Report
    from etlkit.api.run import Run
    from etlkit.bigquery.client import Connection
    from etlkit.bigquery.names import TableName

log: logging.Logger = logging.getLogger("etlkit.bigquery")


class RunOwner:
    """Owns a run from its start until it is published, fails, or is taken over.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the work tables.
        target: Where the rows go; empty = no one table.
        mode: How they are published.
        details: Query parameters, files and the like, recorded beside the run's variables.
        kind: `job`, or `workflow`.
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
        kind: Literal["job", "workflow"] = "job",
    ) -> None:
        self._connection = connection
        self._run = run
        self._dataset = dataset
        self._kind = kind
        self.ledger: Ledger = Ledger(connection, dataset)
        name = guard_name(dataset, run.run_id)
        self.guard: Guard = Guard(
            connection, name, run.run_id, run.attempt, progress=self._progress
        )
        self.lease: Lease = Lease(self.guard)
        parent = run.parent
        self._values: dict[str, Any] = {
            "run_id": run.run_id,
            "job": run.job_name,
            "mode": mode,
            "target": target,
            "attempt": run.attempt,
            "fingerprint": run.fingerprint,
            "code": json.dumps(run.code) if run.code else None,
            "revision": run.revision,
            "variables": {**run.variables, **(details or {})},
            "retry_of": run.retry_of,
            "parent_run_id": None if parent is None else parent.run_id,
            "task": None if parent is None else parent.task,
            "owner": self.guard.owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": run.started_at,
        }

    def start(
        self,
        *,
        exclusive: bool,
        can_resume: bool = True,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin the run, or take it over.

        Args:
            exclusive: Refuse to start while another run of the job is in progress.
            can_resume: Whether a run of this job can be resumed, for the note about an earlier one.
            report: Recorded with the start; None = there is nothing to tell.

        Raises:
            ConfigError: The run is a task's, and its workflow has another work dataset.
            RunStateError: Another run of the job is in progress, or another process has resumed
                this run.
            RunTakenOverError: The run is a task's, and another process has taken over the workflow.
            AlreadyPublishedError: The run to resume was published a moment ago.
        """
        parent = self._parent_hold()
        self.ledger.make()
        try:
            self._begin(parent, report, exclusive=exclusive, can_resume=can_resume)
        except RunStateError:
            if self._run.attempt > 1:
                self._raise_if_published()
            raise
        self.lease.start()
        if self._run.parent is not None:
            self._run.parent.on_started(self._run.run_id)

    def _progress(self) -> Mapping[str, str]:
        progress = self._run.progress()
        return {} if progress is None else progress_labels(*progress)

    def _begin(
        self,
        parent: guard_sql.Holding | None,
        report: Mapping[str, Any] | None,
        *,
        exclusive: bool,
        can_resume: bool,
    ) -> None:
        is_new = True
        if self._run.attempt == 1:
            self.guard.create()
        else:
            is_new = self.guard.claim()
        try:
            if exclusive:
                self._lock_job(can_resume=can_resume)
            self._write_start(parent, report, is_new=is_new)
        except BaseException:
            self._undo_start()
            raise

    def _raise_if_published(self) -> None:
        """Look again: the publish of a process that is dead may have been on its way to BigQuery.

        Raises:
            AlreadyPublishedError: It has arrived since this process has looked for the run.
        """
        run_id = self._run.run_id
        for row in self.ledger.find("run_id = @value", run_id):
            if row["state"] == "published":
                finish_published(self._connection, self._dataset, run_id)
                raise AlreadyPublishedError(
                    f"run {run_id} was published by its earlier attempt a moment ago; "
                    "there is nothing left to do",
                    run_id=run_id,
                    counts=published_counts(row),
                    target=row["target"],
                )

    def _parent_hold(self) -> guard_sql.Holding | None:
        """The hold on the workflow's run that this run must not outlive; None = there is none."""
        parent = self._run.parent
        if parent is None or not parent.owner:
            return None
        own = ".".join(self._dataset)
        if parent.dataset != own:
            raise ConfigError(
                f"job {self._run.job_name} has the work dataset {own}, and the workflow that runs it "
                f"has {parent.dataset}: give them the same, so that one ledger knows of both"
            )
        return guard_sql.Holding(guard_name(self._dataset, parent.run_id), parent.owner)

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
        parent = self._run.parent
        lock = JobLock(
            self._connection,
            self._dataset,
            self._run.job_name,
            self._run.run_id,
            kind=self._kind,
            parent=None if parent is None else parent.run_id,
        )
        unpublished = lock.acquire()
        if unpublished and can_resume and self._run.attempt == 1:
            log.info(
                "note: run %s was not published; --resume %s goes on with it",
                unpublished,
                unpublished,
            )

    def _write_start(
        self, parent: guard_sql.Holding | None, report: Mapping[str, Any] | None, *, is_new: bool
    ) -> None:
        insert, parameters = self.ledger.event("started", self._values | {"report": report})
        guard, owner, attempt = self.guard.name, self.guard.owner, self._run.attempt
        if is_new:
            text = guard_sql.start(guard, owner, attempt, self.ledger.events, insert, parent)
        else:
            text = guard_sql.take_over(guard, owner, attempt, insert, parent)
        with _Losing(self.guard, parent):
            self._connection.query(text, f"start_{owner}", parameters=parameters)

    def check(self) -> None:
        """Return if this process certainly still holds the run.

        Raises:
            RunTakenOverError: The run was taken over, or its lease ended and could not be renewed.
        """
        self.lease.check()

    def stop_workers(self) -> None:
        """Tell the workers of the run to stop; see `etlkit.api.sink.SharesRun.stop_workers`."""
        self.guard.stop_workers()

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

    def record(self, tasks: Sequence[Mapping[str, Any]], purpose: str) -> None:
        """Record the ends of a workflow's tasks while the run goes on.

        Args:
            tasks: Values of `TASK_COLUMNS` for each.
            purpose: Unique in the attempt.

        Raises:
            RunTakenOverError: Another process has taken the run over; nothing was recorded.
            google.api_core.exceptions.GoogleAPIError: BigQuery refused.
        """
        insert, parameters = self.ledger.task_events(self._values, tasks)
        text = guard_sql.recorded(self.guard.name, self.guard.owner, [insert])
        with self.losing_is_an_error():
            name = f"{purpose}_{self.guard.owner}"
            self._connection.query(text, name, parameters=parameters)

    def publish(
        self,
        statements: Sequence[str],
        counts: Counts | None,
        cleanup: str | None = None,
        *,
        purpose: str = "publish",
        report: Report | None = None,
        tasks: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Run statements and record that the run is published: all of it or nothing, and once.

        Args:
            statements: DML.
            counts: How the source rows ended; None = there are no rows to count.
            cleanup: Statements to run after this; see `guard_sql.fenced`.
            purpose: Unique in the attempt.
            report: Recorded with it; None = what the run tells.
            tasks: Ends of a workflow's tasks that are not recorded yet; as in `record`.

        Raises:
            RunTakenOverError: Another process has taken the run over.
            google.api_core.exceptions.GoogleAPIError: BigQuery refused.
        """
        told = _told(report or self._run.report(counts, None))
        inserts, parameters = self._events("published", _counts(counts) | told, tasks)
        text = guard_sql.fenced(self.guard.name, self.guard.owner, [*statements, *inserts], cleanup)
        try:
            with self.losing_is_an_error():
                name = f"{purpose}_{self.guard.owner}"
                self._connection.query(text, name, parameters=parameters)
        except RunTakenOverError:
            # The answer may have been lost, and another process has finished the run since.
            if not self._has_published():
                raise
        self.lease.close()
        if self._run.parent is not None:
            self._run.parent.on_published(self._run.run_id)

    def _events(
        self, event: str, values: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]
    ) -> tuple[list[str], list[Any]]:
        """INSERTs of the ends of tasks and of one event of the run, and their parameters."""
        insert, parameters = self.ledger.event(event, {**self._values, **values})
        if not tasks:
            return [insert], parameters
        first, more = self.ledger.task_events(self._values, tasks)
        by_name = {each.name: each for each in [*more, *parameters]}
        return [first, insert], [*by_name.values()]

    def _has_published(self) -> bool:
        rows = self.ledger.find("run_id = @value", self._run.run_id)
        return any((r["state"], r["owner"]) == ("published", self.guard.owner) for r in rows)

    def losing_is_an_error(self) -> _Losing:
        """Turn the fence's refusal into a `RunTakenOverError` that tells who has the run."""
        return _Losing(self.guard)

    def end(
        self,
        error: BaseException,
        *,
        report: Report | None = None,
        tasks: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Record why the attempt ended, if the run is still its own; then let it be resumed.

        Args:
            error: Why.
            report: Recorded with it; None = what the run tells.
            tasks: As in `publish`.
        """
        self.lease.close()
        if isinstance(error, RunTakenOverError):
            return  # what happens to the run now is its new owner's to record
        told = _told(report or self._run.report(None, error))
        told["error"] = error_text(error)
        inserts, parameters = self._events(end_state(error), told, tasks)
        text = inserts[0]
        if self._kind == "workflow":
            text = guard_sql.recorded(self.guard.name, self.guard.owner, inserts)
        with self.losing_is_an_error():
            self._connection.query(text, f"end_{self.guard.owner}", parameters=parameters)
        self.guard.end()

    def finish(self, work_tables: Sequence[TableName] = ()) -> None:
        """Drop the guard, when everything is done after publishing.

        Args:
            work_tables: Of the run. They go first, beside what the caller does meanwhile: whoever
                meets the guard of a published run drops what is left.
        """
        if work_tables:
            self._connection.drop_beside(work_tables, then=self._finish_last)
        else:
            self.guard.drop()

    def _finish_last(self) -> None:
        self.guard.drop()
        if self._run.attempt > 1 or self._run.num_workers is not None:
            # A process that has lost the run, or a part of it, may have made a table meanwhile.
            self.drop_late_tables()

    def drop_late_tables(self) -> None:
        """Drop the work tables that are left of the run, if it has no guard any more."""
        drop_late_tables(self._connection, self._dataset, self._run.run_id)


class _Losing:
    def __init__(self, guard: Guard, parent: guard_sql.Holding | None = None) -> None:
        self._guard = guard
        self._parent = parent

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from google.api_core.exceptions import GoogleAPICallError, NotFound

        if not isinstance(error, GoogleAPICallError):
            return
        message = google_message(error)
        parent = self._parent
        ended = parent and isinstance(error, NotFound) and parent.guard.table in message
        if ended or guard_sql.LOST_PARENT in message:
            raise RunTakenOverError(
                "the run of the workflow was taken over by another process; this process published "
                "nothing"
            ) from error
        guard_is_gone = isinstance(error, NotFound) and self._guard.name.table in message
        if guard_sql.LOST in message or guard_is_gone:
            raise self._guard.taken_over() from error


def _told(report: Report | None) -> dict[str, Any]:
    """What a report tells the ledger."""
    if isinstance(report, WorkflowReport):
        counted = [task.rows for task in report.tasks if task.rows is not None]
        known: dict[str, Any] = {
            "rows_published": sum(counted) if counted else None,
            "bytes_billed": report.bytes_billed,
            "cost": report.cost,
        }
        report = replace(report, tasks=[])  # they have events of their own
    elif isinstance(report, (RunReport, DatamartReport)):
        task = TaskReport(name="", kind="transfer")
        task.add_run(report)
        known = {"bytes_billed": task.bytes_billed, "cost": task.cost}
        if isinstance(report, DatamartReport) and report.first_row is not None:
            known["value"] = value_text(report.first_row)  # whole: other tasks may read it
            report = replace(report, first_row=None)
    else:
        return {}
    return {**known, "seconds": round(report.total_s, 3), "report": to_stored(report)}


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
