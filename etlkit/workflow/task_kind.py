"""What a task can run: the base of all kinds of tasks, and what they are given."""

from __future__ import annotations

import hashlib
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from etlkit.api.outcomes import Counts
from etlkit.api.run import Interrupted, Settings
from etlkit.api.workflow_report import TaskKind, TaskReport, WorkflowObserver
from etlkit.api.workflow_state import Path, WorkflowState, task_text
from etlkit.calls.run_calls import Calls
from etlkit.calls.shared import SharedCalls
from etlkit.variables.definitions import Value
from etlkit.variables.values import bare_name, refuse_unknown, refuse_unused
from etlkit.workflow.slots import Slots

log: logging.Logger = logging.getLogger("etlkit.workflow")


@dataclass(frozen=True)
class Tables:
    """The tables that a task reads and writes, as far as they are known.

    Attributes:
        reads: `dataset.table` or `project.dataset.table`, as the job says it.
        writes: In the same form.
        unclear: Why more tables may be read or written than these, one sentence each.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    unclear: tuple[str, ...] = ()


class Runnable(ABC):
    """What a task runs. Jobs and plain functions are wrapped in one; other kinds inherit from it.

    A kind is a frozen description: nothing happens when it is made, and wrong values are a
    `ConfigError` then.

    Attributes:
        kind: For reports.
        takes_slot: Whether it counts as one of `max_parallel_tasks`. What only waits for tasks below
            it takes none: those do.
    """

    kind: ClassVar[TaskKind]
    takes_slot: ClassVar[bool] = True

    @abstractmethod
    def run(self, context: TaskContext, /) -> None:
        """Run once, on a thread of its own. It has succeeded when this returns.

        What is known goes into `context.report` as soon as it is known, so that it is also there
        after a failure. State, times and attempts are not its concern.

        Raises:
            Interrupted: It was asked to stop, see `TaskContext.check_stop`, and has stopped.
            Exception: It failed.
        """

    def dry_run(self, context: TaskContext, /) -> bool:  # noqa: ARG002 - for those that can
        """Check whether it could run, and estimate its cost. Nothing is written.

        Returns:
            Whether it could be checked.

        Raises:
            EtlkitError: It would fail.
        """
        return False

    def check(self, context: TaskContext, /) -> None:
        """Look for mistakes before anything runs: variables that it lacks or does not use.

        No I/O beyond the user's own files. Variables that are not known yet have a stand-in.

        Raises:
            ConfigError: It would be refused.
        """
        used = self.used_variables()
        if used is not None:
            refuse_unknown(used, context.variables)
            refuse_unused(context.needed, used)

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:  # noqa: ARG002 - as above
        """The tables that it reads and writes. No I/O beyond the user's own files.

        Args:
            variables: Values or definitions that the workflow gives to variables of the job, by bare
                name. One whose value is known only when the run begins stays in the names as
                `$name$`, which stands for any text.
        """
        return Tables()

    def used_variables(self) -> frozenset[str] | None:
        """Bare names of the variables that it uses; None = not known before it runs."""
        return None

    def fingerprint(self) -> str:
        """A text that changes with the definition. No I/O beyond the user's own files."""
        return short_hash(repr(self))


def short_hash(*texts: str) -> str:
    """A short text that changes with these."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


class Stopping:
    """A request to stop one attempt at a task; made on one thread, seen on others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._signum: int | None = None
        self._callbacks: list[Callable[[int], None]] = []

    @property
    def signum(self) -> int | None:
        """The signal that asked; None = nobody did."""
        return self._signum

    def request(self, signum: int) -> None:
        """Ask to stop; a repeated request does nothing."""
        with self._lock:
            if self._signum is not None:
                return
            self._signum = signum
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback(signum)
            except Exception as error:  # the others are to be told all the same
                log.warning("a request to stop a task failed: %s", error)

    def on_request(self, callback: Callable[[int], None]) -> None:
        """Call a function with the signal, once: at the request, or now if it was made already."""
        with self._lock:
            signum = self._signum
            if signum is None:
                self._callbacks.append(callback)
        if signum is not None:
            callback(signum)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the request; False = the time is over."""
        return self._event.wait(timeout_s)


class Scope(Protocol):
    """What the kinds of tasks need of the workflow's run as a whole."""

    @property
    def state(self) -> WorkflowState:
        """What is remembered of the run."""

    @property
    def shared(self) -> SharedCalls:
        """Rates and caps of all its tasks together."""

    @property
    def allow_code_change(self) -> bool:
        """Whether a transfer may go on although its code has changed."""

    def run_child(self, workflow: Any, context: TaskContext, /) -> None:
        """Run a child workflow. See `Runnable.run`."""

    def dry_run_child(self, workflow: Any, context: TaskContext, /) -> bool:
        """Check a child workflow. See `Runnable.dry_run`."""


@dataclass(kw_only=True)
class TaskContext:
    """What a task is given when it runs. A callable may take one as its only argument.

    Attributes:
        report: The task's report, to be filled in.
        run_id: The workflow's run.
        attempt: The attempt at that run, 1 = the first.
        workflow: The workflow's name.
        path: Names from the outermost workflow's task down to this one.
        settings: Project, location and environment variables.
        variables: Values by bare name: the loop's, else the task's, else the workflow's.
        names: Bare names of the variables whose values are expanded as names in SQL.
        needed: Bare names of the variables that were given to this task: it has to use them.
        stand_ins: Bare names of the variables whose value is not known before a task has ended.
            Empty when it runs.
        tasks: The reports of the tasks that come before this one, by name, e.g.
            `tasks["load"].written`.
        queued_at: Time from which `Timestamp` variables count.
        iterations: Names of the iterations of loops on the path.
        labels: For every BigQuery job, beside `etlkit_job` and `etlkit_run`.
        calls: Limits and counts of calls to services; already current on the task's thread.
        stopping: The request to stop this attempt.
        kept: What earlier attempts at the task have kept for it, in this process.
        observer: Is told of progress.
        scope: The run that it is a part of, for kinds that have tasks or runs of their own.
        slots: Of the workflow that it is a task of.
    """

    report: TaskReport
    run_id: str
    workflow: str
    path: Path
    attempt: int = 1
    settings: Settings = field(default_factory=Settings)
    variables: Mapping[str, Any] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    stand_ins: frozenset[str] = frozenset()
    tasks: Mapping[str, TaskReport] = field(default_factory=dict)
    queued_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    iterations: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    calls: Calls = field(default_factory=Calls)
    stopping: Stopping = field(default_factory=Stopping)
    kept: dict[str, Any] = field(default_factory=dict)
    observer: WorkflowObserver | None = None
    scope: Scope | None = None
    slots: Slots | None = None

    @property
    def scope_of_run(self) -> Scope:
        """The run that the task is a part of."""
        if self.scope is None:
            raise AssertionError("only a task of a running workflow has one")
        return self.scope

    @property
    def values(self) -> dict[str, Value]:
        """The variables, as SQL takes them."""
        return {name: Value(v, name in self.names) for name, v in self.variables.items()}

    def values_for(self, definitions: Mapping[str, Any]) -> dict[str, Value]:
        """The variables for a job that defines some itself; a stand-in need not fit a definition."""
        defined = {bare_name(name) for name in definitions} & self.stand_ins
        return {name: value for name, value in self.values.items() if name not in defined}

    def job_name(self, own: str | None) -> str:
        """The name of the task's job: its own, else the workflow's and the path.

        Iterations of a loop are jobs of their own, so that they can run side by side.
        """
        if own is None:
            return f"{self.workflow}/{task_text(self.path)}"
        return "/".join([own, *self.iterations])

    def check_stop(self) -> None:
        """Return if the task may go on.

        Raises:
            Interrupted: It was asked to stop.
        """
        if self.stopping.signum is not None:
            raise Interrupted(self.stopping.signum)

    def wait(self, seconds: float) -> None:
        """Wait, as `time.sleep` does, but not past a request to stop.

        Raises:
            Interrupted: The task was asked to stop.
        """
        self.stopping.wait(seconds)
        self.check_stop()

    def on_stop(self, callback: Callable[[int], None]) -> None:
        """Call a function with the signal when the task is asked to stop; on another thread."""
        self.stopping.on_request(callback)

    def progress(self, stage: str, counts: Counts, expected: int | None = None) -> None:
        """Tell who watches how far the task is. See `etlkit.api.report.Progress`."""
        if self.observer is not None:
            self.observer.task_progress(self.path, stage, counts, expected)

    def child_changed(self, child: TaskReport) -> None:
        """Put a part of the task into its report, or replace it by its name, and tell who watches."""
        children = self.report.children
        names = [each.name for each in children]
        if child.name in names:
            children[names.index(child.name)] = child
        else:
            children.append(child)
        if self.observer is not None:
            self.observer.task_changed((*self.path, child.name), replace(child))
