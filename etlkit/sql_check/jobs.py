"""The jobs of a check: those of workflows too, each once, in the order in which tables are made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from etlkit.api.checks import as_check
from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.api.run import Settings
from etlkit.errors import ConfigError
from etlkit.variables.definitions import Value
from etlkit.variables.values import bare_name, resolve
from etlkit.workflow.data_check import DataCheck
from etlkit.workflow.definition import Workflow
from etlkit.workflow.job_tasks import as_runnable
from etlkit.workflow.loop import Loop
from etlkit.workflow.precheck import child_context, first_context, outermost_context
from etlkit.workflow.sql_tables import mentioned_names
from etlkit.workflow.table_references import (
    datamart_tables,
    known_values,
    query_tables,
    same_table,
    table_parts,
    transfer_tables,
    union,
)
from etlkit.workflow.task import Task
from etlkit.workflow.task_kind import Tables, TaskContext

_VARIABLE = re.compile(r"\$([^\W\d]\w*)\$")

Checkable = TransferJob | Datamart | DataCheck


@dataclass(frozen=True)
class LoadedJob:
    """A job that the user named.

    Attributes:
        name: As in reports.
        job: What it is.
        file: Its module, or its SQL file.
    """

    name: str
    job: TransferJob | Datamart | Workflow
    file: Path | None


@dataclass(frozen=True)
class JobToCheck:
    """One job, or one task of a workflow, with the values of its variables.

    Attributes:
        name: `jobs.daily`, or `jobs.workflow/task`.
        job: What it is.
        file: Where its texts are looked for first.
        given: Values that the caller gives, by bare name.
        inherited: Values of its workflow, by bare name.
        needed: Bare names that the job has to use.
        stand_ins: Bare names of variables whose values are not known before a run.
        loop: The loop whose query gives more values; None = there is none.
        known: Values or definitions that the workflow gives to variables, for names of tables.
        queued_at: Time from which `Timestamp` variables count.
    """

    name: str
    job: Checkable
    file: Path | None
    queued_at: datetime
    given: Mapping[str, Any] = field(default_factory=dict)
    inherited: Mapping[str, Value] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()
    stand_ins: frozenset[str] = frozenset()
    loop: Loop | None = None
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def definitions(self) -> Mapping[str, Any]:
        """The variables that the job itself defines."""
        return {} if isinstance(self.job, DataCheck) else self.job.variables

    @cached_property
    def tables(self) -> Tables:
        """What it reads and writes, as far as its texts say it. All queries are parsed for it."""
        tables = as_runnable(self.job).tables(self.known)
        if self.loop is not None and self.loop.query is not None:
            tables = union(tables, query_tables(self.loop.query, self.known))
        return tables

    @cached_property
    def writes(self) -> frozenset[str]:
        """Tables that it writes."""
        if isinstance(self.job, TransferJob):
            return transfer_tables(self.job, self.known, queries=False).writes
        if isinstance(self.job, Datamart):
            return datamart_tables(self.job, self.known, queries=False).writes
        return frozenset()

    @cached_property
    def mentions(self) -> frozenset[str]:
        """All names with a dot in its texts: what it reads is among them."""
        values = known_values(self.definitions, self.known)
        texts = [*texts_of(self.job), "" if self.loop is None else self.loop.query or ""]
        return frozenset().union(*(mentioned_names(text, values) for text in texts))

    def values(self, more: Mapping[str, Any]) -> dict[str, Value]:
        """The value of each variable.

        Args:
            more: Values of the loop, by bare name.

        Raises:
            ConfigError: A value does not fit its definition.
        """
        return resolve(
            self.definitions,
            given=self.given,
            queued_at=self.queued_at,
            started_at=self.queued_at,
            inherited={**self.inherited, **{name: Value(value) for name, value in more.items()}},
        )


@dataclass(frozen=True)
class JobList:
    """What is checked.

    Attributes:
        jobs: In an order in which each comes after those that make its tables.
        levels: The same in groups: a job needs only those of groups before its own.
        unchecked: Tasks that no analyzer can look at, by name, with the reason.
        problems: Mistakes in descriptions: name of the job, and a sentence.
    """

    jobs: Sequence[JobToCheck]
    levels: Sequence[Sequence[JobToCheck]]
    unchecked: Mapping[str, str]
    problems: Sequence[tuple[LoadedJob, str]]


def list_jobs(
    loaded: Sequence[LoadedJob], given: Mapping[str, str], queued_at: datetime
) -> JobList:
    """Find all jobs, and the order in which they are checked.

    Args:
        loaded: What the user named.
        given: Values of variables by bare name; each goes to the jobs that have the variable.
        queued_at: Time from which `Timestamp` variables count.

    Raises:
        ConfigError: A given variable is one of no job.
    """
    finder = _Finder(given, queued_at)
    for each in sorted(loaded, key=lambda each: isinstance(each.job, Workflow)):
        try:
            finder.add(each)
        except ConfigError as error:
            finder.problems.append((each, str(error)))
    if unused := given.keys() - finder.used:
        shown = ", ".join(f"${name}$" for name in sorted(unused))
        raise ConfigError(f"--var: no job of this check has a variable {shown}")
    jobs = {each.name: each for each in finder.jobs}
    before = _edges(finder.jobs, finder.after)
    ordered = [jobs[name] for name in _ordered(before)]
    return JobList(
        ordered,
        _levels(ordered, before),
        finder.unchecked,
        finder.problems,
    )


class _Finder:
    """Collects the jobs of what was named."""

    def __init__(self, given: Mapping[str, str], queued_at: datetime) -> None:
        self._given = given
        self._queued_at = queued_at
        self._alone: dict[int, JobToCheck] = {}
        self.jobs: list[JobToCheck] = []
        self.after: dict[str, set[str]] = {}
        self.used: set[str] = set()
        self.unchecked: dict[str, str] = {}
        self.problems: list[tuple[LoadedJob, str]] = []

    def add(self, loaded: LoadedJob) -> None:
        """Add a job, or all tasks of a workflow."""
        given = self._given_to(loaded.job)
        self.used |= given.keys()
        if isinstance(loaded.job, Workflow):
            outer = outermost_context(
                loaded.job, loaded.name, Settings(), given, queued_at=self._queued_at
            )
            self._add_tasks(loaded, loaded.job, outer, set())
            return
        job = JobToCheck(
            loaded.name,
            loaded.job,
            loaded.file,
            self._queued_at,
            given,
            known=given,
        )
        self._alone[id(loaded.job)] = job
        self.jobs.append(job)

    def _given_to(self, job: TransferJob | Datamart | Workflow) -> dict[str, str]:
        known = {bare_name(name) for name in job.variables}
        return {name: value for name, value in self._given.items() if name in known}

    def _add_tasks(
        self, loaded: LoadedJob, workflow: Workflow, outer: TaskContext, before: set[str]
    ) -> set[str]:
        """Add the tasks of a workflow; give the names of its jobs.

        Args:
            loaded: What the user named.
            workflow: It, or a child of it.
            outer: What its tasks have in common.
            before: Names of the jobs that come before all of them.
        """
        graph = workflow.graph
        names: dict[str, set[str]] = {}
        for name in graph.order:
            ancestors = set(before).union(*(names[each] for each in graph.ancestors(name)))
            try:
                names[name] = self._add_task(loaded, graph.tasks[name], outer, ancestors)
            except ConfigError as error:
                names[name] = set()
                self.problems.append((loaded, f"task {'/'.join((*outer.path, name))}: {error}"))
        return set().union(*names.values())

    def _add_task(
        self, loaded: LoadedJob, task: Task, outer: TaskContext, before: set[str]
    ) -> set[str]:
        context = first_context(task, outer)
        name = "/".join((loaded.name, *outer.path, task.name))
        if isinstance(task.run, Workflow):
            inner = child_context(task.run, context)
            return self._add_tasks(loaded, task.run, inner, before)
        if not isinstance(task.run, Checkable):
            if task.runnable.kind == "dbt":
                self.unchecked[name] = "dbt compiles its models itself"
            return set()
        by_query = task.loop is not None and task.loop.query is not None
        job = JobToCheck(
            name,
            task.run,
            loaded.file,
            self._queued_at,
            inherited=context.values_for(getattr(task.run, "variables", {})),
            needed=context.needed if not by_query else frozenset(),
            stand_ins=context.stand_ins,
            loop=task.loop if by_query else None,
            known={n: v for n, v in context.variables.items() if n not in context.stand_ins},
        )
        same = self._alone.get(id(task.run))
        if same is None or by_query or not _is_same(same, job):
            self.jobs.append(job)
        elif _variables_in(task.run) <= set(map(bare_name, job.definitions)):
            job = same  # it is checked under its own name
        else:  # its workflow gives it what it lacks by itself
            self.jobs[self.jobs.index(same)] = job
            self._alone[id(task.run)] = job
        self.after.setdefault(job.name, set()).update(before - {job.name})
        return {job.name}


def _is_same(alone: JobToCheck, task: JobToCheck) -> bool:
    """Whether a workflow changes no value of the job's own variables."""
    names = set(map(bare_name, task.definitions))
    one, other = alone.values({}), task.values({})
    return all(one[name] == other[name] for name in names)


def _variables_in(job: Checkable) -> set[str]:
    """Bare names of the variables that the texts of a job use."""
    texts = [*texts_of(job)]
    if isinstance(job, Datamart):
        texts.append(job.destination or "")
    elif isinstance(job, TransferJob):
        parts = [vars(each) for each in (job.source, job.sink) if hasattr(each, "__dict__")]
        texts += [str(text) for part in parts for text in part.values()]
    return {name for text in texts for name in _VARIABLE.findall(text)}


def texts_of(job: Checkable) -> list[str]:
    """The texts of SQL of a job. A file that cannot be read is said when the job is checked."""
    if isinstance(job, DataCheck):
        return [job.sql]
    checks = [as_check(each).sql for each in job.checks]
    if isinstance(job, TransferJob):
        texts = (getattr(job.source, "query", None), getattr(job.sink, "before_load", None))
        return [*(text for text in texts if text), *checks]
    try:
        return [job.text(), job.before_load or "", *checks]
    except ConfigError:
        return []


def _edges(jobs: Sequence[JobToCheck], after: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The jobs that come before each.

    What a workflow says holds; a table makes an edge where that makes no circle.
    """
    before = {job.name: set(after.get(job.name, ())) for job in jobs}
    for writer, reader in _table_edges(jobs):
        if writer not in before[reader] and not _reaches(before, writer, reader):
            before[reader].add(writer)
    return before


def _levels(
    ordered: Sequence[JobToCheck], before: Mapping[str, set[str]]
) -> list[list[JobToCheck]]:
    depths: dict[str, int] = {}
    levels: list[list[JobToCheck]] = []
    for job in ordered:
        depth = max((depths[name] + 1 for name in before[job.name] if name in depths), default=0)
        depths[job.name] = depth
        levels += [[] for _ in range(depth + 1 - len(levels))]
        levels[depth].append(job)
    return levels


def _ordered(before: Mapping[str, set[str]]) -> list[str]:
    """The names so that each comes after those that it needs, else as they are."""
    ordered: dict[str, None] = {}
    begun: set[str] = set()

    def visit(name: str) -> None:
        if name in begun:  # two workflows may say the opposite of each other
            return
        begun.add(name)
        for each in sorted(before[name], key=positions.__getitem__):
            visit(each)
        ordered[name] = None

    positions = {name: number for number, name in enumerate(before)}
    for name in before:
        visit(name)
    return list(ordered)


def _table_edges(jobs: Sequence[JobToCheck]) -> Iterator[tuple[str, str]]:
    """Each pair of a writer of a table and another job that names it."""
    writers: dict[str, list[tuple[str, str]]] = {}
    for job in jobs:
        for table in job.writes:
            writers.setdefault(_bucket(table), []).append((table, job.name))
    for job in jobs:
        for table in sorted(job.mentions):
            bucket = _bucket(table)
            found: Iterable[tuple[str, str]] = (
                (each for several in writers.values() for each in several)
                if not bucket
                else [*writers.get(bucket, ()), *writers.get("", ())]
            )
            for written, writer in found:
                if writer != job.name and same_table(written, table):
                    yield writer, job.name


def _bucket(table: str) -> str:
    """Tables of different buckets are different ones; empty = it may be any."""
    return "" if "*" in table or "$" in table else table_parts(table)[-1]


def _reaches(before: Mapping[str, set[str]], start: str, goal: str) -> bool:
    """Whether `goal` comes before `start`."""
    seen, rest = set[str](), [start]
    while rest:
        each = rest.pop()
        if each == goal:
            return True
        if each not in seen:
            seen.add(each)
            rest += before[each]
    return False
