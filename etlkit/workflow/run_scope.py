"""What all tasks of one run of a workflow share, on every level."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NoReturn

from etlkit.api.outcomes import Counts
from etlkit.api.run import Settings
from etlkit.api.workflow_report import FINISHED, TaskReport, WorkflowObserver
from etlkit.api.workflow_state import Path, WorkflowState
from etlkit.calls.shared import SharedCalls
from etlkit.errors import RunTakenOverError
from etlkit.workflow.task_kind import TaskContext

log: logging.Logger = logging.getLogger("etlkit.workflow")


@dataclass(kw_only=True)
class RunScope:
    """One attempt at a run. See `etlkit.workflow.task_kind.Scope`.

    Attributes:
        name: The workflow's name.
        state: What is remembered of the run.
        settings: Project, location and environment variables.
        queued_at: Time from which `Timestamp` variables and periods count.
        shared: Rates and caps of all its tasks together.
        allow_code_change: Whether a transfer may go on although its code has changed.
        observer: Is told what happens; None = nobody is.
        finished: What need not run again, by path.
        warnings: For the report.
        lost: Another process has the run now: nothing may go on. None = it does not.
        child: Runs a child workflow.
    """

    name: str
    state: WorkflowState
    settings: Settings
    queued_at: datetime
    shared: SharedCalls
    child: Callable[[RunScope, Any, TaskContext], None]
    allow_code_change: bool = False
    observer: WorkflowObserver | None = None
    finished: dict[Path, TaskReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    lost: RunTakenOverError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run_child(self, workflow: Any, context: TaskContext, /) -> None:
        """See `Scope.run_child`."""
        self.child(self, workflow, context)

    def dry_run_child(self, _workflow: Any, _context: TaskContext, /) -> NoReturn:
        """A run makes no dry runs."""
        raise AssertionError("a run makes no dry runs")

    def reuse(self, path: Path) -> TaskReport | None:
        """The report of a task that need not run again; None = it has to run."""
        found = self.finished.get(path)
        return None if found is None else replace(found, from_earlier=True)

    def record(self, path: Path, report: TaskReport) -> None:
        """Remember how a task ended.

        Raises:
            RunTakenOverError: Another process has taken the run over.
        """
        with self._watching_for_loss():
            self.state.task_ended(path, report)
        with self._lock:
            if report.state in FINISHED:
                self.finished[path] = report

    def check(self) -> None:
        """Return if this process certainly still holds the run.

        Raises:
            RunTakenOverError: It does not.
        """
        with self._watching_for_loss():
            self.state.check()

    @contextmanager
    def _watching_for_loss(self) -> Iterator[None]:
        try:
            yield
        except RunTakenOverError as error:
            self.lost = self.lost or error
            raise

    def warn(self, text: str) -> None:
        """Put a warning into the report and the log."""
        log.warning("%s", text)
        with self._lock:
            self.warnings.append(text)

    def changed(self, path: Path, report: TaskReport) -> None:
        """Tell who watches that a task began or ended."""
        if self.observer is not None:
            _tell(self.observer.task_changed, path, replace(report))

    def task_changed(self, path: Path, report: TaskReport, /) -> None:
        """See `WorkflowObserver.task_changed`: who watches cannot make a task fail."""
        self.changed(path, report)

    def task_progress(
        self, path: Path, stage: str, counts: Counts, expected: int | None, /
    ) -> None:
        """See `WorkflowObserver.task_progress`."""
        if self.observer is not None:
            _tell(self.observer.task_progress, path, stage, counts, expected)

    def forget(self, path: Path) -> None:
        """Let a task and all below it run again."""
        for each in [each for each in self.finished if each[: len(path)] == path]:
            del self.finished[each]


def _tell(told: Callable[..., None], *what: Any) -> None:
    try:
        told(*what)
    except Exception as error:
        log.warning("who watches the workflow failed: %s: %s", type(error).__name__, error)


def sum_up(report: TaskReport, parts: Mapping[str, TaskReport]) -> None:
    """Put the sums of a task's parts into its report, and their values by name."""
    for name in ("read", "written", "skipped", "rejected", "rows", "calls", "bytes_billed", "cost"):
        known = [value for part in parts.values() if (value := getattr(part, name)) is not None]
        total = sum(known) if known else None
        setattr(report, name, round(total, 6) if isinstance(total, float) else total)
    values = {name: part.value for name, part in parts.items() if part.value is not None}
    report.value = values or None
