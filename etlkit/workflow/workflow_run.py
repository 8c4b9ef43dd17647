"""`run`: one attempt at a run of a workflow, from its description to its report."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from etlkit.api.report import end_state, error_text
from etlkit.api.run import AUTO, LAST, RunRequest, Settings, is_too_old
from etlkit.api.run_watch import WatchedRun, run_watcher
from etlkit.api.workflow_report import TaskReport, WorkflowObserver, WorkflowReport
from etlkit.api.workflow_state import Path, WorkflowState, task_text
from etlkit.calls.shared import SharedCalls
from etlkit.errors import AlreadyPublishedError, RunStateError, RunTakenOverError
from etlkit.telemetry.current_run import CurrentRun, in_run
from etlkit.telemetry.spans import run_span
from etlkit.variables.definitions import Value
from etlkit.variables.values import bare_name
from etlkit.workflow.changes import compare, unfounded
from etlkit.workflow.definition import Workflow
from etlkit.workflow.graph_run import GraphRun, Level, task_reports
from etlkit.workflow.messenger import Messenger
from etlkit.workflow.precheck import check_tasks, child_context, outermost_context
from etlkit.workflow.run_scope import RunScope, sum_up
from etlkit.workflow.selection import Selection
from etlkit.workflow.task_kind import TaskContext

log: logging.Logger = logging.getLogger("etlkit.workflow")

OpenState = Callable[[RunRequest], AbstractContextManager[WorkflowState]]
"""Opens the memory of a new run, or of the run to resume."""


@dataclass(frozen=True, kw_only=True)
class WorkflowRequest:
    """What a caller asks for.

    Attributes:
        name: The workflow's name in reports and the ledger.
        settings: Project, location and environment.
        variables: Values of variables for this run.
        queued_at: Time from which `Timestamp` variables count; None = now, or as in the run that is
            resumed.
        resume: Id of an unpublished run to continue, `LAST` or `AUTO`; None = a new run.
        allow_code_change: Resume although code, queries or tasks with results have changed.
        selection: Which tasks run.
    """

    name: str
    settings: Settings
    variables: Mapping[str, Any] = field(default_factory=dict)
    queued_at: datetime | None = None
    resume: str | None = None
    allow_code_change: bool = False
    selection: Selection = field(default_factory=Selection)


def run(
    workflow: Workflow,
    request: WorkflowRequest,
    open_state: OpenState,
    *,
    on_start: Callable[[WorkflowRun], None] | None = None,
    observer: WorkflowObserver | None = None,
) -> WorkflowReport:
    """Run a workflow once, or go on with a run of it.

    Args:
        workflow: What to run.
        request: A new run, or the one to resume.
        open_state: Opens the run's memory.
        on_start: Called with the run before its first task begins, e.g. to keep its `request_stop`.
        observer: Is told what happens; None = nobody is.

    Returns:
        The report, state `published`.

    Raises:
        ConfigError: The description, a variable or a name of a task is wrong; nothing ran.
        EtlkitError: The run failed; its attribute `report` is a `WorkflowReport`.
        KeyboardInterrupt: It was interrupted; likewise. An `Interrupted` run can be resumed.
    """
    with run_span("workflow", CurrentRun("", request.name)) as span:
        report: WorkflowReport | None = None
        try:
            report = _run_or_resume(workflow, request, open_state, on_start, observer)
        except BaseException as error:
            report = getattr(error, "report", None)
            raise
        finally:
            if report is not None:
                span.set(run_id=report.run_id, state=report.state)
            span.ended("failed" if report is None else report.state)
        return report


def _run_or_resume(
    workflow: Workflow,
    request: WorkflowRequest,
    open_state: OpenState,
    on_start: Callable[[WorkflowRun], None] | None,
    observer: WorkflowObserver | None,
) -> WorkflowReport:
    try:
        if request.resume != AUTO:
            return _run(workflow, request, open_state, on_start, observer)
        try:
            last = replace(request, resume=LAST)
            return _run(workflow, last, open_state, on_start, observer, refuse_old=True)
        except RunTakenOverError:
            raise
        except RunStateError as reason:  # a run in progress will refuse the new one
            log.info("a new run begins: %s", reason)
            return _run(workflow, replace(request, resume=None), open_state, on_start, observer)
    except AlreadyPublishedError as done:
        log.info("%s", done)
        known: WorkflowReport | None = getattr(done, "report", None)
        return known or WorkflowReport(run_id=done.run_id, job=request.name, state="published")


def _run(
    workflow: Workflow,
    request: WorkflowRequest,
    open_state: OpenState,
    on_start: Callable[[WorkflowRun], None] | None,
    observer: WorkflowObserver | None,
    *,
    refuse_old: bool = False,
) -> WorkflowReport:
    now = datetime.now(UTC)
    resumes = request.resume is not None
    skipped = request.selection.skipped(workflow.graph, resumes=resumes)
    asked = RunRequest(
        request.name,
        request.settings,
        resume=request.resume,
        allow_code_change=request.allow_code_change,
        started_at=now,
    )
    outer = None
    if not resumes:  # mistakes are told before anything is opened
        outer = _prepared(workflow, request, request.variables, request.queued_at or now, skipped)
        asked = replace(asked, variables=dict(outer.variables))
    with open_state(asked) as state:
        if refuse_old and is_too_old(state.run_id, now):
            raise RunStateError(f"run {state.run_id} is too old to be resumed by itself")
        with in_run(CurrentRun(state.run_id, request.name)):
            attempt = WorkflowRun(workflow, request, state, skipped, now, observer, outer)
            watched = WatchedRun("workflow", state.run_id, request.name, workflow, request.settings)
            run_watcher().started(watched)
            error: BaseException | None = None
            try:
                return attempt.run(on_start)
            except BaseException as caught:
                error = caught
                raise
            finally:
                run_watcher().ended(watched, attempt.report, error)


def _prepared(
    workflow: Workflow,
    request: WorkflowRequest,
    given: Mapping[str, Any],
    queued_at: datetime,
    skipped: frozenset[str],
) -> TaskContext:
    """Values of variables; all mistakes that can be found early are told here."""
    outer = outermost_context(workflow, request.name, request.settings, given, queued_at)
    check_tasks(workflow, outer, skipped)
    return outer


class WorkflowRun:
    """One attempt at a run of a workflow.

    Args:
        workflow: What runs.
        request: What was asked for.
        state: What is remembered of the run.
        skipped: Names of tasks that are left out.
        started_at: When it was asked for.
        observer: Is told what happens; None = nobody is.
        outer: What all tasks have in common; None = the run that is resumed tells.

    Attributes:
        run_id: How the run is found again. A resumed run keeps its id.
        attempt: 1 for a new run, one more at every resume.
        report: As it is now.
    """

    def __init__(
        self,
        workflow: Workflow,
        request: WorkflowRequest,
        state: WorkflowState,
        skipped: frozenset[str],
        started_at: datetime,
        observer: WorkflowObserver | None,
        outer: TaskContext | None,
    ) -> None:
        self._workflow = workflow
        self._request = request
        self._state = state
        self._began = time.monotonic()
        self.run_id: str = state.run_id
        self.attempt: int = state.attempt
        self.report: WorkflowReport = WorkflowReport(
            run_id=state.run_id,
            job=request.name,
            attempt=state.attempt,
            started_at=started_at.isoformat(timespec="milliseconds"),
        )
        self._earlier = state.earlier()
        restarted = request.selection.restarted(workflow.graph)
        self._skipped = skipped | (_skipped_earlier(self._earlier, workflow) - restarted)
        outer = outer or self._prepare(started_at)
        self.report.variables = {n: Value(v).text for n, v in outer.variables.items()}
        self.report.queued_at = outer.queued_at.isoformat()
        self._scope = RunScope(
            name=request.name,
            state=state,
            settings=request.settings,
            queued_at=outer.queued_at,
            shared=SharedCalls(workflow.max_calls, workflow.max_cost),
            child=run_child,
            allow_code_change=request.allow_code_change,
            observer=observer,
        )
        self._level = level_of(outer)
        self._graph: GraphRun | None = None

    def request_stop(self, signum: int) -> None:
        """Stop all tasks cleanly. Safe in a signal handler and on every thread."""
        if self._graph is not None:
            self._graph.threads.request_stop(signum)

    def run(self, on_start: Callable[[WorkflowRun], None] | None) -> WorkflowReport:
        """Run what has not finished. See `run`."""
        self.report.tasks = list(task_reports(self._workflow, self._skipped).values())
        forget = self._forgotten()
        self._state.begin(self.report, forget=forget)
        self._scope.finished = dict(self._state.finished())
        for path in forget:
            self._scope.forget(path)
        graph = self._graph = GraphRun(self._workflow, self._scope, self._level, self._skipped)
        messenger = Messenger(self._workflow, self._scope, self._level, self._current)
        messenger.watch(graph)
        error: BaseException | None = None
        try:
            if on_start is not None:
                on_start(self)
            with _stopped_by_ctrl_c(self):
                graph.run()
        except BaseException as caught:
            error = caught
        self._finish(error, messenger)
        return self.report

    def _prepare(self, started_at: datetime) -> TaskContext:
        """Values of the variables: those of the first attempt, unless others are given."""
        request, earlier = self._request, self._earlier
        given = {bare_name(name): value for name, value in request.variables.items()}
        queued_at = request.queued_at or started_at
        if earlier is not None:
            known = {bare_name(name) for name in self._workflow.variables}
            before = {name: text for name, text in earlier.variables.items() if name in known}
            if request.queued_at is None and earlier.queued_at is not None:
                queued_at = datetime.fromisoformat(earlier.queued_at)
            given = {**before, **given}
        return _prepared(self._workflow, request, given, queued_at, self._skipped)

    def _forgotten(self) -> list[Path]:
        """The tasks that run again although they have ended; says what has changed since.

        Raises:
            RunStateError: A task that has ended has another definition now.
        """
        earlier = self._earlier
        if earlier is None:
            return []
        restarted = {(n,) for n in self._request.selection.restarted(self._workflow.graph)}
        finished = {
            path: report
            for path, report in self._state.finished().items()
            if path[:1] not in restarted
        }
        changes = compare(self.report.tasks, earlier.tasks, finished)
        self.report.changes = changes.sentences + self._changed_variables(earlier)
        for sentence in self.report.changes:
            log.warning("since the run began: %s", sentence)
        if changes.outdated and not self._request.allow_code_change:
            names = ", ".join(map(task_text, changes.outdated))
            first = changes.outdated[0][0]
            raise RunStateError(
                f"run {self.run_id} has results of tasks that have another definition now: {names}. "
                f"To run them and all tasks after them again, add --from {first}; to keep the "
                "results, add --allow-code-change; or start a new run"
            )
        again = list(unfounded(self._workflow, finished, self._skipped))
        for path in again:
            if path in finished and finished[path].state != "succeeded":
                continue  # it was bypassed
            sentence = f"task {task_text(path)!r} runs again: a task before it has yet to run"
            self.report.changes.append(sentence)
        return [*sorted(restarted), *again]

    def _changed_variables(self, earlier: WorkflowReport) -> list[str]:
        changed = [
            f"variable ${name}$ is {text!r}; it was {earlier.variables[name]!r}"
            for name, text in self.report.variables.items()
            if name in earlier.variables and earlier.variables[name] != text
        ]
        if changed and not self._request.allow_code_change:
            raise RunStateError(
                f"run {self.run_id} began with other values: {'; '.join(changed)}. To go on with the "
                "new ones, add --allow-code-change; or start a new run"
            )
        return changed

    def _current(self) -> WorkflowReport:
        """The report, brought up to date."""
        report = self.report
        if self._graph is not None:
            report.tasks = list(self._graph.reports.values())
        report.seconds = round(time.monotonic() - self._began, 3)
        report.warnings = list(self._scope.warnings)
        total = TaskReport(name="", kind="workflow")
        sum_up(total, {task.name: task for task in report.tasks})
        report.bytes_billed, report.cost = total.bytes_billed, total.cost
        return report

    def _finish(self, error: BaseException | None, messenger: Messenger) -> None:
        """Complete the report, remember it, tell people, and raise what ended the run."""
        report = self._current()
        report.state = "published" if error is None else end_state(error)
        report.error = None if error is None else error_text(error)
        report.finished_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._state.end(report, error)
        except Exception as second:
            if error is None:
                error = second
                report.state, report.error = "failed", error_text(second)
            else:
                log.warning("the ledger could not record how the run ended: %s", second)
        messenger.ended(report)
        report.warnings = list(self._scope.warnings)
        if error is not None:
            error.report = report  # type: ignore[attr-defined]
            raise error


def run_child(scope: RunScope, workflow: Workflow, context: TaskContext) -> None:
    """Run a workflow as a task of another one. See `Scope.run_child`."""
    outer = child_context(workflow, context)
    graph = GraphRun(workflow, scope, level_of(outer))
    context.on_stop(graph.threads.request_stop)
    began = time.monotonic()
    report = WorkflowReport(run_id=scope.state.run_id, job=workflow.name or task_text(context.path))

    def current() -> WorkflowReport:
        report.tasks = list(graph.reports.values())
        report.seconds = round(time.monotonic() - began, 3)
        return report

    def show(_task: TaskReport) -> None:
        context.report.children = list(graph.reports.values())

    messenger = Messenger(workflow, scope, level_of(outer), current)
    messenger.watch(graph)
    graph.on_begin.append(show)
    graph.on_task.append(show)
    context.report.job = report.job
    try:
        graph.run()
    except BaseException as error:
        report.state, report.error = end_state(error), error_text(error)
        raise
    else:
        report.state = "published"
    finally:
        show(context.report)
        sum_up(context.report, graph.reports)
        messenger.ended(current())


def level_of(outer: TaskContext) -> Level:
    """Where a graph runs, told by what its tasks have in common."""
    if outer.slots is None:
        raise AssertionError("a graph that runs has slots")
    return Level(
        path=outer.path,
        variables=outer.variables,
        names=outer.names,
        iterations=outer.iterations,
        labels=outer.labels,
        slots=outer.slots,
    )


def _skipped_earlier(earlier: WorkflowReport | None, workflow: Workflow) -> frozenset[str]:
    """Tasks that an earlier attempt at the run left out; they stay out."""
    if earlier is None:
        return frozenset()
    skipped = {task.name for task in earlier.tasks if task.state == "skipped"}
    return frozenset(skipped & workflow.graph.tasks.keys())


@contextmanager
def _stopped_by_ctrl_c(run: WorkflowRun) -> Iterator[None]:
    """Let Ctrl-C stop the run cleanly where nobody has said what else it does; a second one ends it."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run.request_stop(signum)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
