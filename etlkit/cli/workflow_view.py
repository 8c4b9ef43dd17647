"""A workflow while it runs, on stderr: a live tree of its tasks on a terminal, else plain lines."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Protocol, Self

from etlkit.api.workflow_report import TaskReport, WorkflowObserver
from etlkit.cli.progress import BEFORE_ROWS, Pace, live_lines, progress_text
from etlkit.cli.quantities import duration_text
from etlkit.cli.tables import printable
from etlkit.cli.task_looks import look, rows_text, states_in_order

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from etlkit.api.outcomes import Counts

_LINE_EVERY_S = 10.0
_REFRESH_PER_S = 5
_MAX_CHILDREN = 6
"""Children of one task that are listed; of a longer list only those that run or went wrong are."""

_WIDE = 110
"""Columns from which on there is room for bars."""

_MAX_WIDTH = 150
"""Columns of the tree on a very wide terminal: its ends should not be far apart."""

_BAR_WIDTH = 24
_SETTLED = ("succeeded", "checked", "bypassed", "skipped", "not_run", "unchecked")
_TROUBLED = ("failed", "interrupted")


class WorkflowView(WorkflowObserver, Protocol):
    """Shows a workflow; a context manager."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(self, *error: object) -> None:
        """Stop showing."""


def workflow_view(
    name: str, tasks: Sequence[TaskReport], *, quiet: bool, plain: bool
) -> WorkflowView:
    """A live tree on a terminal, else plain lines; nothing when `quiet`.

    Args:
        name: The workflow's name.
        tasks: Its tasks before the run, all of which wait.
        quiet: Show nothing.
        plain: Write lines even on a terminal.
    """
    if quiet:
        return _Silent()
    if plain or not sys.stderr.isatty():
        return _Lines()
    from rich.console import Console

    return LiveTree(name, tasks, Console(stderr=True, highlight=False))


class _Silent:
    def task_changed(self, _path: tuple[str, ...], _report: TaskReport, /) -> None:
        return

    def task_progress(
        self, _path: tuple[str, ...], _stage: str, _counts: Counts, _expected: int | None, /
    ) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return


class _Lines(_Silent):
    """A log line when a task begins and when it ends, and one every `_LINE_EVERY_S` between."""

    def __init__(self) -> None:
        self._log = logging.getLogger("etlkit.workflow")
        self._lock = RLock()
        self._next: dict[tuple[str, ...], float] = {}
        self._paces: defaultdict[tuple[str, ...], Pace] = defaultdict(Pace)
        self._states: dict[tuple[str, ...], tuple[str, int]] = {}

    def task_changed(self, path: tuple[str, ...], report: TaskReport, /) -> None:
        with self._lock:
            state = report.state, report.attempts
            if self._states.get(path) == state:  # a loop says its iterations while it runs
                return
            self._states[path] = state
            if report.state == "running":
                self._next[path] = time.monotonic() + _LINE_EVERY_S
                self._paces.pop(path, None)
        level = logging.ERROR if report.state in _TROUBLED else logging.INFO
        text = ", ".join([look(report.state).word, *_facts(report)])
        self._log.log(level, "%s: %s", printable(" / ".join(path)), text)

    def task_progress(
        self, path: tuple[str, ...], stage: str, counts: Counts, expected: int | None, /
    ) -> None:
        now = time.monotonic()
        with self._lock:
            pace = self._paces[path]
            pace.add(now, counts.read)
            if stage in BEFORE_ROWS or now < self._next.get(path, 0.0):
                return
            self._next[path] = now + _LINE_EVERY_S
            text = progress_text(counts, expected, pace)
        self._log.info("%s: %s: %s", printable(" / ".join(path)), stage, text)


def _facts(report: TaskReport) -> list[str]:
    """What is known of a task beside its state."""
    if report.state == "waiting" and report.attempts:
        facts = [f"attempt {report.attempts} failed, it is tried again"]
    else:
        facts = [f"attempt {report.attempts}"] if report.attempts > 1 else []
    if report.from_earlier:
        facts.append("in an earlier attempt")
    if report.branch:
        facts.append(report.branch)
    facts += [rows_text(report)] if rows_text(report) else []
    if report.finished_at and not report.from_earlier:
        facts.append(duration_text(report.seconds))
    if report.error:
        facts.append(printable(report.error).replace("\n", " "))
    return facts


@dataclass(slots=True)
class _Node:
    """A task in the tree, with what it does at the moment."""

    report: TaskReport
    children: dict[str, _Node] = field(default_factory=dict)
    began: float | None = None
    stage: str = ""
    done: int = 0
    expected: int | None = None
    text: str = ""
    pace: Pace = field(default_factory=Pace)

    def update(self, report: TaskReport, now: float) -> None:
        if report.state == "running" and (self.began is None or self.report.state != "running"):
            self.began, self.text, self.expected, self.pace = now, "", None, Pace()
        self.report = report
        for child in report.children:
            self.children.setdefault(child.name, _Node(child)).report = child


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the tree: a task, or how many there are of a state."""

    depth: int
    state: str
    name: str
    facts: str
    seconds: float | None = None
    done: int = 0
    expected: int | None = None


class LiveTree(_Silent):
    """The tree of tasks. It always fits the terminal: what is least urgent is folded first.

    Args:
        name: The workflow's name.
        tasks: Its tasks before the run.
        console: Where it is drawn.
    """

    def __init__(self, name: str, tasks: Sequence[TaskReport], console: Console) -> None:
        self._name = name
        self._console = console
        self._lock = RLock()
        self._roots = {task.name: _Node(task) for task in tasks}
        for node in self._roots.values():
            node.update(node.report, 0.0)
        self._started = time.monotonic()
        self._live = live_lines(console, self.render, _REFRESH_PER_S, "crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def task_changed(self, path: tuple[str, ...], report: TaskReport, /) -> None:
        """See `WorkflowObserver`."""
        with self._lock:
            self._node(path, report).update(report, time.monotonic())

    def task_progress(
        self, path: tuple[str, ...], stage: str, counts: Counts, expected: int | None, /
    ) -> None:
        """See `WorkflowObserver`."""
        now = time.monotonic()
        with self._lock:
            node = self._node(path, None)
            node.began = now if node.began is None else node.began
            node.stage, node.done, node.expected = stage, counts.read, expected
            if stage in BEFORE_ROWS:
                node.text = stage
                return
            node.pace.add(now, counts.read)
            node.text = f"{stage}: {progress_text(counts, expected, node.pace)}"

    def _node(self, path: tuple[str, ...], report: TaskReport | None) -> _Node:
        """The node of a path; one that is not there is made."""
        nodes, node = self._roots, None
        for name in path:
            fresh = report or TaskReport(name=name, kind="transfer", state="running")
            node = nodes.setdefault(name, _Node(fresh))
            nodes = node.children
        if node is None:
            raise ValueError("a path has at least one name")
        return node

    def render(self) -> RenderableType:
        """The tree as it is now, for the terminal as it is now."""
        from rich.console import Group

        width, height = self._console.size
        with self._lock:
            rows = _fitting(self._roots, max(height - 2, 3), time.monotonic())
            states = Counter[str](node.report.state for node in self._roots.values())
        return Group(self._header(states), self._table(rows, width))

    def _header(self, states: Counter[str]) -> RenderableType:
        from rich.text import Text

        total = sum(states.values())
        ended = sum(states[state] for state in (*_SETTLED, *_TROUBLED))
        parts = [f"{ended} of {total} tasks", duration_text(time.monotonic() - self._started)]
        parts[1:1] = [f"{states[state]} {look(state).word}" for state in _TROUBLED if states[state]]
        text = f" {', '.join(parts)}"
        return Text.assemble(
            (printable(self._name), "bold"), text, no_wrap=True, overflow="ellipsis"
        )

    def _table(self, rows: Sequence[_Row], width: int) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        wide = width >= _WIDE
        longest = max((2 * row.depth + len(row.name) for row in rows), default=0)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.width = min(width, _MAX_WIDTH)
        table.add_column(width=min(longest + 2, width // 3), no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        if wide:
            table.add_column(width=_BAR_WIDTH)
        table.add_column(width=13, no_wrap=True, justify="right")
        unicode = self._console.encoding.lower().startswith("utf")
        for row in rows:
            looks = look(row.state)
            symbol = looks.symbol if unicode else looks.ascii_symbol
            name = Text("  " * row.depth).append(f"{symbol} ", looks.style)
            name.append(row.name, "bold" if row.state == "running" else "")
            facts = Text(row.facts, "red" if row.state in _TROUBLED else "dim")
            bar: list[RenderableType] = []
            if wide:
                bar = [Text("")]
                if row.expected:
                    bar = [ProgressBar(total=row.expected, completed=row.done, width=_BAR_WIDTH)]
            table.add_row(name, facts, *bar, Text(duration_text(row.seconds), "dim"))
        return table


def _fitting(roots: dict[str, _Node], height: int, now: float) -> list[_Row]:
    """The rows of the tree, as much as fits: tasks are folded, from the least urgent state on."""
    folded: set[str] = set()
    rows = list(_rows(roots, 0, now, folded))
    for least in (*_SETTLED, "waiting"):
        if len(rows) <= height:
            return rows
        folded.add(least)
        rows = list(_rows(roots, 0, now, folded))
        if len(rows) <= height:
            names = [name for name, node in roots.items() if node.report.state == least]
            return _filled(roots, height, now, folded, names, from_the_end=least != "waiting")
    urgent = [row for row in rows if row.depth == 0] or rows
    kept_rows = sorted(urgent, key=lambda row: states_in_order().index(row.state))[: height - 1]
    more = len(rows) - len(kept_rows)
    return [*kept_rows, _Row(0, "waiting", f"{more} more", "make the window taller to see them")]


def _filled(
    roots: dict[str, _Node],
    height: int,
    now: float,
    folded: set[str],
    names: Sequence[str],
    *,
    from_the_end: bool,
) -> list[_Row]:
    """The rows, with as many of the tasks that were folded last as there is room for.

    What waits comes next from the top; of what has ended, the last is the news.
    """
    rows = list(_rows(roots, 0, now, folded))
    for room in range(min(height - len(rows), len(names)), 0, -1):
        kept = frozenset(names[len(names) - room :] if from_the_end else names[:room])
        more = list(_rows(roots, 0, now, folded, kept))
        if len(more) <= height:
            return more
    return rows


def _rows(
    nodes: dict[str, _Node],
    depth: int,
    now: float,
    folded: set[str],
    kept: frozenset[str] = frozenset(),
) -> Iterator[_Row]:
    """The rows of some tasks and of those below them; `kept` are not folded."""
    hidden = Counter[str]()
    is_long = depth > 0 and len(nodes) > _MAX_CHILDREN
    for name, node in nodes.items():
        state = node.report.state
        is_folded = state in folded and name not in kept
        if is_folded or (is_long and state not in {"running", *_TROUBLED}):
            hidden[state] += 1
            continue
        yield _row(name, node, depth, now)
        if state in {"running", "waiting", *_TROUBLED}:
            yield from _rows(node.children, depth + 1, now, folded)
    for folded_state in states_in_order():
        if hidden[folded_state]:
            text = f"{hidden[folded_state]} {look(folded_state).word}"
            yield _Row(depth, folded_state, text, "")


def _row(name: str, node: _Node, depth: int, now: float) -> _Row:
    report = node.report
    if report.state != "running":
        facts = [fact for fact in _facts(report) if fact != duration_text(report.seconds)]
        seconds = report.seconds if report.finished_at else None
        return _Row(depth, report.state, printable(name), ", ".join([report.kind, *facts]), seconds)
    seconds = None if node.began is None else now - node.began
    facts = [report.kind, *([f"attempt {report.attempts}"] if report.attempts > 1 else [])]
    facts += [node.text] if node.text else []
    facts += [f"{_ended(node)} of {len(node.children)} done"] if node.children else []
    done, expected = node.done, node.expected
    if node.children and not expected:
        done, expected = _ended(node), len(node.children)
    return _Row(depth, "running", printable(name), ", ".join(facts), seconds, done, expected)


def _ended(node: _Node) -> int:
    ended = {*_SETTLED, *_TROUBLED}
    return sum(child.report.state in ended for child in node.children.values())
