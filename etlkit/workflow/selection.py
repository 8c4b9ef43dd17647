"""Which tasks of a graph run: `--from`, `--only`, `--skip`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etlkit.errors import ConfigError
from etlkit.workflow.conditions import IfElse
from etlkit.workflow.graph import Graph
from etlkit.workflow.values import TaskValue, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a caller wants to run.

    Attributes:
        from_task: These and all tasks after them; of a resumed run, they run again.
        only: These and no others.
        skip: All but these. What comes after them runs as if they had succeeded.
    """

    from_task: Sequence[str] = ()
    only: Sequence[str] = ()
    skip: Sequence[str] = ()

    def skipped(self, graph: Graph, *, resumes: bool) -> frozenset[str]:
        """The tasks to leave out.

        Args:
            graph: The tasks.
            resumes: Whether a run is resumed.

        Raises:
            ConfigError: There is no such task, or nothing is left, or a value would be missing.
        """
        if problems := list(self._problems(graph, resumes=resumes)):
            raise ConfigError("\n".join(problems))
        skipped = set(self.skip)
        if self.only:
            skipped |= set(graph.tasks) - set(self.only)
        elif self.from_task and not resumes:
            skipped |= set(graph.tasks) - self.restarted(graph)
        if skipped >= set(graph.tasks):
            raise ConfigError("no task is left to run")
        if missing := list(_missing_values(graph, skipped)):
            raise ConfigError("\n".join(missing))
        return frozenset(skipped)

    def restarted(self, graph: Graph) -> set[str]:
        """The tasks of `from_task` and all after them."""
        return {*self.from_task}.union(*(graph.descendants(each) for each in self.from_task))

    def _problems(self, graph: Graph, *, resumes: bool) -> Iterator[str]:
        for option, names in (("from", self.from_task), ("only", self.only), ("skip", self.skip)):
            for name in names:
                if name not in graph.tasks:
                    hint = did_you_mean(name, graph.tasks)
                    there = hint or f"; there are: {', '.join(graph.tasks)}"
                    yield f"--{option} {name}: there is no such task{there}"
        if self.only and self.from_task:
            yield "--only and --from do not go together"
        if self.only and resumes:
            yield (
                "--only does not go with --resume: the run would count as published without the "
                "others; use --skip, or start a new run with --only"
            )
        for name in self.skip:
            if name in graph.tasks and isinstance(graph.tasks[name].run, IfElse):
                yield f"--skip {name}: a branch cannot be left out; skip the tasks it leads to"


def _missing_values(graph: Graph, skipped: set[str]) -> Iterator[str]:
    for name, task in graph.tasks.items():
        if name in skipped:
            continue
        values = [each for each in task.variables.values() if isinstance(each, TaskValue)]
        if isinstance(task.run, IfElse):
            values += [
                each for each in task.run.condition.operands() if isinstance(each, TaskValue)
            ]
        for value in values:
            if value.task in skipped:
                yield f"task {name!r} needs {value}, and {value.task!r} is left out"
