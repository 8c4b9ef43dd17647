"""How states and kinds of tasks look, on a terminal and on a page: a word, a symbol, a colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etlkit.api.quantities import number_of

if TYPE_CHECKING:
    from etlkit.api.workflow_report import TaskReport


@dataclass(frozen=True, slots=True)
class Look:
    """How one state looks. The word and the symbol say all; the colour only repeats it.

    Attributes:
        word: The state in words.
        symbol: One character.
        ascii_symbol: One character for a terminal without Unicode.
        tone: Class of the pages' style sheet.
        style: Style of rich.
    """

    word: str
    symbol: str
    ascii_symbol: str
    tone: str
    style: str


_GOOD = ("good", "green")
_BAD = ("bad", "bold red")
_WARN = ("warn", "yellow")
_ACTIVE = ("active", "cyan")
_IDLE = ("idle", "dim")
_ASIDE = ("aside", "magenta")

_LOOKS = {
    "waiting": Look("waiting", "○", ".", *_IDLE),
    "running": Look("running", "▶", ">", *_ACTIVE),
    "succeeded": Look("succeeded", "✓", "+", *_GOOD),
    "failed": Look("failed", "✗", "x", *_BAD),
    "interrupted": Look("interrupted", "!", "!", *_WARN),
    "bypassed": Look("bypassed", "↷", "~", *_ASIDE),
    "skipped": Look("skipped", "»", "-", *_ASIDE),
    "not_run": Look("not run", "□", "_", *_IDLE),
    # States of runs and of statements.
    "published": Look("published", "✓", "+", *_GOOD),
    "checked": Look("checked", "✓", "+", *_GOOD),
    "dead": Look("dead", "✗", "x", *_BAD),
    "starting": Look("starting", "▶", ">", *_ACTIVE),
    "done": Look("done", "✓", "+", *_GOOD),
    "unchecked": Look("unchecked", "□", "_", *_IDLE),
}

_CHILDREN = {"workflow": "task", "dbt": "model or test"}
_PLURALS = {"iteration": "iterations", "task": "tasks", "model or test": "models and tests"}


def look(state: str) -> Look:
    """How a state looks; one that this version does not know looks idle, under its own name."""
    return _LOOKS.get(state) or Look(state.replace("_", " "), "?", "?", *_IDLE)


def states_in_order() -> list[str]:
    """The states of tasks, from the one that asks for attention most to the one that asks least."""
    return [
        *("failed", "interrupted", "running", "waiting", "not_run"),
        *("bypassed", "skipped", "unchecked", "checked", "succeeded"),
    ]


def children_text(task: TaskReport, number: int | None = None) -> str:
    """What the children of a task are: `31 iterations`, `1 task`, `4 models and tests`."""
    number = len(task.children) if number is None else number
    word = "iteration" if is_loop(task) else _CHILDREN[task.kind]
    return f"{number:,} {word if number == 1 else _PLURALS[word]}"


def is_loop(task: TaskReport) -> bool:
    """Whether the children of a task are iterations of a loop."""
    if task.kind == "workflow":  # an iteration of a child workflow is one, with the tasks below it
        return all(each.kind == "workflow" and not each.after for each in task.children)
    return task.kind not in _CHILDREN


def sub_tasks(task: TaskReport) -> list[TaskReport]:
    """The tasks of the workflow that a task runs; empty = it runs none, or it is a loop."""
    return task.children if task.kind == "workflow" and not is_loop(task) else []


def rows_text(task: TaskReport) -> str:
    """What became of a task's rows: `1,200 written, 3 rejected`, or `500 rows`; empty = it has none."""
    counts = [
        (task.written, "written"),
        (task.skipped or None, "skipped"),
        (task.rejected or None, "rejected"),
    ]
    parts = [f"{count:,} {word}" for count, word in counts if count is not None]
    if parts:
        return ", ".join(parts)
    if task.rows is None:
        return ""
    return number_of(task.rows, "row")
