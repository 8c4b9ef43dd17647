"""The tasks of a workflow before it runs, as the reports that the graph is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etlkit.api.workflow_report import TaskReport

if TYPE_CHECKING:
    from etlkit.workflow.definition import Workflow
    from etlkit.workflow.loop import Loop
    from etlkit.workflow.task import Task


def tasks_of(workflow: Workflow) -> list[TaskReport]:
    """Its tasks in an order that respects the edges, with those of its child workflows."""
    graph = workflow.graph
    return [_task(graph.tasks[name], graph.before[name]) for name in graph.order]


def _task(task: Task, before: Mapping[str, str]) -> TaskReport:
    from etlkit.workflow.conditions import IfElse
    from etlkit.workflow.definition import Workflow

    report = TaskReport(name=task.name, kind=task.runnable.kind, after=dict(before))
    if task.loop is not None:
        report.details["loop"] = _loop_text(task.loop)
    if isinstance(task.run, IfElse):
        report.details["condition"] = str(task.run.condition)
    if isinstance(task.run, Workflow):
        report.children = tasks_of(task.run)
    return report


def _loop_text(loop: Loop) -> str:
    """`2 iterations over region`, `each day from 2024-01-01 to 2024-01-31`, `each row of a query`."""
    if loop.values is not None:
        number = len(next(iter(loop.values.values())))
        noun = "iteration" if number == 1 else "iterations"
        text = f"{number} {noun} over {', '.join(loop.values)}"
    elif loop.period is not None:
        text = f"each {loop.period.interval} of a period"
    else:
        text = "each row of a query"
    return f"{text}, side by side" if loop.parallel else text
