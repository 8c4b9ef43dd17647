"""Runs: what a caller asks for, what a sink remembers, and what one attempt knows."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeAlias, TypeVar

from etlkit.api.outcomes import Counts
from etlkit.api.report import Report
from etlkit.api.scheduler_task import SchedulerTask
from etlkit.calls.run_calls import Calls
from etlkit.calls.shared import SharedCalls
from etlkit.calls.times import Times
from etlkit.rows.columns import Column

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What comes from outside; the only way the environment reaches a source or a sink.

    Attributes:
        project: Google Cloud project that is billed; None = the one of the credentials.
        location: BigQuery location, e.g. `US` or `asia-northeast1`; None = where the data is.
        environ: The environment variables, read once by the runner.
    """

    project: str | None = None
    location: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def new_run_id(now: datetime) -> str:
    """Make an id that sorts by start time and is valid in table names and job ids."""
    return f"{now:%Y%m%d_%H%M%S}{now.microsecond // 1000:03}_{secrets.token_hex(4)}"


LAST = "last"
"""Stands for the id of the job's latest run."""

AUTO = "auto"
"""Resume the job's latest run if it did not publish and can be resumed, else begin a new one."""

MAX_AUTO_AGE = timedelta(days=6)
"""An older run is not resumed by itself: its frozen rows are kept for 7 days."""


def is_too_old(run_id: str, now: datetime) -> bool:
    """Whether `AUTO` leaves a run alone because of its age.

    Args:
        run_id: Made by `new_run_id`; any other id counts as young.
        now: An aware time.
    """
    try:
        began = datetime.strptime(run_id[:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return now - began > MAX_AUTO_AGE


STOP_TIMEOUT_S = 30.0
"""How long calls and requests in flight may keep running after a stop is requested."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and stopped cleanly; it can be resumed.

    Attributes:
        signum: The signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


def _nobody(_run_id: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class ParentRun:
    """The run of a workflow, for a run that is the work of one of its tasks.

    Attributes:
        run_id: Id of the workflow's run.
        task: The task's path, as `etlkit.api.workflow_state.task_text` writes it.
        owner: Token of the attempt that holds the workflow's run: a run of a task does not begin
            when another attempt has taken it over. Empty = nobody is asked.
        dataset: Where its ledger is, `project.dataset`; empty = not known.
        job: Name of the workflow; empty = not known.
        on_started: Called with the run's id by its sink, when the run can be found again.
        on_published: Called with the run's id by its sink, when it will be found as published.
    """

    run_id: str
    task: str
    owner: str = ""
    dataset: str = ""
    job: str = ""
    on_started: Callable[[str], None] = _nobody
    on_published: Callable[[str], None] = _nobody


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the processes that share a run.

    Attributes:
        id: Unique among all workers of all runs.
        index: Its number, from 0.
        num_workers: How many workers the run is meant to have.
        is_remote: Whether the run's process cannot talk to it: it looks by itself whether the run is
            still going on.
        known_columns: Those of the target, and what earlier workers have added to them; empty = the
            worker has to look.
    """

    id: str
    index: int
    num_workers: int
    is_remote: bool = False
    known_columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a caller asks for: a new run of a job, or to resume one.

    Attributes:
        job_name: The job's name in reports, labels and the ledger.
        settings: Project, location and environment.
        limit: Source rows to read at most; None = all.
        variables: Values of the job's custom variables, for the ledger.
        resume: Id of an unpublished run to resume, `LAST` or `AUTO`; None = a new run.
        allow_code_change: Resume although code or query changed since the run began.
        retry_of: Id of a run whose rejected rows are run again. They are added to the target,
            whatever the sink's mode. None = a run of the whole source.
        parent: The workflow's run whose task this run is; None = it stands for itself.
        started_at: When the run was asked for, an aware time.
        shared: Rates and caps that it shares with other runs of a workflow; None = it shares none.
        journal: Folder of the journals, or `off`; None = as the job says.
        fresh: Take no results of earlier runs.
        reuse_across_code: Take results that other code has made, too.
        num_workers: Processes that share the run; None = this one alone runs it.
        scheduler_task: Which of the tasks of a scheduler that share the run this process is; None = it
            is none.
        results_of: Name of the job whose results are taken and kept; None = the run's own.
        times: Where durations of calls and rows are recorded; None = nobody asks for them.
    """

    job_name: str
    settings: Settings = field(default_factory=Settings)
    limit: int | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    resume: str | None = None
    allow_code_change: bool = False
    retry_of: str | None = None
    parent: ParentRun | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    shared: SharedCalls | None = None
    journal: str | None = None
    fresh: bool = False
    reuse_across_code: bool = False
    num_workers: int | None = None
    scheduler_task: SchedulerTask | None = None
    results_of: str | None = None
    times: Times | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a sink remembers of a run.

    Attributes:
        run_id: Its id.
        job_name: The job it is a run of.
        attempts: Attempts made so far, at least 1.
        fingerprint: Of the code and query it began with.
        code: What the fingerprint was made of, see `Run`; empty = not known.
        retry_of: The run whose rejected rows it retries; None = it does not.
        published: How its rows ended, if it is published; None = it is not.
        target: Where its rows go.
        parent: The workflow's run whose task it is; None = it stands for itself.
        is_shared: Whether its rows are kept in shards, for many workers.
    """

    run_id: str
    job_name: str
    attempts: int
    fingerprint: str
    retry_of: str | None = None
    published: Counts | None = None
    target: str = ""
    parent: ParentRun | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    is_shared: bool = False


MakeReport: TypeAlias = Callable[[Counts | None, BaseException | None], Report]
"""Makes the report of an attempt that ends; see `Run.report`."""

ProgressNow: TypeAlias = Callable[[], tuple[str, Counts, int | None]]
"""Gives how far an attempt is; see `Run.progress`."""


class Run:
    """One attempt at a run of a job; a context manager that closes what was shared through it.

    Args:
        request: What the caller asked for.
        fingerprint: Changes with the transform's code and the source's query.
        code: Short digests of the code's files by path, and that of the query, so that a refused
            resume can say what changed.
        revision: The commit of the code; None = not known.
        labels: For every BigQuery job of the run, beside `etlkit_job` and `etlkit_run`.
        calls: What the calls to services have in common; None = no limits, nothing used yet.
        record: The run to resume; None = a new run.
        report: Gives the report of this attempt if it ended now, for the ledger; see `report`. None =
            there is none.
        worker: Which of the run's workers this process is; None = it is none of several.
        progress: Gives stage, counts and the source rows in all, on any thread; None = nothing does.

    Attributes:
        run_id: How the run is found again. A resumed run keeps its id.
        attempt: 1 for a new run, one more at every resume.
        job_name: As in `RunRequest`; likewise `settings`, `limit`, `variables`, `retry_of`
            `started_at` and `journal`.
        parent: The workflow's run whose task this run is; None = it stands for itself.
        worker: As given.
        num_workers: Processes that share the run; None = one process alone runs it. Of tasks of a
            scheduler, those of this task.
        scheduler_task: As in `RunRequest`.
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        fingerprint: str = "",
        code: Mapping[str, str] | None = None,
        revision: str | None = None,
        labels: Mapping[str, str] | None = None,
        calls: Calls | None = None,
        record: RunRecord | None = None,
        report: MakeReport | None = None,
        worker: Worker | None = None,
        progress: ProgressNow | None = None,
    ) -> None:
        self.job_name: str = request.job_name
        self.settings: Settings = request.settings
        self.limit: int | None = request.limit
        self.variables: dict[str, Any] = dict(request.variables)
        self.retry_of: str | None = request.retry_of
        self.parent: ParentRun | None = request.parent or (
            None if record is None else record.parent
        )
        self.started_at: datetime = request.started_at
        self.journal: str | None = request.journal
        self.worker: Worker | None = worker
        is_shared = record is not None and record.is_shared
        self.num_workers: int | None = request.num_workers or (1 if is_shared else None)
        self.scheduler_task: SchedulerTask | None = request.scheduler_task
        self.fingerprint = fingerprint
        self.code: dict[str, str] = dict(code or {})
        self.revision: str | None = revision
        self.labels: dict[str, str] = dict(labels or {})
        self.calls: Calls = calls or Calls()
        self.run_id: str = new_run_id(request.started_at) if record is None else record.run_id
        self.attempt: int = 1 if record is None else record.attempts + 1
        self._report = report
        self._progress = progress
        self._stop_signal: int | None = None
        self._on_stop: list[Callable[[], None]] = []
        self._on_interrupt: list[Callable[[], None]] = []
        self._interruption: Interrupted | None = None
        self._thread = threading.get_ident()
        # Between the run's own thread and others. A handler on the own thread does not take it.
        self._stop_lock = threading.Lock()
        self._shared: dict[str, Any] = {}
        self._closing = ExitStack()

    def report(self, counts: Counts | None, error: BaseException | None) -> Report | None:
        """The report of this attempt if it ended now; None = there is none.

        Args:
            counts: How the source rows ended; None = there are no rows to count, or not yet.
            error: Why it ends; None = it is published.
        """
        return None if self._report is None else self._report(counts, error)

    def progress(self) -> tuple[str, Counts, int | None] | None:
        """Stage, counts and source rows in all, None = not known; None = there is nothing to tell."""
        return None if self._progress is None else self._progress()

    @property
    def stop_signal(self) -> int | None:
        """The signal that asked the run to stop; None = none did."""
        return self._stop_signal

    def request_stop(self, signum: int) -> None:
        """Stop reading, finish the rows in flight, stay resumable.

        Safe in a signal handler of the run's own thread, where it takes no lock, and elsewhere.

        Raises:
            Interrupted: On the run's own thread, when no row is in flight yet: there is nothing to
                finish. From another thread, the run's own is interrupted at its next job.
        """
        self._stop_signal = signum
        if threading.get_ident() == self._thread:
            callbacks = list(self._on_stop)
            if not callbacks:
                raise Interrupted(signum)
        else:
            with self._stop_lock:
                callbacks = list(self._on_stop or self._on_interrupt)
                if not self._on_stop:
                    self._interruption = Interrupted(signum)
        for notify in callbacks:
            notify()

    def on_stop(self, notify: Callable[[], None]) -> None:
        """Call a function when the run is asked to stop. It has to end the run then."""
        with self._stop_lock:
            self._interruption = None
            self._on_stop.append(notify)

    def on_interrupt(self, cancel: Callable[[], None]) -> None:
        """Call a function when another thread stops the run before rows are in flight.

        It cancels what the run's own thread waits for, which then calls `check_interrupted`.
        """
        self._on_interrupt.append(cancel)

    def check_interrupted(self) -> None:
        """Return if no other thread has stopped the run before rows were in flight.

        Raises:
            Interrupted: It has. Once, as a signal would: what the end of the run has to do can be
                done.
        """
        if self._interruption is None:
            return
        with self._stop_lock:
            interruption, self._interruption = self._interruption, None
        if interruption is not None:
            raise interruption

    def share(self, key: str, make: Callable[[], T], close: Callable[[T], None]) -> T:
        """Make something once per run, such as a client that source and sink both need.

        Args:
            key: Its name; the same name gives the same object.
            make: Called at the first request.
            close: Called when the run ends, also after a failure.
        """
        if key not in self._shared:
            made = make()
            self._shared[key] = made
            self._closing.callback(close, made)
        shared: T = self._shared[key]
        return shared

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
