"""The graph of a workflow: which task comes after which, and what is wrong with it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from etlkit.workflow.conditions import IfElse
from etlkit.workflow.notifications import Alert
from etlkit.workflow.table_references import task_tables
from etlkit.workflow.task import Task
from etlkit.workflow.task_kind import Tables
from etlkit.workflow.values import TaskValue, did_you_mean

WAYS: Final = ("then", "otherwise")


class Graph:
    """Tasks and edges.

    Args:
        tasks: With different names.
        depends: As in `Workflow`.
        alerts: As in `Workflow`.

    Attributes:
        tasks: By name, as given.
        before: Task to the tasks that it comes after, each with `""`, or with `then` or `otherwise`
            if the edge is a branch.
        watched: `IfElse` to the tasks whose failure its condition looks at: it comes next also after
            they failed.
        order: All names so that each task comes after those before it, otherwise as given. Empty if
            there is a cycle.
    """

    def __init__(
        self, tasks: Sequence[Task], depends: str = "explicit", alerts: Sequence[Alert] = ()
    ) -> None:
        self.tasks: dict[str, Task] = {task.name: task for task in tasks}
        self.before: dict[str, dict[str, str]] = {name: {} for name in self.tasks}
        self.watched: dict[str, frozenset[str]] = {}
        self._alerts = alerts
        self._tables = {name: task_tables(task.run) for name, task in self.tasks.items()}
        self._problems: list[str] = []
        for task in tasks:
            self._add_edges(task)
        self.order = self._sorted()
        if depends == "auto" and self.order:
            self._add_table_edges()
            self.order = self._sorted()

    def problems(self) -> list[str]:
        """What is wrong, one sentence each; empty = nothing."""
        found = list(self._problems)
        found += self._unknown_in_alerts()
        if self.order:
            found += self._unordered_writers()
        return found

    def tables(self) -> Tables:
        """All that the tasks read and write."""
        return Tables(
            frozenset().union(*(each.reads for each in self._tables.values())),
            frozenset().union(*(each.writes for each in self._tables.values())),
        )

    def ancestors(self, name: str) -> set[str]:
        """All tasks that come before a task."""
        return _reached(name, self.before)

    def descendants(self, name: str) -> set[str]:
        """All tasks that come after a task."""
        return _reached(name, self.after)

    @property
    def after(self) -> Mapping[str, Iterable[str]]:
        """Task to the tasks that come directly after it."""
        after: dict[str, list[str]] = {name: [] for name in self.tasks}
        for name, befores in self.before.items():
            for other in befores:
                after[other].append(name)
        return after

    def _add_edges(self, task: Task) -> None:
        for name in task.names_after:
            self._add(name, task.name, "", f"task {task.name!r} has after={name!r}")
        for variable, value in task.variables.items():
            if isinstance(value, TaskValue):
                self._add(
                    value.task, task.name, "", f"${variable}$ of task {task.name!r} is {value}"
                )
        if isinstance(task.run, IfElse):
            self._add_branches(task.name, task.run)

    def _add_branches(self, name: str, run: IfElse) -> None:
        watched = set()
        for operand in run.condition.operands():
            if isinstance(operand, TaskValue):
                self._add(operand.task, name, "", f"the condition of {name!r} reads {operand}")
                if operand.reads_failures:
                    watched.add(operand.task)
        self.watched[name] = frozenset(watched)
        for way in WAYS:
            for target in getattr(run, way):
                both = target in run.then and target in run.otherwise
                where = f"{way} of {name!r} has {target!r}"
                self._add(name, target, "" if both else way, where)

    def _add(self, before: str, after: str, way: str, where: str) -> None:
        for name in (before, after):
            if name not in self.tasks:
                self._problems.append(f"{where}, but {self._no_task(name)}")
                return
        if before == after:
            self._problems.append(f"{where}, which is the task itself")
            return
        edges = self.before[after]
        edges[before] = way or edges.get(before, "")

    def _no_task(self, name: Any) -> str:
        hint = did_you_mean(str(name), self.tasks)
        return f"there is no such task{hint or '; there are: ' + ', '.join(self.tasks)}"

    def _add_table_edges(self) -> None:
        for name in list(self.order):
            for table in sorted(self._tables[name].reads):
                for writer in self.order:
                    is_earlier = name in self.ancestors(writer)
                    if writer == name or is_earlier or not _in(table, self._tables[writer].writes):
                        continue
                    self.before[name].setdefault(writer, "")

    def _sorted(self) -> list[str]:
        """Sort, those first that were given first; empty and a problem if there is a cycle."""
        sorter = TopologicalSorter(self.before)
        try:
            sorter.prepare()
        except CycleError as error:
            self._problems.append(
                "tasks come after each other in a circle: " + " -> ".join(error.args[1])
            )
            return []
        position = {name: number for number, name in enumerate(self.tasks)}
        order: list[str] = []
        ready: list[int] = []
        names = list(self.tasks)
        while sorter.is_active():
            for name in sorter.get_ready():
                heapq.heappush(ready, position[name])
            order.append(names[heapq.heappop(ready)])
            sorter.done(order[-1])
        return order

    def _unordered_writers(self) -> Iterator[str]:
        required = self._required_ways()
        for number, first in enumerate(self.order):
            for second in self.order[number + 1 :]:
                if first in self.ancestors(second) or _exclude(required[first], required[second]):
                    continue
                for table in sorted(self._tables[first].writes):
                    if _in(table, self._tables[second].writes):
                        yield (
                            f"tasks {first!r} and {second!r} both write {table}, and nothing says "
                            f"which is first: add after={first!r} to {second!r}"
                        )

    def _required_ways(self) -> dict[str, frozenset[tuple[str, str]]]:
        """Task to the branches that must be taken for it to run, whatever else happens."""
        required: dict[str, frozenset[tuple[str, str]]] = {}
        for name in self.order:
            befores = self.before[name]
            ways = {b: way for b, way in befores.items() if way} or befores
            each = [required[b] | ({(b, way)} if way else set()) for b, way in ways.items()]
            required[name] = frozenset.intersection(*each) if each else frozenset()
        return required

    def _unknown_in_alerts(self) -> Iterator[str]:
        for alert in self._alerts:
            names = [alert.task] if alert.task is not None else []
            if alert.when is not None:
                names += [
                    each.task for each in alert.when.operands() if isinstance(each, TaskValue)
                ]
            for name in names:
                if name not in self.tasks:
                    yield f"the alert {alert.label!r} reads {name!r}, but {self._no_task(name)}"


def table_parts(table: str) -> list[str]:
    """The parts of a table's name, without backticks."""
    return table.replace("`", "").split(".")


def same_table(one: str, other: str) -> bool:
    """Whether two names may be those of one table; a missing project fits every project."""
    parts, others = table_parts(one), table_parts(other)
    shorter = min(len(parts), len(others))
    return parts[-shorter:] == others[-shorter:]


def _in(table: str, tables: Iterable[str]) -> bool:
    return any(same_table(table, other) for other in tables)


def _exclude(one: frozenset[tuple[str, str]], other: frozenset[tuple[str, str]]) -> bool:
    """Whether two tasks need different ways of one `IfElse`."""
    return any(b == c and way != way2 for b, way in one for c, way2 in other)


def _reached(name: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    rest = list(edges[name])
    while rest:
        each = rest.pop()
        if each not in found:
            found.add(each)
            rest += edges[each]
    return found
