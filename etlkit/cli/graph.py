"""The graph of a workflow's tasks as text, Mermaid and JSON; `etlkit.cli.pages` draws it as SVG."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, TextIO

from etlkit.cli.tables import printable
from etlkit.cli.task_looks import sub_tasks

if TYPE_CHECKING:
    from etlkit.api.workflow_report import TaskReport

FORMATS = ("text", "mermaid", "svg", "json")

_MAX_AFTER = 4
"""Names of tasks before a task that the text shows; of more it says how many."""


def write_graph(stream: TextIO, name: str, tasks: Sequence[TaskReport], format_name: str) -> None:
    """Write the graph of a workflow.

    Args:
        stream: Where to write. Text fits the width of a terminal.
        name: The workflow's name.
        tasks: Its tasks; the edges are their `after`.
        format_name: One of `FORMATS`.

    Raises:
        ConfigError: `svg`, and the packages of the `report` extra are missing.
    """
    if format_name == "svg":
        from etlkit.cli.pages.base import check_packages
        from etlkit.cli.pages.task_graph import graph_file

        check_packages()
        stream.write(graph_file(name, tasks))
    elif format_name == "mermaid":
        stream.writelines(f"{line}\n" for line in ["flowchart TD", *_mermaid(tasks, "t")])
    elif format_name == "json":
        graph = {"workflow": name, "tasks": [_as_json(task) for task in tasks]}
        stream.write(json.dumps(graph, ensure_ascii=False, indent=2) + "\n")
    else:
        _write_text(stream, name, tasks)


def steps(tasks: Sequence[TaskReport]) -> list[list[TaskReport]]:
    """The tasks by step: each one stands in the first step that comes after all of its `after`.

    Args:
        tasks: In any order; a name in `after` that is none of them is left out.
    """
    named = {task.name: task for task in tasks}
    sorter = TopologicalSorter(
        {task.name: [name for name in task.after if name in named] for task in tasks}
    )
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        found.append([task for task in tasks if task.name in ready])
    return found


def _write_text(stream: TextIO, name: str, tasks: Sequence[TaskReport]) -> None:
    """A line for each task, by step: it can be read for three tasks and for a hundred."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = steps(tasks)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title, options in (
        ("step", {"justify": "right", "no_wrap": True}),
        ("task", {"overflow": "fold", "min_width": 12}),
        ("runs", {"no_wrap": True}),
        ("after", {"overflow": "fold", "ratio": 1}),
    ):
        table.add_column(title, **options)
    for cells in _text_rows(found, ""):
        step, task, kind, after = map(printable, cells)
        table.add_row(Text(step, "dim"), Text(task, "bold"), Text(kind), Text(after, "dim"))
    num_tasks = f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}"
    num_steps = f"{len(found)} {'step' if len(found) == 1 else 'steps'}"
    # Nothing is folded in a file or a pipe.
    console = Console(
        file=stream, highlight=False, width=None if stream.isatty() else 1_000, height=25
    )
    with console.capture() as captured:
        console.print(Text(f"{printable(name)}: {num_tasks} in {num_steps}"), table)
    stream.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _text_rows(found: list[list[TaskReport]], indent: str) -> Iterator[tuple[str, str, str, str]]:
    """Cells of each task: step, name, what it runs, after which tasks."""
    for number, step in enumerate(found, 1):
        for position, task in enumerate(step):
            shown = str(number) if position == 0 and not indent else ""
            yield shown, f"{indent}{task.name}", _what(task), _after_text(task)
            yield from _text_rows(steps(sub_tasks(task)), f"{indent}  ")


def _what(task: TaskReport) -> str:
    loop = task.details.get("loop")
    return f"{task.kind}, {loop}" if loop else task.kind


def _after_text(task: TaskReport) -> str:
    names = [f"{name} ({branch})" if branch else name for name, branch in task.after.items()]
    more = len(names) - _MAX_AFTER
    if more > 1:
        names[_MAX_AFTER:] = [f"{more} more"]
    return ", ".join(names)


def _mermaid(tasks: Sequence[TaskReport], prefix: str) -> Iterator[str]:
    """The lines of a flow chart, see https://mermaid.js.org/syntax/flowchart.html ."""
    ids = {task.name: f"{prefix}{number}" for number, task in enumerate(tasks, 1)}
    for task in tasks:
        below = sub_tasks(task)
        own, label = ids[task.name], _mermaid_text(task.name)
        if below:
            yield f'    subgraph {own}["{label}"]'
            yield from (f"    {line}" for line in _mermaid(below, f"{own}_"))
            yield "    end"
        else:
            start, end = ('{"', '"}') if task.kind == "branch" else ('["', '"]')
            yield f"    {own}{start}{label}<br>{_mermaid_text(_what(task))}{end}"
    for task in tasks:
        for name, branch in task.after.items():
            if name in ids:
                arrow = f"-->|{branch}|" if branch else "-->"
                yield f"    {ids[name]} {arrow} {ids[task.name]}"


def _mermaid_text(text: str) -> str:
    """Text of a node: whatever Mermaid could take for syntax or HTML is written as its number."""
    return re.sub(r"[^\w .,:/-]", lambda match: f"#{ord(match[0])};", text)


def _as_json(task: TaskReport) -> dict[str, Any]:
    node: dict[str, Any] = {"name": task.name, "kind": task.kind, "after": task.after}
    if task.details:
        node["details"] = task.details
    below = sub_tasks(task)
    return node | ({"tasks": [_as_json(each) for each in below]} if below else {})
