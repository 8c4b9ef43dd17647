"""The graph of a workflow: which task comes after which, and what is wrong with it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Final

from etlkit.variables.values import bare_name
from etlkit.workflow.conditions import IfElse
from etlkit.workflow.notifications import Alert
from etlkit.workflow.table_references import query_tables, same_table, union
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
        variables: As in `Workflow`; for the names of tables.

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
        self,
        tasks: Sequence[Task],
        depends: str = "explicit",
        alerts: Sequence[Alert] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.tasks: dict[str, Task] = {task.name: task for task in tasks}
        self.before: dict[str, dict[str, str]] = {name: {} for name in self.tasks}
        self.watched: dict[str, frozenset[str]] = {}
        self._alerts = alerts
        self._tables = {name: _tables(task, variables or {}) for name, task in self.tasks.items()}
        self._table_of_edge: dict[tuple[str, str], str] = {}
        self._problems: list[str] = []
        for task in tasks:
            self._add_edges(task)
        self.order: list[str] = self._sorted()
        if depends == "auto" and self.order:
            self._problems += self._unclear_tables()
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
        return union(*self._tables.values())

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

    def _unclear_tables(self) -> Iterator[str]:
        """Tasks that may need an edge which the SQL does not tell, and have none."""
        after = self.after
        for name, tables in self._tables.items():
            if tables.unclear and not self.before[name] and not after[name]:
                yield (
                    f"not all tables of task {name!r} are known ({'; '.join(tables.unclear)}): name "
                    f"what it comes after with after=…, or add after={name!r} to what comes after it"
                )

    def _add_table_edges(self) -> None:
        """An edge from each writer to each reader, unless the reader is said to come first."""
        earlier = {name: self.ancestors(name) for name in self.order}
        writers = [(name, t) for name in self.order for t in sorted(self._tables[name].writes)]
        for name in self.order:
            for table in sorted(self._tables[name].reads):
                for writer, written in writers:
                    is_said = name in earlier[writer]
                    if writer != name and not is_said and same_table(table, written):
                        self._table_of_edge.setdefault((writer, name), table)
                        self.before[name].setdefault(writer, "")

    def _sorted(self) -> list[str]:
        """Sort, those first that were given first; empty and a problem if there is a cycle."""
        sorter = TopologicalSorter(self.before)
        try:
            sorter.prepare()
        except CycleError as error:
            self._problems.append(self._circle(error.args[1]))
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

    def _circle(self, names: Sequence[str]) -> str:
        """The message about tasks of which each comes after the one before it."""
        text = "tasks come after each other in a circle: " + " -> ".join(names)
        tables = [
            f"{reader!r} reads {self._table_of_edge[writer, reader]}, which {writer!r} writes"
            for writer, reader in pairwise(names)
            if (writer, reader) in self._table_of_edge
        ]
        if not tables:
            return text
        return f"{text}; {', '.join(tables)}. Say with after=… which of them is first"

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


def _tables(task: Task, variables: Mapping[str, Any]) -> Tables:
    """The tables of a task, with those of its loop."""
    run, loop = task.runnable, task.loop
    given = {bare_name(n): v for each in (variables, task.variables) for n, v in each.items()}
    if loop is None:
        return run.tables(given)
    looped = loop.variables
    if looped is None:  # the rows of a query tell
        own = getattr(getattr(run, "job", None), "variables", {})
        looped = frozenset(map(bare_name, (*given, *own)))
    several = run.tables({**given, **dict.fromkeys(looped)})  # each iteration has another value
    return union(several, query_tables(loop.query or "", variables))


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
