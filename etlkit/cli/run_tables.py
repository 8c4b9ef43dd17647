"""Runs of the ledger as rows of a table: those of workflows with their tasks below them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etlkit.api.quantities import number_of
from etlkit.cli.quantities import duration_text, parse_time

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
WORKER_COLUMNS = (
    "worker",
    "attempt",
    "host",
    "state",
    "since",
    "settled",
    "claimed",
    "rows",
    "rows/s",
    "rates",
)
NUMERIC = (
    *("read", "written", "skipped", "rejected", "rows", "attempts", "took", "age"),
    *("attempt", "settled", "claimed", "rows/s", "rates"),
)
UNBROKEN = ("run_id", "state", "task", "worker", "since", *NUMERIC)
LIST_DROPPABLE = ("target", "skipped", "written", "rejected", "took", "read", "age")
TASK_DROPPABLE = ("run_id", "skipped", "attempts", "written", "rejected", "read", "rows", "took")
WORKER_DROPPABLE = ("attempt", "claimed", "host", "since", "rates", "rows/s")
"""What a narrow terminal has no room for, the first of them first."""

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


def worker_rows(workers: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Workers as rows of a table, and those of `WORKER_COLUMNS` that tell them apart."""
    left_out = {"attempt"} if len({each["attempt"] for each in workers}) == 1 else set()
    if len({each["host"] for each in workers}) == 1:
        left_out.add("host")
    if all(each["part_of_rates"] is None for each in workers):
        left_out.add("rates")
    days = {each["joined_at"][:10] for each in workers}
    rows = [
        {
            **each,
            "since": _since(each["joined_at"], is_one_day=len(days) == 1),
            "settled": f"{each['shards_settled']:,}",
            "claimed": f"{each['shards_claimed']:,}",
            "rows": f"{each['rows']:,}",
            "rows/s": f"{each['rows_per_s']:,.1f}",
            "rates": _percent(each["part_of_rates"]),
        }
        for each in workers
    ]
    return [name for name in WORKER_COLUMNS if name not in left_out], rows


def workers_text(workers: Sequence[Mapping[str, Any]], together: Mapping[str, Any]) -> str:
    """What the workers of a run have done together, in one line."""
    parts = [number_of(len(workers), "worker")]
    hosts = {each["host"] for each in workers}
    if len(hosts) == 1 and "" not in hosts:
        parts[0] += f" on {hosts.pop()}"
    if together["at_work"]:
        parts[0] += f", {together['at_work']:,} at work"
    parts.append(f"{together['shards_settled']:,} of {together['shards']:,} shards settled")
    parts.append(f"{number_of(together['rows'], 'row')}, {together['rows_per_s']:,.1f} rows/s")
    if together["part_of_rates"] is not None:
        parts.append(f"{_percent(together['part_of_rates'])} of the rates")
    return "; ".join(parts)


def _since(iso: str, *, is_one_day: bool) -> str:
    moment = parse_time(iso)
    return "" if moment is None else f"{moment:%H:%M:%S}" if is_one_day else f"{moment:%m-%d %H:%M}"


def _percent(part: float | None) -> str:
    return "" if part is None else f"{part:.0%}"
