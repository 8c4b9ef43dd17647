"""`Workflow`: a frozen description of tasks. Nothing happens when one is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from etlkit.api.datamart import WORK_DATASET
from etlkit.api.job_options import describe
from etlkit.api.labels import check_labels
from etlkit.api.workflow_report import TaskKind
from etlkit.errors import ConfigError
from etlkit.variables.definitions import VariableDefinition
from etlkit.variables.values import check_definitions
from etlkit.workflow.graph import Graph
from etlkit.workflow.http_request import Webhook
from etlkit.workflow.notifications import Alert, as_webhooks
from etlkit.workflow.task import Task, is_count, is_seconds, listed
from etlkit.workflow.task_kind import Runnable, Tables, TaskContext, short_hash
from etlkit.workflow.values import is_number

DEFAULT_MAX_PARALLEL_TASKS = 4

Depends = Literal["explicit", "auto"]


@dataclass(frozen=True, kw_only=True)
class Workflow(Runnable):
    """Tasks that run in the order of their edges, side by side where there is none.

    Attributes:
        tasks: In any order. Of those that can begin at the same time, the first in this list does.
        depends: `explicit` takes the edges of `after`, of the branches, and of values and conditions
            that read another task; `auto` adds one from the task that writes a table to each task
            that reads it.
        max_parallel_tasks: Tasks and loop iterations that run at once. Those of child workflows count
            too; a child's own limit holds beside this one.
        timeout_s: Seconds after which an attempt at the whole run is stopped; None = no limit.
        stop_on_error: After a failure no further task begins; what runs goes on to its end. False =
            tasks that do not come after the failed one still run; the run is failed all the same.
        variables: Custom variables `$name$`, handed to every job that uses them.
        max_calls: Calls of all transfers together in one attempt, retries included; the run ends
            before it makes more. None = no limit.
        max_cost: What these calls may cost together, at each job's `price_per_unit`; None = no limit.
        on_finish: Who is told when a run ends, however it ends.
        on_failure: Who is told when a run failed or was interrupted.
        alerts: Who is told when something takes long, or a condition is true.
        name: In reports and the ledger; None = the module's name.
        is_runnable_concurrently: Whether two runs may be in progress at once.
        labels: Labels for every BigQuery job, beside `etlkit_job` and `etlkit_run`.
        work_dataset: Where the ledger lives, `dataset` or `project.dataset`.
    """

    tasks: Sequence[Task]
    depends: Depends = "explicit"
    max_parallel_tasks: int = DEFAULT_MAX_PARALLEL_TASKS
    timeout_s: float | None = None
    stop_on_error: bool = True
    variables: Mapping[str, VariableDefinition] = field(default_factory=dict)
    max_calls: int | None = None
    max_cost: float | None = None
    on_finish: Webhook | Sequence[Webhook] = ()
    on_failure: Webhook | Sequence[Webhook] = ()
    alerts: Sequence[Alert] = ()
    name: str | None = None
    is_runnable_concurrently: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    work_dataset: str = WORK_DATASET

    kind: ClassVar[TaskKind] = "workflow"
    takes_slot: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O, all of them at once."""
        problems = list(self._problems_of_types())
        if not problems:
            object.__setattr__(self, "tasks", tuple(self.tasks))
            problems = list(self._problems())
        if not problems:
            problems = self.graph.problems()
        if problems:
            raise ConfigError(
                listed("Workflow" + (f"({self.name!r})" if self.name else ""), problems)
            )

    @cached_property
    def graph(self) -> Graph:
        """Its tasks and edges."""
        return Graph(self.tasks, self.depends, self.alerts, self.variables)

    def run(self, context: TaskContext, /) -> None:
        """Run as the child of another workflow. See `etlkit.run_workflow` to run it by itself."""
        context.scope_of_run.run_child(self, context)

    def dry_run(self, context: TaskContext, /) -> bool:
        """Check as the child of another workflow."""
        return context.scope_of_run.dry_run_child(self, context)

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:
        """All that its tasks read and write."""
        if not variables:
            return self.graph.tables()
        return Graph(self.tasks, variables={**self.variables, **variables}).tables()

    def fingerprint(self) -> str:
        """A text that changes with its tasks and edges."""
        parts = [repr(sorted(self.variables.items(), key=str))]
        for name, task in self.graph.tasks.items():
            parts += [name, repr(sorted(self.graph.before[name].items())), task.fingerprint()]
        return short_hash(*parts)

    def _problems_of_types(self) -> Iterator[str]:
        """Options that the others cannot even be looked at with."""
        for name, example in (("tasks", "[Task('name', …)]"), ("alerts", "[Alert(…)]")):
            given = getattr(self, name)
            if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
                yield f"{name} is {describe(given)}; give a list, e.g. {name}={example}"
        if not isinstance(self.variables, Mapping):
            yield f"variables is {describe(self.variables)}; give a dict, e.g. {{'day': '2024-01-31'}}"

    def _problems(self) -> Iterator[str]:
        """Problems of single options; edges are looked at when there are none."""
        yield from self._problems_of_tasks()
        if self.depends not in get_args(Depends):
            yield f"depends={self.depends!r}: it is 'explicit' or 'auto'"
        if not is_count(self.max_parallel_tasks) or self.max_parallel_tasks < 1:
            yield f"max_parallel_tasks={self.max_parallel_tasks!r}: it is 1 or more"
        if self.timeout_s is not None and (not is_seconds(self.timeout_s) or self.timeout_s <= 0):
            yield f"timeout_s={self.timeout_s!r}: it is above 0, or None"
        for name in ("max_calls", "max_cost"):
            value = getattr(self, name)
            if value is not None and (not is_number(value) or not value > 0):
                yield f"{name}={value!r}: it is a number above 0, or None"
        yield from self._problems_of_parts()

    def _problems_of_tasks(self) -> Iterator[str]:
        if not self.tasks:
            yield "tasks is empty: give at least one Task(…)"
        for each in self.tasks:
            if not isinstance(each, Task):
                yield f"tasks has {describe(each)}; give a Task('name', …) with it"
            elif isinstance(each.run, Workflow) and (each.run.max_calls or each.run.max_cost):
                yield (
                    f"task {each.name!r} runs a workflow with max_calls or max_cost: caps belong to "
                    "the outermost workflow"
                )
        names = [each.name for each in self.tasks if isinstance(each, Task)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"two tasks are called {name!r}; each needs a name of its own"

    def _problems_of_parts(self) -> Iterator[str]:
        for name in ("on_finish", "on_failure"):
            try:
                object.__setattr__(self, name, as_webhooks(name, getattr(self, name)))
            except ConfigError as error:
                yield str(error)
        for each in self.alerts:
            if not isinstance(each, Alert):
                yield f"alerts has {describe(each)}; give an Alert(…)"
        try:
            check_definitions(self.variables)
            check_labels(self.labels, "labels")
        except ConfigError as error:
            yield str(error)
