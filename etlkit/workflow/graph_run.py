"""One run of a graph of tasks: each begins when those before it have ended as its edges ask."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, get_args

from etlkit.api.run import Interrupted
from etlkit.api.workflow_report import FINISHED, TaskKind, TaskReport, TaskState
from etlkit.api.workflow_state import Path
from etlkit.calls.run_calls import Calls
from etlkit.errors import ConfigError, JobError, TaskTimeoutError, WorkflowError
from etlkit.variables.definitions import Plain
from etlkit.variables.values import bare_name
from etlkit.workflow.definition import Workflow
from etlkit.workflow.fates import fate_of
from etlkit.workflow.loop import Iteration
from etlkit.workflow.loop_run import LoopRun
from etlkit.workflow.run_scope import RunScope
from etlkit.workflow.slots import Slots
from etlkit.workflow.task import Task
from etlkit.workflow.task_kind import Runnable, TaskContext
from etlkit.workflow.task_threads import TaskThreads, Work
from etlkit.workflow.values import TaskValue

log: logging.Logger = logging.getLogger("etlkit.workflow")

_TAKES_ANY_VALUE: frozenset[TaskKind] = frozenset({"http", "webhook", "python"})
"""Kinds whose variables may be None, a list or a dict. SQL takes plain values."""

_CHECK_EVERY_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Level:
    """Where a graph runs: as the whole, or as the child of a task.

    Attributes:
        path: The task that runs it; empty = it is the outermost.
        variables: Values by bare name, for all its tasks.
        names: Those of them that are expanded as names in SQL.
        iterations: Names of the iterations of loops on the path.
        labels: For every BigQuery job.
        slots: What its tasks wait for.
    """

    path: Path = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    iterations: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    slots: Slots


class GraphRun:
    """Runs the tasks of one workflow. The thread that calls `run` drives it.

    Args:
        workflow: What to run.
        scope: The run.
        level: Where it runs.
        skipped: Names of tasks that are left out.

    Attributes:
        reports: Of all tasks, by name, in an order that respects the edges.
        threads: What runs them.
    """

    def __init__(
        self,
        workflow: Workflow,
        scope: RunScope,
        level: Level,
        skipped: frozenset[str] = frozenset(),
    ) -> None:
        self._workflow = workflow
        self._graph = workflow.graph
        self._scope = scope
        self._level = level
        self.reports: dict[str, TaskReport] = task_reports(workflow, skipped)
        self.threads: TaskThreads = TaskThreads(scope, level.slots, on_start=self._started)
        self.on_task: list[Callable[[TaskReport], None]] = []
        self.on_begin: list[Callable[[TaskReport], None]] = []
        self._running: set[str] = set()
        self._is_halted = False
        self._is_late = False
        self._reuse_finished()

    def run(self) -> None:
        """Return when all tasks that had to run have succeeded.

        Raises:
            WorkflowError: A task failed.
            TaskTimeoutError: The workflow's own `timeout_s` is over.
            Interrupted: It was asked to stop.
            RunTakenOverError: Another process has the run now.
        """
        if self._workflow.timeout_s is not None:
            self.threads.at(self._workflow.timeout_s, self._time_out)
        if not self._level.path:
            self.threads.at(_CHECK_EVERY_S, self._check)
        for name, report in self.reports.items():
            if report.state != "waiting":  # left out, or of an earlier attempt
                self._scope.changed(self._path(name), report)
        self._advance()
        while self.threads.num_active:
            self.threads.wait(self._ended)
            self._advance()
        for name, report in self.reports.items():
            if report.state == "waiting":
                self._set_state(name, "not_run")
        self._raise_if_not_done()

    def has_ended(self, name: str) -> bool:
        """Whether a task has ended, in whatever way."""
        state = self.reports[name].state
        return name not in self._running and state not in {"waiting", "running"}

    def _reuse_finished(self) -> None:
        for name, report in self.reports.items():
            found = self._scope.reuse(self._path(name))
            if found is not None and report.state == "waiting":
                found.after, found.fingerprint = report.after, report.fingerprint
                self.reports[name] = found

    def _advance(self) -> None:
        """Begin all tasks that can begin now, and pass by those on a branch that was not taken."""
        for name in self._graph.order:
            if self.reports[name].state != "waiting" or name in self._running:
                continue
            watched = self._graph.watched.get(name, ())
            fate = fate_of(self._graph.before[name], self.reports, watched, self._running)
            if fate == "bypass":
                self._set_state(name, "bypassed")
            elif fate == "not_run":
                self._set_state(name, "not_run")
            elif fate == "run" and self._may_begin():
                self._running.add(name)
                self.threads.start(self._work(self._graph.tasks[name]))

    def _may_begin(self) -> bool:
        if self._is_halted or self.threads.stop_signal is not None or self._is_late:
            return False
        return self._scope.lost is None

    def _ended(self, work: Work) -> None:
        report = self.reports[work.report.name] = work.report
        self._running.discard(report.name)
        for told in self.on_task:
            told(report)
        if self._scope.lost is not None:
            self.threads.request_stop(signal.SIGTERM)
        if report.state == "failed" and not self._is_handled(report.name):
            self._is_halted = self._workflow.stop_on_error
            if self._is_halted:
                self.threads.drop_queued()
            more = "no further task begins" if self._is_halted else "others go on"
            log.error("task %s failed; %s", "/".join(work.path), more)  # the reason ends the run

    def _is_handled(self, name: str) -> bool:
        """Whether an `IfElse` that comes next looks at the failure of a task."""
        return any(
            name in watched and self.reports[branch].state == "waiting"
            for branch, watched in self._graph.watched.items()
        )

    def _started(self, work: Work) -> None:
        for told in self.on_begin:
            told(work.report)

    def _set_state(self, name: str, state: TaskState) -> None:
        report = self.reports[name]
        _pass_by(report, state)
        self._scope.changed(self._path(name), report)

    def _time_out(self) -> None:
        self._is_late = True
        what = "/".join(self._level.path) or "the workflow"
        log.warning("%s takes longer than %g s: stopping it", what, self._workflow.timeout_s)
        self.threads.request_stop(signal.SIGTERM)

    def _check(self) -> None:
        """Notice a lost lease also while no task ends."""
        try:
            self._scope.check()
        except JobError as error:
            log.warning("%s", error)
            self.threads.request_stop(signal.SIGTERM)
        else:
            self.threads.at(_CHECK_EVERY_S, self._check)

    def _raise_if_not_done(self) -> None:
        if self._scope.lost is not None:
            raise self._scope.lost
        if self._is_late and any(r.state not in FINISHED for r in self.reports.values()):
            raise TaskTimeoutError(
                f"the workflow took longer than timeout_s={self._workflow.timeout_s:g} and was "
                f"stopped: {self._rest()}"
            )
        if self.threads.stop_signal is not None:
            raise Interrupted(self.threads.stop_signal)
        failed = [each for each in self.reports.values() if each.state in {"failed", "interrupted"}]
        if failed:
            self._raise_failed(failed)

    def _raise_failed(self, failed: list[TaskReport]) -> NoReturn:
        names = tuple(each for report in failed for each in failed_names(report))
        if len(failed) == 1:
            text = f"task {failed[0].name!r} failed: {failed[0].error}"
        else:
            text = f"{len(failed)} tasks failed:" + "".join(
                f"\n- {each.name}: {each.error}" for each in failed
            )
        raise WorkflowError(f"{text}\n{self._rest()}", failed=names)

    def _rest(self) -> str:
        succeeded = sum(each.state in FINISHED for each in self.reports.values())
        not_run = [each.name for each in self.reports.values() if each.state == "not_run"]
        rest = f"; did not run: {', '.join(not_run)}" if not_run else ""
        return f"{succeeded} of {len(self.reports)} tasks are done{rest}"

    def _path(self, name: str) -> Path:
        return (*self._level.path, name)

    def _work(self, task: Task) -> Work:
        runnable = task.runnable
        if task.loop is None:
            return self._one(task, runnable, self._path(task.name), self.reports[task.name], None)
        loop_run = LoopRun(
            task.loop,
            runnable,
            self._scope,
            self._level.slots,
            self._workflow.max_parallel_tasks,
            partial(self._one, task, runnable),
        )
        return Work(
            path=self._path(task.name),
            report=self.reports[task.name],
            runnable=loop_run,
            make_context=partial(self._context, task, loop_run, None),
        )

    def _one(
        self,
        task: Task,
        runnable: Runnable,
        path: Path,
        report: TaskReport,
        iteration: Iteration | None,
    ) -> Work:
        return Work(
            path=path,
            report=report,
            runnable=runnable,
            make_context=partial(self._context, task, runnable, iteration),
            retry_limit=task.retry_limit,
            min_retry_interval_s=task.min_retry_interval_s,
            timeout_s=task.timeout_s,
        )

    def _context(
        self, task: Task, runnable: Runnable, iteration: Iteration | None, work: Work
    ) -> TaskContext:
        """What one attempt at a task is given.

        Raises:
            EtlkitError: A value that it is to be given is not there.
        """
        tasks = EarlierTasks(task.name, self._graph.ancestors(task.name), self.reports)
        level = self._level
        looped = {} if iteration is None else dict(iteration.values)
        own = own_values(task, tasks, runnable.kind)
        return TaskContext(
            report=work.report,
            run_id=self._scope.state.run_id,
            attempt=self._scope.state.attempt,
            workflow=self._scope.name,
            path=work.path,
            settings=self._scope.settings,
            variables={**level.variables, **own, **looped},
            names=level.names,
            needed=task.own_variables,
            tasks=tasks,
            queued_at=self._scope.queued_at,
            iterations=(*level.iterations, *([iteration.name] if iteration else [])),
            labels=level.labels,
            calls=Calls(shared=self._scope.shared),
            stopping=work.stopping,
            kept=work.kept,
            observer=self._scope,
            scope=self._scope,
            slots=level.slots,
        )


class EarlierTasks(dict[str, TaskReport]):
    """The reports of the tasks that come before one.

    Args:
        name: That task.
        earlier: Names of those before it.
        reports: Of all tasks.
    """

    def __init__(self, name: str, earlier: set[str], reports: Mapping[str, TaskReport]) -> None:
        super().__init__({each: reports[each] for each in reports if each in earlier})
        self._name = name
        self._known = set(reports)

    def __missing__(self, other: str) -> NoReturn:
        if other in self._known:
            raise ConfigError(
                f"task {other!r} does not come before {self._name!r}, so it may not have ended: add "
                f"after={other!r} to {self._name!r}"
            )
        raise ConfigError(
            f"there is no task {other!r}; before {self._name!r} come: {', '.join(self) or 'none'}"
        )


def own_values(
    task: Task, tasks: Mapping[str, TaskReport], kind: TaskKind | None = None
) -> dict[str, Any]:
    """The values that a task gives to its job, by bare name.

    Raises:
        JobError: Another task has no such value, or one that SQL does not take.
    """
    values = {}
    for name, given in task.variables.items():
        value = given.read(tasks) if isinstance(given, TaskValue) else given
        if not isinstance(value, get_args(Plain)) and kind not in _TAKES_ANY_VALUE:
            what = "nothing" if value is None else f"a {type(value).__name__}"
            raise JobError(
                f"${name}$ is {given}, which is {what}; SQL takes a text, number or boolean"
            )
        values[bare_name(name)] = value
    return values


def task_reports(
    workflow: Workflow, skipped: frozenset[str] = frozenset()
) -> dict[str, TaskReport]:
    """The reports of tasks that have not begun, in the order of the edges; children below them."""
    reports = {}
    for name in workflow.graph.order:
        task = workflow.graph.tasks[name]
        report = TaskReport(
            name=name,
            kind=task.runnable.kind,
            state="skipped" if name in skipped else "waiting",
            after=dict(workflow.graph.before[name]),
            fingerprint=task.fingerprint(),
        )
        if isinstance(task.run, Workflow) and task.loop is None:
            below = frozenset(task.run.graph.order if name in skipped else ())
            report.children = list(task_reports(task.run, below).values())
        reports[name] = report
    return reports


def _pass_by(report: TaskReport, state: TaskState) -> None:
    """Give a task that does not run its state, and the tasks below it the same."""
    report.state = state
    for child in report.children:
        if child.state == "waiting":
            _pass_by(child, state)


def failed_names(report: TaskReport) -> list[str]:
    """A task that failed, or the tasks below it that did, as `child/name`."""
    below = [
        f"{report.name}/{name}"
        for child in report.children
        if child.state in {"failed", "interrupted"}
        for name in failed_names(child)
    ]
    return below or [report.name]
