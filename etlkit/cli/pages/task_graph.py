"""The graph of tasks as SVG. Graphviz places nodes and edges; it never sees a name of a user."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etlkit.api.workflow_report import TaskReport
from etlkit.cli.pages.base import environment, read_template
from etlkit.cli.quantities import duration_text
from etlkit.cli.task_looks import Look, children_text, is_loop, look, rows_text, sub_tasks

if TYPE_CHECKING:
    from markupsafe import Markup

NODE_HEIGHT = 46
"""Pixels."""

_MIN_WIDTH, _LETTER_WIDTH, _AROUND_NAME = 180, 8.6, 48
"""Pixels: of a node, of a letter of its name in a wide font, of what stands beside the name."""

_MARGIN = 8
_MAX_NAME, _MAX_LINE = 32, 21
"""Characters of a name, and of the facts that fit the narrowest node."""

_EDGE_LABEL = (
    '<<TABLE BORDER="0" FIXEDSIZE="TRUE" WIDTH="72" HEIGHT="18"><TR><TD></TD></TR></TABLE>>'
)
"""Keeps room for the word of a branch. Empty: Graphviz measures no text, so it needs no fonts."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A task where the layout puts it; `x` and `y` are the upper left corner."""

    task: TaskReport
    key: str
    x: float
    y: float
    width: float
    name: str
    line: str
    look: Look
    shape: str
    label: str


@dataclass(frozen=True, slots=True)
class _Edge:
    path: str
    label: str
    x: float
    y: float
    is_taken: bool


def graph_svg(tasks: Sequence[TaskReport], prefix: str = "", *, title: str = "Graph") -> Markup:
    """The graph for a page, whose nodes lead to `#task-KEY` and have the id `node-KEY`.

    Args:
        tasks: The tasks; the edges are their `after`.
        prefix: What the keys begin with; a task's key is its number, 1 = first.
        title: What a screen reader calls the picture.
    """
    from markupsafe import Markup

    return Markup(_render(tasks, prefix, title, style=None))  # noqa: S704 - the template escapes  # nosec B704


def graph_file(name: str, tasks: Sequence[TaskReport]) -> str:
    """The graph as a file of its own, without links."""
    return _render(tasks, "", name, style=_own_style())


def _render(tasks: Sequence[TaskReport], prefix: str, title: str, style: str | None) -> str:
    nodes, edges, width, height = _laid_out(tasks, prefix)
    template = environment().get_template("task_graph.svg")
    return template.render(
        nodes=nodes,
        edges=edges,
        width=width,
        height=height,
        node_height=NODE_HEIGHT,
        title=title,
        key=prefix,
        style=style,
    )


def _laid_out(
    tasks: Sequence[TaskReport], prefix: str
) -> tuple[list[_Node], list[_Edge], float, float]:
    from pygraphviz import AGraph

    numbers = {task.name: number for number, task in enumerate(tasks, 1)}
    graph = AGraph(directed=True, strict=True, nodesep=0.25, ranksep=0.45)
    graph.node_attr.update(
        shape="box",
        label="",
        fixedsize=True,
        height=NODE_HEIGHT / 72,  # Graphviz counts nodes in inches, positions in points
    )
    for task in tasks:
        graph.add_node(numbers[task.name], width=_width(task) / 72)
    words: dict[tuple[str, str], tuple[str, bool]] = {}
    by_name = {task.name: task for task in tasks}
    for task in tasks:
        for name, branch in task.after.items():
            if name in numbers:
                ends = (str(numbers[name]), str(numbers[task.name]))
                words[ends] = (branch, by_name[name].branch in {None, branch} or not branch)
                graph.add_edge(*ends, label=_EDGE_LABEL if branch else "")
    placed = json.loads(graph.draw(format="json0", prog="dot"))
    _, _, width, height = map(float, placed["bb"].split(","))
    names = {each["_gvid"]: each["name"] for each in placed.get("objects", [])}
    spots = {each["name"]: each["pos"] for each in placed.get("objects", [])}
    nodes = [
        _node(task, f"{prefix}{number}", _point(spots[str(number)], height))
        for number, task in enumerate(tasks, 1)
    ]
    edges = [
        _edge(each, words[names[each["tail"]], names[each["head"]]], height)
        for each in placed.get("edges", [])
    ]
    return nodes, edges, width + 2 * _MARGIN, height + 2 * _MARGIN


def _node(task: TaskReport, key: str, center: tuple[float, float]) -> _Node:
    looks = look(task.state)
    facts: list[str] = [task.kind]
    facts += [duration_text(task.seconds)] if task.started_at else []
    facts += [children_text(task)] if task.children else []
    facts += [rows_text(task)] if rows_text(task) else []
    shape = "branch" if task.kind == "branch" else "box"
    if task.children or task.details.get("loop"):
        shape = "loop" if is_loop(task) else "box"
    shape = "workflow" if sub_tasks(task) else shape
    return _Node(
        task,
        key,
        round(center[0] - _width(task) / 2, 1),
        round(center[1] - NODE_HEIGHT / 2, 1),
        _width(task),
        _cut(task.name, _MAX_NAME),
        _fitting(facts, _MAX_LINE * _width(task) / _MIN_WIDTH),
        looks,
        shape,
        ", ".join([task.name, looks.word, *facts]),
    )


def _edge(placed: Mapping[str, Any], word: tuple[str, bool], height: float) -> _Edge:
    """One edge; Graphviz gives `e,END P0 P1 P2 P3 …`, a row of Bézier curves and the arrow's tip."""
    end, start, *rest = placed["pos"].removeprefix("e,").split()
    curves = " ".join(_pair(point, height) for point in rest)
    x, y = _point(placed.get("lp", "0,0"), height)
    path = f"M{_pair(start, height)} C{curves} L{_pair(end, height)}"
    return _Edge(path, word[0], round(x, 1), round(y + 4, 1), word[1])


def _point(text: str, height: float) -> tuple[float, float]:
    x, y = map(float, text.split(","))
    return x + _MARGIN, height - y + _MARGIN  # Graphviz counts upwards


def _pair(text: str, height: float) -> str:
    return "{:.0f},{:.0f}".format(*_point(text, height))


def _width(task: TaskReport) -> int:
    """Pixels of a node: its name fits, unless it is very long."""
    return max(_MIN_WIDTH, round(_AROUND_NAME + _LETTER_WIDTH * min(len(task.name), _MAX_NAME)))


def _fitting(facts: Sequence[str], length: float) -> str:
    """As many of the facts as fit the second line of a node; the others are in its label."""
    line = facts[0]
    for fact in facts[1:]:
        longer = f"{line} · {fact}"
        line = longer if len(longer) <= length else line
    return line


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _own_style() -> str:
    """The colours of the pages and the style of the graph, for a file that has no page around it."""
    css = read_template("base.css")
    colours = re.findall(r"^:root \{.*?^\}|^\.\w+ \{ --tone.*?\}", css, re.MULTILINE | re.DOTALL)
    return "\n".join(
        [*colours, "svg { background: var(--page); }", read_template("task_graph.css")]
    )
