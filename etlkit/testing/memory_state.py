"""What is remembered of workflows, in memory. A contract proves that it behaves like the ledger."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from etlkit.api.outcomes import Counts
from etlkit.api.run import LAST, ParentRun, new_run_id
from etlkit.api.workflow_report import FINISHED, TaskReport, WorkflowReport
from etlkit.api.workflow_state import Path, task_text, value_text
from etlkit.errors import AlreadyPublishedError, RunStateError, RunTakenOverError


@dataclass
class _Remembered:
    """One run of a workflow. `owner` is the attempt at work; None = it is over."""

    run_id: str
    job: str
    graph: WorkflowReport | None = None
    attempt: int = 0
    owner: str | None = None
    fence: str = ""
    published: bool = False
    ends: dict[Path, TaskReport] = field(default_factory=dict)
    children: dict[Path, tuple[str, bool]] = field(default_factory=dict)


class MemoryWorkflows:
    """Runs of workflows, as a ledger would keep them. Share one among the attempts of a test."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._runs: list[_Remembered] = []

    def open(
        self, job: str, *, resume: str | None = None, is_runnable_concurrently: bool = False
    ) -> MemoryWorkflowState:
        """Make the state of an attempt at a new run, or at the run to resume.

        Args:
            job: Name of the workflow.
            resume: Id of the run, or `LAST`; None = a new run.
            is_runnable_concurrently: Whether another run of the workflow may be in progress.

        Raises:
            AlreadyPublishedError: The run to resume is published.
            RunStateError: There is no such run, or it is in progress.
        """
        with self.lock:
            run = _Remembered(new_run_id(datetime.now(UTC)), job)
            if resume is not None:
                mine = [each for each in self._runs if each.job == job]
                found = [each for each in mine if resume in {LAST, each.run_id}]
                if not found:
                    raise RunStateError(f"workflow {job} has no run {resume} to resume")
                run = found[-1]
                if run.published:
                    raise AlreadyPublishedError(
                        f"run {run.run_id} is already published",
                        run_id=run.run_id,
                        counts=Counts(),
                        target="",
                    )
                if run.owner is not None:
                    raise RunStateError(f"run {run.run_id} is in progress")
            return MemoryWorkflowState(self, run, exclusive=not is_runnable_concurrently)

    def enter(self, run: _Remembered, *, exclusive: bool) -> None:
        """Take a run into the ledger."""
        alive = [each.run_id for each in self._runs if each.job == run.job and each.owner]
        if exclusive and alive:
            raise RunStateError(f"workflow {run.job} is in progress already, as run {alive[0]}")
        if run not in self._runs:
            self._runs.append(run)


class MemoryWorkflowState:
    """See `etlkit.api.workflow_state.WorkflowState`; made by `MemoryWorkflows.open`."""

    def __init__(self, runs: MemoryWorkflows, run: _Remembered, *, exclusive: bool) -> None:
        self._runs = runs
        self._run = run
        self._exclusive = exclusive
        self._owner = secrets.token_hex(8)
        self._earlier = deepcopy(run.graph)
        self._finished = {p: r for p, r in run.ends.items() if r.state in FINISHED}
        self._unpublished: dict[Path, str] = {}
        self.run_id: str = run.run_id
        self.attempt: int = run.attempt + 1

    def earlier(self) -> WorkflowReport | None:
        """See `WorkflowState.earlier`."""
        return self._earlier

    def begin(self, report: WorkflowReport, /, forget: Collection[Path] = ()) -> None:
        """See `WorkflowState.begin`."""
        run = self._run
        with self._runs.lock:
            if run.owner is not None or run.attempt != self.attempt - 1:
                raise RunStateError(f"run {run.run_id} was resumed by another process")
            self._runs.enter(run, exclusive=self._exclusive)
            run.attempt, run.owner, run.fence = self.attempt, self._owner, self._owner
            run.graph = run.graph or deepcopy(report)
            for path in [*run.ends, *run.children]:
                if any(path[: len(top)] == top for top in forget):
                    run.ends.pop(path, None)
                    run.children.pop(path, None)
            run.ends = {p: r for p, r in run.ends.items() if r.state in FINISHED}
            self._finished = dict(run.ends)
            for path, (run_id, published) in run.children.items():
                if not published:
                    self._unpublished[path] = run_id
                elif path not in run.ends:
                    kind = TaskReport(name=path[-1], kind="transfer", state="succeeded")
                    self._finished[path] = replace(kind, run_id=run_id)

    def finished(self) -> Mapping[Path, TaskReport]:
        """See `WorkflowState.finished`."""
        return deepcopy(self._finished)

    def unpublished_child(self, path: Path, /) -> str | None:
        """See `WorkflowState.unpublished_child`."""
        return self._unpublished.get(path)

    def child(self, path: Path, /) -> ParentRun:
        """See `WorkflowState.child`."""
        return ParentRun(
            self.run_id,
            task_text(path),
            on_started=partial(self._child, path, published=False),
            on_published=partial(self._child, path, published=True),
        )

    def _child(self, path: Path, run_id: str, *, published: bool) -> None:
        with self._runs.lock:
            self._run.children[path] = (run_id, published)

    def task_ended(self, path: Path, report: TaskReport, /) -> None:
        """See `WorkflowState.task_ended`."""
        value_text(report.value)
        with self._runs.lock:
            self._raise_if_lost()
            known = self._run.ends.get(path)
            if known is None or known.state not in {*FINISHED, report.state}:
                self._run.ends[path] = deepcopy(report)

    def check(self) -> None:
        """See `WorkflowState.check`."""
        with self._runs.lock:
            self._raise_if_lost()

    def _raise_if_lost(self) -> None:
        if self._run.fence != self._owner:
            raise RunTakenOverError(f"run {self.run_id} was taken over; nothing was recorded")

    def end(self, report: WorkflowReport, error: BaseException | None, /) -> None:
        """See `WorkflowState.end`."""
        for task in report.tasks:
            value_text(task.value)
        with self._runs.lock:
            self._raise_if_lost()
            self._run.owner = None
            self._run.published = error is None

    def kill(self) -> None:
        """Leave the run as a process does that is killed: it can be resumed."""
        with self._runs.lock:
            self._run.owner = None
