"""The page of one run: graph, timeline, and what each task did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit.api.report import DatamartReport, RunReport, StatementReport
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.cli.pages.base import read_template, write_page
from etlkit.cli.pages.one_task import as_workflow
from etlkit.cli.pages.task_graph import graph_svg
from etlkit.cli.pages.timeline import timeline
from etlkit.cli.quantities import cost_text, count_text, duration_text, size_text, time_text
from etlkit.cli.task_looks import (
    children_text,
    is_loop,
    look,
    rows_text,
    states_in_order,
)

if TYPE_CHECKING:
    from markupsafe import Markup

_MAX_OPEN = 12
"""Tasks of a run that are shown unfolded; in a longer list only the failed ones are."""

_MAX_CHILD_ROWS = 50
"""Children in the table of their task before the others are folded, and with a part of their own."""

_MAX_FACT = 80
"""Characters of a detail that stands among the facts; a longer one gets lines of its own."""

_MAX_TEXT = 20_000
"""Characters of a value or a text; more would make the page heavy."""


@dataclass(frozen=True, slots=True)
class _Section:
    """A task as the template shows it.

    Attributes:
        key: Its number, behind those of the tasks around it: `3`, `3-1`.
        task: The report.
        level: Level of its heading.
        is_open: Whether it is unfolded.
        after: Names before it, with the key of each that is on the page and the branch.
        before: The same of those behind it.
        facts: Title and text of what is known in a word.
        statements: The rows of its table of SQL, scripts with their jobs.
        details: Title and text of what is shown as text.
        children: Its children, each as a section.
        graph: The graph of the workflow that it runs; None = it runs none.
        retry: The command that runs its rejected rows again; empty = it has none.
        in_graph: Whether a node of a graph stands for it.
        has_part: Whether it has a part of its own, or only a row in the table of the task around it.
    """

    key: str
    task: TaskReport
    level: int
    is_open: bool
    after: list[tuple[str, str | None, str]]
    before: list[tuple[str, str | None, str]]
    facts: dict[str, str]
    statements: list[tuple[str, StatementReport]]
    details: dict[str, str]
    children: list[_Section] = field(default_factory=list)
    graph: Markup | None = None
    retry: str = ""
    in_graph: bool = False

    has_part: bool = True


def write_html(report: WorkflowReport | RunReport | DatamartReport, path: Path | str) -> None:
    """Write the page of a run: one file that can be opened, sent and kept, and needs no network.

    Args:
        report: What `run_workflow`, `run_job` or `run_datamart` returned, or the `report` of the error
            that they raised.
        path: The file; an existing one is replaced in one step.

    Raises:
        ConfigError: The packages of the `report` extra are missing, or the folder is not there.
        OSError: The file cannot be written.
    """
    run = as_workflow(report)
    values = _values(run)
    write_page(
        Path(path),
        "run.html",
        values,
        title=run.job,
        styles=[read_template("task_graph.css"), read_template("run.css")],
        scripts=[read_template("run.js")],
    )


def _values(run: WorkflowReport) -> dict[str, Any]:
    is_open = len(run.tasks) <= _MAX_OPEN
    sections = list(_sections(run.tasks, "", 3, is_open=is_open, in_graph=len(run.tasks) > 1))
    states = Counter[str](task.state for task in run.tasks)
    return {
        "run": run,
        "look": look,
        "facts": _run_facts(run),
        "sections": sections,
        "failures": list(_failures(sections)),
        "states": [(look(state), states[state]) for state in states_in_order() if states[state]],
        "graph": graph_svg(run.tasks, title=_graph_title(run.tasks))
        if len(run.tasks) > 1
        else None,
        "timeline": timeline(run) if len(run.tasks) > 1 else None,
        "columns": _columns(run.tasks),
        "cells": _cells,
        "columns_of": lambda section: _columns(section.task.children),
        "summary_of": _summary,
        "max_child_rows": _MAX_CHILD_ROWS,
        "children_text": children_text,
        "count_text": count_text,
        "size_text": size_text,
        "duration_text": duration_text,
        "time_text": time_text,
    }


def _graph_title(tasks: Sequence[TaskReport]) -> str:
    return f"Graph of {len(tasks)} tasks; each leads to what it did"


def _run_facts(run: WorkflowReport) -> dict[str, str]:
    """What the run did, in a few figures."""
    rejected = [task.rejected for task in run.tasks if task.rejected is not None]
    written = [task.written for task in run.tasks if task.written is not None]
    calls = [task.calls for task in run.tasks if task.calls is not None]
    facts = {
        "Duration": duration_text(run.seconds),
        "Rows written": count_text(sum(written)) if written else "",
        "Rows rejected": count_text(sum(rejected)) if rejected else "",
        "Calls": count_text(sum(calls) or None),
        "Bytes billed": size_text(run.bytes_billed),
        "Cost": cost_text(run.cost),
        "Attempt": str(run.attempt) if run.attempt > 1 else "",
    }
    return {title: text for title, text in facts.items() if text}


def _sections(
    tasks: Sequence[TaskReport], prefix: str, level: int, *, is_open: bool, in_graph: bool
) -> Iterator[_Section]:
    keys = {task.name: f"{prefix}{number}" for number, task in enumerate(tasks, 1)}
    followers: dict[str, list[tuple[str, str | None, str]]] = {name: [] for name in keys}
    for task in tasks:
        for name, branch in task.after.items():
            if name in followers:
                followers[name].append((task.name, keys[task.name], branch))
    for number, task in enumerate(tasks, 1):
        key = f"{prefix}{number}"
        is_flow = task.kind == "workflow" and bool(task.children) and not is_loop(task)
        children = _sections(
            task.children, f"{key}-", min(level + 1, 6), is_open=False, in_graph=is_flow
        )
        yield _Section(
            key=key,
            task=task,
            level=level,
            is_open=is_open or task.state in {"failed", "interrupted"},
            after=[(name, keys.get(name), branch) for name, branch in task.after.items()],
            before=followers[task.name],
            facts=_task_facts(task),
            statements=list(_statements(task.statements)),
            details=_details(task),
            children=list(children),
            graph=graph_svg(task.children, f"{key}-", title=_graph_title(task.children))
            if is_flow
            else None,
            retry=_retry(task),
            in_graph=in_graph,
            has_part=not prefix or _has_part(task, number),
        )


def _has_part(task: TaskReport, number: int) -> bool:
    """Whether a child tells more than its row: of a long loop only the first ones, and the failed."""
    if task.state in {"failed", "interrupted"}:
        return True
    told = (task.first_errors, task.rejects, task.failed_attempts, task.children, task.statements)
    return number <= _MAX_CHILD_ROWS and bool(any(told) or task.details or task.value is not None)


def _failures(sections: Sequence[_Section], above: str = "") -> Iterator[tuple[str, _Section]]:
    """The tasks that failed under their full names; of one that failed by a child, the child."""
    for section in sections:
        if section.task.state not in {"failed", "interrupted"}:
            continue
        name = f"{above}{section.task.name}"
        below = list(_failures(section.children, f"{name} / "))
        yield from below or [(name, section)]


def _task_facts(task: TaskReport) -> dict[str, str]:
    facts = {
        "Started": time_text(task.started_at),
        "Ended": time_text(task.finished_at),
        "Took": duration_text(task.seconds) if task.started_at else "",
        "Attempts": str(task.attempts) if task.attempts > 1 else "",
        "From": "an earlier attempt at this run" if task.from_earlier else "",
        "Job": task.job,
        "Run": task.run_id or "",
        "Target": task.target,
        "Branch taken": task.branch or "",
        "Read": count_text(task.read),
        "Written": count_text(task.written),
        "Skipped": count_text(task.skipped),
        "Rejected": count_text(task.rejected),
        "Rows": count_text(task.rows),
        "Calls": count_text(task.calls),
        "Bytes billed": size_text(task.bytes_billed),
        "Cost": cost_text(task.cost),
        **{_title(key): text for key, text in task.details.items() if _is_fact(key, text)},
    }
    return {title: text for title, text in facts.items() if text}


def _title(key: str) -> str:
    return f"{key[:1].upper()}{key[1:]}"


def _is_fact(key: str, text: str) -> bool:
    return key != "SQL" and len(text) <= _MAX_FACT and "\n" not in text


def _statements(
    statements: Sequence[StatementReport], prefix: str = ""
) -> Iterator[tuple[str, StatementReport]]:
    for statement in statements:
        number = f"{prefix}{statement.number}"
        yield number, statement
        yield from _statements(statement.children, f"{number}.")


def _summary(task: TaskReport) -> str:
    parts = [task.kind, rows_text(task), children_text(task) if task.children else ""]
    parts += [duration_text(task.seconds)] if task.started_at else []
    return ", ".join(part for part in parts if part)


def _details(task: TaskReport) -> dict[str, str]:
    details = {_title(key): text for key, text in task.details.items() if not _is_fact(key, text)}
    if task.value is not None:
        value = task.value
        text = (
            value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        )
        details["Value for other tasks"] = text
    return {title: _shortened(text) for title, text in details.items()}


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[:_MAX_TEXT]}… ({len(text):,} characters)"


def _retry(task: TaskReport) -> str:
    if task.kind != "transfer" or not task.rejected or not (task.run_id and task.job):
        return ""
    return f"etlkit run {task.job} --retry-rejects {task.run_id}"


_COLUMNS = ("Started", "Took", "Rows", "Rejected", "Calls", "Billed", "Cost", "Attempts")


def _columns(tasks: Sequence[TaskReport]) -> list[str]:
    """The columns of a table of tasks that are not empty in every row."""
    rows = [_cells(task) for task in tasks]
    return [name for name in _COLUMNS if any(row[name] for row in rows)]


def _cells(task: TaskReport) -> Mapping[str, str]:
    began = time_text(task.started_at)
    rows = task.written if task.written is not None else task.rows
    return {
        "Started": "earlier attempt" if task.from_earlier else began[11:19] or began,
        "Took": duration_text(task.seconds) if task.started_at else "",
        "Rows": count_text(rows),
        "Rejected": count_text(task.rejected or None),
        "Calls": count_text(task.calls or None),
        "Billed": size_text(task.bytes_billed),
        "Cost": cost_text(task.cost),
        "Attempts": str(task.attempts) if task.attempts > 1 else "",
    }
