"""What differs between the graph with which a run began and the one that it goes on with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from etlkit.api.workflow_report import TaskReport
from etlkit.api.workflow_state import Path, task_text
from etlkit.workflow.definition import Workflow
from etlkit.workflow.fates import fate_of
from etlkit.workflow.graph_run import task_reports


@dataclass
class Changes:
    """What differs.

    Attributes:
        sentences: One for each difference.
        outdated: Tasks with results that came of another definition.
    """

    sentences: list[str] = field(default_factory=list)
    outdated: list[Path] = field(default_factory=list)


def compare(
    tasks: Iterable[TaskReport],
    earlier: Iterable[TaskReport],
    finished: Collection[Path],
    path: Path = (),
) -> Changes:
    """Compare two graphs.

    Args:
        tasks: As they are now.
        earlier: As they were when the run began.
        finished: What has ended in earlier attempts.
        path: The task that runs this graph.
    """
    now = {task.name: task for task in tasks}
    then = {task.name: task for task in earlier}
    found = Changes()
    for name in now.keys() - then.keys():
        found.sentences.append(f"task {_named(path, name)} is new")
    for name in then.keys() - now.keys():
        found.sentences.append(f"task {_named(path, name)} is gone")
    found.sentences.sort()
    for name, task in now.items():
        if name not in then:
            continue
        before = then[name]
        if task.after != before.after:
            was, is_now = (", ".join(each.after) or "nothing" for each in (before, task))
            found.sentences.append(
                f"task {_named(path, name)} comes after {is_now}; it came after {was}"
            )
        if not before.fingerprint or task.fingerprint == before.fingerprint:
            continue
        inside = (*path, name)
        if task.children and before.children and inside not in finished:
            below = compare(task.children, before.children, finished, inside)
            found.sentences += below.sentences
            found.outdated += below.outdated
            continue
        found.sentences.append(f"task {_named(path, name)} has another definition")
        if any(each[: len(inside)] == inside for each in finished):
            found.outdated.append(inside)
    return found


def unfounded(
    workflow: Workflow,
    finished: Mapping[Path, TaskReport],
    skipped: frozenset[str] = frozenset(),
    path: Path = (),
) -> Iterator[Path]:
    """Finished tasks that come after others which have yet to run. They have to run again.

    Such as the tasks behind an `IfElse` that looked at the failure of a task: on a resume that task
    runs again, and may succeed.

    Args:
        workflow: The graph.
        finished: What has ended in earlier attempts.
        skipped: Names of tasks that are left out.
        path: The task that runs this graph.
    """
    reports = task_reports(workflow, skipped)
    for name in workflow.graph.order:
        inside = (*path, name)
        fate = fate_of(workflow.graph.before[name], reports, workflow.graph.watched.get(name, ()))
        if reports[name].state == "skipped":
            continue
        if fate == "bypass":
            reports[name].state = "bypassed"
        elif inside in finished and fate == "run":
            reports[name] = finished[inside]
        elif fate != "run" and any(each[: len(inside)] == inside for each in finished):
            yield inside
        elif isinstance(workflow.graph.tasks[name].run, Workflow):
            yield from _inside(workflow, name, finished, inside)


def _inside(
    workflow: Workflow, name: str, finished: Mapping[Path, TaskReport], inside: Path
) -> Iterator[Path]:
    """The same for the child workflow of a task, in each iteration of a loop that was begun."""
    task = workflow.graph.tasks[name]
    if task.loop is None:
        levels = {inside}
    else:
        size = len(inside) + 1
        levels = {
            each[:size] for each in finished if len(each) > size and each[: size - 1] == inside
        }
    for level in sorted(levels - finished.keys()):
        yield from unfounded(task.run, finished, path=level)


def _named(path: Path, name: str) -> str:
    return repr(task_text((*path, name)))
