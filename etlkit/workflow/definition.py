"""`Workflow` and `Task`: frozen descriptions. Nothing happens when one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from etlkit.variables.definitions import VariableDefinition

DEFAULT_MAX_PARALLEL_TASKS = 4


@dataclass(frozen=True)
class Task:
    """One node of a workflow's graph.

    Attributes:
        name: Unique within the workflow; letters, digits, `_` and `-`.
        run: What it does: a `TransferJob`, `Datamart`, `Workflow`, `DataCheck`, `HttpRequest`,
            `Webhook`, `DbtBuild`, `IfElse`, or a callable that takes a `TaskContext` or nothing.
        after: Names of the tasks that must have succeeded before.
        loop: Run it once for each iteration, with values for variables; None = once.
        retry_limit: How often it is tried again after a failure.
        min_retry_interval_s: Seconds to wait before each of these.
        timeout_s: Seconds after which an attempt is stopped and counts as failed; None = no limit.
        variables: Values for the job's variables: plain values, or `TaskValue`s, which are read
            when the task begins.
    """

    name: str
    run: Any
    after: str | Sequence[str] = ()
    loop: Any = None
    retry_limit: int = 0
    min_retry_interval_s: float = 0.0
    timeout_s: float | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """Tasks that run in the order of their edges, side by side where there is none.

    Attributes:
        tasks: In any order.
        depends: `explicit` takes the edges of `after` and of the branches; `auto` adds one from the
            task that writes a table to each task that reads it.
        max_parallel_tasks: Tasks and loop iterations that run at once.
        timeout_s: Seconds after which the whole run is stopped; None = no limit.
        stop_on_error: After a failure no further task begins. False = tasks that do not come after
            the failed one still run; the run is failed all the same.
        variables: Custom variables `$name$`, handed to every job that uses them.
        name: In reports and the ledger; None = the module's name.
        is_runnable_concurrently: Whether two runs may be in progress at once.
        labels: Labels for every BigQuery job, beside `etlkit_job` and `etlkit_run`.
        work_dataset: Where the ledger lives, `dataset` or `project.dataset`.
    """

    tasks: Sequence[Task]
    depends: Literal["explicit", "auto"] = "explicit"
    max_parallel_tasks: int = DEFAULT_MAX_PARALLEL_TASKS
    timeout_s: float | None = None
    stop_on_error: bool = True
    variables: Mapping[str, VariableDefinition] = field(default_factory=dict)
    name: str | None = None
    is_runnable_concurrently: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    work_dataset: str = "etlkit_work"
