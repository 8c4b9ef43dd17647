"""A look at every task before the first one runs: variables, files, and what can be known early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.api.run import Settings
from etlkit.api.workflow_report import TaskReport
from etlkit.errors import ConfigError
from etlkit.variables.values import bare_name, refuse_unknown, resolve
from etlkit.workflow.definition import Workflow
from etlkit.workflow.loop import Iteration
from etlkit.workflow.notifications import EVENT_VALUES, as_webhooks
from etlkit.workflow.slots import Slots
from etlkit.workflow.task import Task
from etlkit.workflow.task_kind import Scope, TaskContext
from etlkit.workflow.values import TaskValue

STAND_IN = "1"
"""For a value that a task has yet to find out: it fits as a value and in a name."""


def check_tasks(
    workflow: Workflow,
    outer: TaskContext,
    leave_out: frozenset[str] = frozenset(),
) -> None:
    """Look for mistakes in all tasks of a workflow, and in those of its child workflows.

    Args:
        workflow: What is to run.
        outer: With the values of its variables, and the path of the task that runs it.
        leave_out: Names of tasks that do not run.

    Raises:
        ConfigError: All mistakes, one a line.
    """
    problems = list(_problems(workflow, outer, leave_out, workflow.work_dataset))
    if problems:
        raise ConfigError("\n".join(problems))


def _problems(
    workflow: Workflow, outer: TaskContext, leave_out: frozenset[str], ledger: str
) -> Iterator[str]:
    for name, task in workflow.graph.tasks.items():
        if name in leave_out or (task.loop is not None and task.loop.query is not None):
            continue  # the names of a query's columns are known when it has run
        path = "/".join((*outer.path, name))
        try:
            context = first_context(task, outer)
            if isinstance(task.run, Workflow):
                inner = child_context(task.run, context)
                yield from _problems(task.run, inner, frozenset(), ledger)
            else:
                task.runnable.check(context)
                _refuse_another_ledger(task.run, ledger)
        except ConfigError as error:
            yield f"task {path!r}: {error}"
    webhooks = [*as_webhooks("", workflow.on_finish), *as_webhooks("", workflow.on_failure)]
    webhooks += [each for alert in workflow.alerts for each in as_webhooks("", alert.notify)]
    for each in webhooks:
        try:
            refuse_unknown(each.used_variables(), {*EVENT_VALUES, *outer.variables})
        except ConfigError as error:
            yield f"a Webhook for events: {error}"


def _refuse_another_ledger(run: Any, ledger: str) -> None:
    """Raise if the runs of a task's job would be kept elsewhere than those of its workflow.

    A dataset without a project is in the one that is billed, which is not known here.
    """
    keeper = run.sink if isinstance(run, TransferJob) else run
    own = getattr(keeper, "work_dataset", None)
    if not isinstance(own, str) or not isinstance(run, (TransferJob, Datamart)):
        return
    both = own.split("."), ledger.split(".")
    if both[0][-1] != both[1][-1] or (len(both[0]) == len(both[1]) and both[0] != both[1]):
        raise ConfigError(
            f"its work_dataset is {own!r} and that of the workflow {ledger!r}: give them the same, so "
            "that one ledger knows of both"
        )


def first_context(task: Task, outer: TaskContext) -> TaskContext:
    """What a task is given, as far as it is known; of a loop the first iteration.

    Raises:
        ConfigError: The loop has no valid iteration.
    """
    looped: Mapping[str, Any] = {}
    path, iterations = (*outer.path, task.name), outer.iterations
    if task.loop is not None and task.loop.query is None:
        first: Iteration = task.loop.iterations(outer.queued_at)[0]
        looped, path = first.values, (*path, first.name)
        iterations = (*iterations, first.name)
    unknown = {
        bare_name(name) for name, value in task.variables.items() if isinstance(value, TaskValue)
    }
    own = {
        bare_name(name): STAND_IN if isinstance(value, TaskValue) else value
        for name, value in task.variables.items()
    }
    return TaskContext(
        report=TaskReport(name=path[-1], kind=task.runnable.kind),
        run_id=outer.run_id,
        workflow=outer.workflow,
        path=path,
        settings=outer.settings,
        variables={**outer.variables, **own, **looped},
        names=outer.names,
        needed=task.own_variables,
        stand_ins=(outer.stand_ins | unknown) - looped.keys(),
        queued_at=outer.queued_at,
        iterations=iterations,
        labels=outer.labels,
        scope=outer.scope,
        slots=outer.slots,
    )


def child_context(workflow: Workflow, context: TaskContext) -> TaskContext:
    """The same for the tasks of a child workflow: with the values of its own variables.

    Raises:
        ConfigError: A value does not fit its definition.
    """
    values = resolve(
        workflow.variables,
        queued_at=context.queued_at,
        started_at=datetime.now(UTC),
        inherited=context.values_for(workflow.variables),
    )
    return TaskContext(
        report=context.report,
        run_id=context.run_id,
        workflow=context.workflow,
        path=context.path,
        settings=context.settings,
        variables={name: value.value for name, value in values.items()},
        names=frozenset(name for name, value in values.items() if value.as_text),
        stand_ins=context.stand_ins,
        queued_at=context.queued_at,
        iterations=context.iterations,
        labels={**context.labels, **workflow.labels},
        scope=context.scope,
        slots=Slots(workflow.max_parallel_tasks, context.slots),
    )


def outermost_context(
    workflow: Workflow,
    name: str,
    settings: Settings,
    given: Mapping[str, Any],
    queued_at: datetime,
    scope: Scope | None = None,
) -> TaskContext:
    """What all tasks of a workflow have in common.

    Args:
        workflow: What is to run.
        name: Its name.
        settings: Project, location and environment.
        given: Values of its variables.
        queued_at: Time from which they count.
        scope: The run; None = there is none yet.

    Raises:
        ConfigError: A bad name, a value for an unknown variable or of another type.
    """
    values = resolve(
        workflow.variables, given=given, queued_at=queued_at, started_at=datetime.now(UTC)
    )
    return TaskContext(
        report=TaskReport(name=name, kind="workflow"),
        run_id="",
        workflow=name,
        path=(),
        settings=settings,
        variables={name: value.value for name, value in values.items()},
        names=frozenset(name for name, value in values.items() if value.as_text),
        queued_at=queued_at,
        labels=workflow.labels,
        scope=scope,
        slots=Slots(workflow.max_parallel_tasks),
    )
