"""What is remembered of a workflow's run, in the ledger. See `etlkit.api.workflow_state`."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from etlkit.api.run import ParentRun, Run, RunRecord, RunRequest, new_run_id
from etlkit.api.workflow_report import FINISHED, TaskReport, TaskState, WorkflowReport
from etlkit.api.workflow_state import Path, task_text, value_text
from etlkit.bigquery.client import Connection, connect
from etlkit.bigquery.google_errors import errors_as
from etlkit.bigquery.names import label, parse_table, work_dataset
from etlkit.bigquery.runs.find_run import find_workflow_run
from etlkit.bigquery.runs.guard import end_lease, guard_name
from etlkit.bigquery.runs.ledger import WORKFLOW, Ledger
from etlkit.bigquery.runs.run_owner import RunOwner
from etlkit.bigquery.runs.run_reports import report_of_workflow
from etlkit.bigquery.runs.stored_reports import to_stored
from etlkit.bigquery.runs.workflow_events import (
    FORGET,
    SUM,
    WorkflowEvents,
    forgotten,
    store_task,
    workflow_of,
)
from etlkit.bigquery.sql import guard as guard_sql
from etlkit.bigquery.sql.ledger import TASK_EVENT
from etlkit.errors import AlreadyPublishedError, ConfigError, SinkError

if TYPE_CHECKING:
    from etlkit.api.workflow_state import WorkflowState

log: logging.Logger = logging.getLogger("etlkit.bigquery")

_MAX_BATCH_CHARS = 8_000_000
"""Of the ends that one request records: a request may have 10 MB.
https://cloud.google.com/bigquery/quotas#query_jobs"""


@contextmanager
def open_workflow_state(
    request: RunRequest,
    dataset: str,
    *,
    is_runnable_concurrently: bool = False,
    labels: Mapping[str, str] | None = None,
    near: Callable[[], Iterable[str]] = tuple,
) -> Iterator[WorkflowState]:
    """Open the memory of a new run of a workflow, or of the run to resume; writes nothing yet.

    Args:
        request: A new run, or the one to resume; `job_name` is the workflow's.
        dataset: The workflow's work dataset, `dataset` or `project.dataset`.
        is_runnable_concurrently: Whether another run of the workflow may be in progress.
        labels: For every BigQuery job that it makes.
        near: Gives tables that the tasks read and write, as `dataset.table`: a work dataset that is
            missing is made where the first of them is that can be found.

    Raises:
        AlreadyPublishedError: The run to resume is published; its attribute `report` is the run's
            `WorkflowReport`.
        RunStateError: There is no such run, or it is in progress.
        SinkError: The ledger cannot be read.
    """
    record, earlier = None, WorkflowEvents()
    if request.resume is not None:
        record, earlier = _find(request, dataset)
    with Run(request, labels=labels, record=record) as run:
        connection = connect(run)
        place = work_dataset(dataset, connection.project)
        state = BigQueryWorkflowState(
            connection, run, place, earlier, exclusive=not is_runnable_concurrently, near=near
        )
        try:
            yield state
        finally:
            state.close()


def _find(request: RunRequest, dataset: str) -> tuple[RunRecord, WorkflowEvents]:
    prefix = f"etlkit_find_{new_run_id(datetime.now(UTC))}"
    labels = {"etlkit_job": label(request.job_name)}
    connection = Connection(request.settings, job_prefix=prefix, labels=labels)
    try:
        place = work_dataset(dataset, connection.project)
        ledger = Ledger(connection, place)
        with errors_as(SinkError, "open", "reading the ledger failed"):
            try:
                record = find_workflow_run(connection, place, request)
            except AlreadyPublishedError as done:
                done.report = _told(ledger, done.run_id)  # type: ignore[attr-defined]
                raise
            return record, WorkflowEvents.read(ledger, record.run_id)
    finally:
        connection.close()


def _told(ledger: Ledger, run_id: str) -> WorkflowReport:
    """The report of a run that is over."""
    (row,) = ledger.find("run_id = @value", run_id, reports=True)
    return report_of_workflow(row, WorkflowEvents.read(ledger, run_id))


@dataclass
class _End:
    """The end of a task, on its way into the ledger.

    Attributes:
        path: The task.
        row: Its values of the ledger's columns.
        size: Characters that it takes in a request.
        is_written: Whether it is in the ledger.
        error: Why it could not be written; None = it could.
    """

    path: Path
    row: dict[str, Any]
    size: int
    is_written: bool = False
    error: BaseException | None = None


@dataclass
class _Ends:
    """The ends of tasks that are not in the ledger yet. Guarded by `lock`.

    Attributes:
        lock: Held for a moment only.
        writing: Held while a request is on its way: two at once would conflict at the guard.
        queue: In the order in which they came.
        known: Tasks whose end is in the ledger, or in the queue, with their state.
        published: Ids of the runs of jobs whose end is in the ledger.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    writing: threading.Lock = field(default_factory=threading.Lock)
    queue: list[_End] = field(default_factory=list)
    known: dict[Path, TaskState] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)

    def take(self) -> list[_End]:
        """What the next request writes: as much as fits."""
        size, batch = 0, list[_End]()
        with self.lock:
            while self.queue and (not batch or size + self.queue[0].size <= _MAX_BATCH_CHARS):
                batch.append(self.queue.pop(0))
                size += batch[-1].size
        return batch


def _of_graph(task: TaskReport) -> TaskReport:
    """What the definition of a task tells, without what came of it; a task that is left out says so."""
    return TaskReport(
        name=task.name,
        kind=task.kind,
        state="skipped" if task.state == "skipped" else "waiting",
        after=task.after,
        job=task.job,
        target=task.target,
        details=task.details,
        fingerprint=task.fingerprint,
        children=[_of_graph(child) for child in task.children],
    )


class BigQueryWorkflowState:
    """See `etlkit.api.workflow_state.WorkflowState`; made by `open_workflow_state`.

    Tasks that end at once are recorded by one request: whoever comes first writes for all that wait.

    Args:
        connection: The run's connection.
        run: The attempt.
        dataset: Project and dataset of the ledger.
        earlier: What the ledger knows of the run.
        exclusive: Refuse to begin while another run of the workflow is in progress.
        near: See `open_workflow_state`.
    """

    def __init__(
        self,
        connection: Connection,
        run: Run,
        dataset: tuple[str, str],
        earlier: WorkflowEvents,
        *,
        exclusive: bool = True,
        near: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._connection = connection
        self._exclusive = exclusive
        self._near = near
        self._dataset = dataset
        self._earlier = None if earlier.graph is None else workflow_of(earlier.graph)
        self._owner = RunOwner(connection, run, dataset, target="", mode=WORKFLOW, kind="workflow")
        self._ends = _Ends()
        self._remember(earlier)
        self._requests = 0
        self._job_name = run.job_name
        self.run_id: str = run.run_id
        self.attempt: int = run.attempt

    def _remember(self, events: WorkflowEvents) -> None:
        self._events = events
        self._finished = events.finished()
        self._unpublished = events.unpublished()

    def earlier(self) -> WorkflowReport | None:
        """See `WorkflowState.earlier`."""
        return self._earlier

    def begin(self, report: WorkflowReport, /, forget: Collection[Path] = ()) -> None:
        """See `WorkflowState.begin`."""
        tasks = [_of_graph(task) for task in report.tasks]
        stored = to_stored(replace(report, tasks=tasks))
        if forget:
            stored[FORGET] = forgotten(forget)
        with errors_as(SinkError, "open", "writing to the ledger failed"):
            self._find_location()
            self._owner.start(exclusive=self._exclusive, report=stored)
            if self.attempt > 1:
                with self._given_back_if_it_fails():
                    self._take_children_over()

    @contextmanager
    def _given_back_if_it_fails(self) -> Iterator[None]:
        """Let the run be resumed at once if this attempt cannot begin its work."""
        try:
            yield
        except BaseException as error:
            try:
                self._owner.end(error)
            except Exception as second:  # the first error is the one to report
                log.warning("the ledger could not record how the run ended: %s", second)
            raise

    def _find_location(self) -> None:
        """Work where the ledger is; where the tasks' tables are, if there is none yet."""
        connection = self._connection
        if connection.location is not None:
            return
        found = connection.find_dataset(".".join(self._dataset))
        for table in [] if found is not None else self._near():
            try:
                name = parse_table(table, connection.project)
            except ConfigError:  # its name depends on a variable
                continue
            found = connection.find_dataset(name.dataset_id)
            if found is not None:
                break
        if found is not None:
            connection.location = found.location

    def _take_children_over(self) -> None:
        """Read again what was recorded, and stop the runs of tasks that an earlier attempt began.

        No more of them can begin: the earlier attempt has lost the workflow's run. Those that did
        begin can go on until they are stopped here, so the ledger is read before and afterwards.
        """
        token = f"revoked_{secrets.token_hex(4)}"
        stopped: set[str] = set()
        while True:
            self._remember(WorkflowEvents.read(self._owner.ledger, self.run_id))
            running = {
                child.run_id
                for child in self._events.children.values()
                if child.state == "running" and child.run_id not in stopped
            }
            if not running:
                return
            self._revoke(sorted(running), token)
            stopped |= running

    def _revoke(self, run_ids: list[str], token: str) -> None:
        from google.api_core.exceptions import NotFound

        guards = [guard_name(self._dataset, run_id) for run_id in run_ids]
        for guard in guards:
            if not end_lease(self._connection, guard, token):
                continue  # it was published, and nothing is left of it
            try:
                name = f"revoke_{guard.table}_{self._owner.guard.owner}"
                self._connection.query(guard_sql.revoke(guard, token), name)
            except NotFound:
                continue

    def finished(self) -> Mapping[Path, TaskReport]:
        """See `WorkflowState.finished`."""
        return self._finished

    def unpublished_child(self, path: Path, /) -> str | None:
        """See `WorkflowState.unpublished_child`."""
        child = self._unpublished.get(path)
        return child.run_id if child is not None and child.is_resumable else None

    def child(self, path: Path, /) -> ParentRun:
        """See `WorkflowState.child`."""
        return ParentRun(
            self.run_id,
            task_text(path),
            owner=self._owner.guard.owner,
            dataset=".".join(self._dataset),
            job=self._job_name,
            on_published=self._ends.published.add,
        )

    def task_ended(self, path: Path, report: TaskReport, /) -> None:
        """See `WorkflowState.task_ended`."""
        self.check()
        end = self._queue(path, report)
        if end is not None and not self._may_wait(report):
            self._write_until(end)

    def _queue(self, path: Path, report: TaskReport) -> _End | None:
        """Queue the end of a task; None = it is known already."""
        end = self._end_of(path, report)
        with self._ends.lock:
            if self._ends.known.get(path) in {*FINISHED, report.state}:
                return None
            self._ends.known[path] = report.state
            self._ends.queue = [each for each in self._ends.queue if each.path != path]
            self._ends.queue.append(end)
        return end

    def _may_wait(self, report: TaskReport) -> bool:
        """Whether a resume could do without the record of this end."""
        if report.state != "succeeded":
            return True
        is_told = report.value is None or report.kind == "datamart"  # its run has the value
        return is_told and report.run_id in self._ends.published

    def _end_of(self, path: Path, report: TaskReport) -> _End:
        with self._ends.lock:
            recorded = {p[-1] for p in self._recorded() if p[:-1] == path}
        stored = store_task(report, recorded)
        row = {
            "event": f"{TASK_EVENT}{report.state}",
            "task": task_text(path),
            "target": report.target or None,
            "read": report.read,
            "written": report.written,
            "skipped": report.skipped,
            "rejected": report.rejected,
            "rows_published": report.rows,
            "error": report.error,
            "seconds": report.seconds,
            "bytes_billed": report.bytes_billed,
            "cost": report.cost,
            "report": stored,
            "value": None if report.value is None or SUM in stored else value_text(report.value),
        }
        text = json.dumps(row, ensure_ascii=False, default=str)
        return _End(path, row, len(json.dumps(text)))  # as it stands in the request

    def _recorded(self) -> set[Path]:
        return {*self._ends.known, *self._events.ends}

    def _write_until(self, end: _End) -> None:
        """Return when this end is in the ledger, by this thread's request or another's."""
        while True:
            with self._ends.writing:
                if not end.is_written and end.error is None:
                    self._write(self._ends.take())
            if end.error is not None:
                raise end.error
            if end.is_written:
                return

    def _write(self, batch: list[_End]) -> None:
        self._requests += 1
        try:
            with errors_as(SinkError, "ledger", "recording the end of a task failed"):
                self._owner.record([end.row for end in batch], f"tasks_{self._requests}")
        except BaseException as error:
            with self._ends.lock:
                for end in batch:
                    self._ends.known.pop(end.path, None)
            for end in batch:
                end.error = error
            return
        for end in batch:
            end.is_written = True

    def check(self) -> None:
        """See `WorkflowState.check`."""
        self._owner.check()

    def end(self, report: WorkflowReport, error: BaseException | None, /) -> None:
        """See `WorkflowState.end`."""
        for task in report.tasks:
            if not task.from_earlier and task.state not in {"waiting", "running"}:
                self._queue((task.name,), task)
        with (
            self._ends.writing,
            errors_as(SinkError, "ledger", "recording the run in the ledger failed"),
        ):
            tasks = self._ends.take()
            while self._ends.queue:
                self._write(tasks)
                tasks = self._ends.take()
            rows = [end.row for end in tasks]
            if error is not None:
                self._owner.end(error, report=report, tasks=rows)
            else:
                self._owner.publish([], None, report=report, tasks=rows)
                self._owner.finish()

    def close(self) -> None:
        """Stop renewing the lease, whatever has happened."""
        self._owner.lease.close()
