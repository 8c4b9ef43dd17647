"""Runs of the ledger as rows of a table: those of workflows with their tasks below them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etlkit.cli.quantities import duration_text

LIST_COLUMNS = (
    "run_id",
    "job",
    "state",
    "read",
    "written",
    "skipped",
    "rejected",
    "took",
    "age",
    "target",
)
TASK_COLUMNS = (
    "task",
    "state",
    "attempts",
    "read",
    "written",
    "skipped",
    "rejected",
    "rows",
    "took",
    "run_id",
    "error",
)
NUMERIC = ("read", "written", "skipped", "rejected", "rows", "attempts", "took", "age")
UNBROKEN = ("run_id", "state", "task", *NUMERIC)

RESUMABLE = ("failed", "interrupted", "dead")
"""States of a run that did not publish and is over."""

_MAX_ITERATIONS = 20
"""A loop of more has its iterations counted by state; `--format json` has them all."""


def list_rows(runs: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of `LIST_COLUMNS`: each run, and below that of a workflow its tasks."""
    for run in runs:
        yield {**run, "took": duration_text(run["seconds"]), "age": duration_text(run["age_s"])}
        for label, task in _tree(run.get("tasks", ()), depth=1):
            yield {**task, "job": label, "took": duration_text(task["seconds"] or None)}


def task_rows(tasks: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of `TASK_COLUMNS`: each task, and those below it."""
    for label, task in _tree(tasks, depth=None):
        error = (task["error"] or "").partition("\n")[0]
        took, attempts = duration_text(task["seconds"] or None), task["attempts"] or None
        yield {**task, "task": label, "took": took, "attempts": attempts, "error": error}


def _tree(
    tasks: Iterable[Mapping[str, Any]], depth: int | None, indent: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tasks with their names as lines of a tree."""
    each = list(tasks)
    if indent and len(each) > _MAX_ITERATIONS:
        each = [_counted(each)]
    for number, task in enumerate(each, 1):
        is_last = number == len(each)
        yield f"{indent}{'└─' if is_last else '├─'} {task['task']}", task
        if depth != 1:
            below = indent + ("   " if is_last else "│  ")
            yield from _tree(task["tasks"], None if depth is None else depth - 1, below)


def _counted(tasks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Many tasks as one row."""
    states = [task["state"] for task in tasks]
    counted = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
    row: dict[str, Any] = dict.fromkeys(tasks[0])
    return row | {"task": f"{len(tasks):,}: {counted}", "tasks": []}
