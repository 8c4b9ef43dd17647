"""The report of a workflow for a person: a table with a row for each task, on stderr."""

from __future__ import annotations

import logging
import math
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.cli.logs import logs_json
from etlkit.cli.quantities import cost_text, count_text, duration_text, size_text
from etlkit.cli.tables import print_table, printable
from etlkit.cli.task_looks import children_text, look

log: logging.Logger = logging.getLogger("etlkit")

_MAX_CHILDREN = 10
"""Children of a task with rows of their own; of more, those that failed and how many did not."""

_NUMERIC = ("rows", "rejected", "calls", "billed", "cost", "took")
_TITLES = ("task", "runs", "state", *_NUMERIC)
_DISPENSABLE = ("calls", "billed", "runs", "cost", "rejected")


def show_workflow(report: WorkflowReport) -> None:
    """Print what each task did on stderr; the JSON report goes to stdout."""
    for text in [*report.changes, *report.warnings]:
        log.warning("%s", text)
    if not report.tasks:  # the run was published before: that has been said
        return
    rows = [row for task in report.tasks for row in _rows(task, "")]
    if logs_json():
        for row in rows:
            log.info("%s", " | ".join(filter(None, map(str.strip, row))))
    else:
        used = _fitting(rows)
        print_table(
            sys.stderr,
            [_TITLES[i] for i in used],
            [[row[i] for i in used] for row in rows],
            title=f"{report.job}: {report.state}",
            numeric=_NUMERIC,
            unbroken={*_TITLES} - {"task"},
        )
    for name, task in _failed(report.tasks, ""):
        if task.error and task.error in (report.error or ""):  # it is told last of all
            continue
        log.error("%s: %s", printable(name), printable(task.error or look(task.state).word))
    log.info("%s", _totals(report))


def _fitting(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns that are not empty; on a narrow terminal without those that people miss least."""
    used = [i for i in range(len(_TITLES)) if i < 3 or any(row[i] for row in rows)]
    widths = [max(len(row[i]) for row in [_TITLES, *rows]) + 3 for i in range(len(_TITLES))]
    room = shutil.get_terminal_size().columns if sys.stderr.isatty() else math.inf
    for title in _DISPENSABLE:
        if sum(widths[i] for i in used) < room:
            break
        used = [i for i in used if _TITLES[i] != title]
    return used


def _rows(task: TaskReport, indent: str) -> Iterator[list[str]]:
    yield _cells(task, indent)
    below = f"{indent}  "
    if len(task.children) <= _MAX_CHILDREN:
        for child in task.children:
            yield from _rows(child, below)
        return
    others = [child for child in task.children if child.state != "failed"]
    for child in task.children:
        if child.state == "failed":
            yield _cells(child, below)
    states = Counter[str](child.state for child in others)
    for state, number in states.items():
        yield [f"{below}{number:,} of {children_text(task)}", "", look(state).word, *[""] * 6]


def _cells(task: TaskReport, indent: str) -> list[str]:
    rows = task.written if task.written is not None else task.rows
    began = bool(task.started_at) and not task.from_earlier
    return [
        f"{indent}{task.name}",
        task.kind,
        look(task.state).word,
        count_text(rows),
        count_text(task.rejected or None),
        count_text(task.calls or None),
        size_text(task.bytes_billed),
        cost_text(task.cost),
        duration_text(task.seconds) if began else "earlier" if task.from_earlier else "",
    ]


def _failed(tasks: Sequence[TaskReport], above: str) -> Iterator[tuple[str, TaskReport]]:
    """The tasks that failed, those below another one under its name."""
    for task in tasks:
        if task.state in {"failed", "interrupted"}:
            name = f"{above}{task.name}"
            below = list(_failed(task.children, f"{name} / "))
            yield from below or [(name, task)]


def _totals(report: WorkflowReport) -> str:
    states = Counter[str](task.state for task in report.tasks)
    parts = [f"{number} {look(state).word}" for state, number in states.items()]
    parts += [f"{size_text(report.bytes_billed)} billed"] if report.bytes_billed else []
    parts += [cost_text(report.cost)] if report.cost else []
    return f"{report.job}: {', '.join(parts)}, in {duration_text(report.seconds)}"
