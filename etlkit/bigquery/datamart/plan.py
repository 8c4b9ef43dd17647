"""Plans: datamarts with their variables expanded, and the order in which datamarts run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any

from etlkit.api.checks import as_check
from etlkit.api.datamart import Datamart
from etlkit.errors import ConfigError
from etlkit.variables.definitions import Value
from etlkit.variables.sql_tokens import SqlStatement, split
from etlkit.variables.substitution import expand_name, expand_sql
from etlkit.variables.values import check_definitions, refuse_unused, resolve


@dataclass(frozen=True)
class Step:
    """One statement, or one script, ready to be sent.

    Attributes:
        number: 1 = the first of the datamart.
        sql: Variables expanded.
        parameters: Its query parameters.
        statement: The statement as the user wrote it, with its position.
        edits: Where its variables were, see `Expanded`.
    """

    number: int
    sql: str
    parameters: dict[str, Any]
    statement: SqlStatement
    edits: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """What one run of a datamart does.

    Attributes:
        job: The description, with variables expanded in `destination`, `before_load` and `checks`.
        steps: In order; one for `insert`.
        variables: The value of each variable.
    """

    job: Datamart
    steps: tuple[Step, ...]
    variables: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """A text that changes with the SQL or the variables."""
        text = repr([(step.sql, sorted(map(repr, step.parameters.items()))) for step in self.steps])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_plan(
    job: Datamart,
    *,
    given: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
    queued_at: datetime,
    started_at: datetime,
    inherited: Mapping[str, Value] | None = None,
    needed: Collection[str] = (),
) -> Plan:
    """Read the SQL, find its statements and expand its variables.

    Args:
        job: The datamart.
        given: See `resolve`; likewise the next four.
        loop: See there.
        queued_at: See there.
        started_at: See there.
        inherited: See there.
        needed: Bare names of inherited variables that must be used, too.

    Raises:
        ConfigError: No such file, SQL that cannot be read, a variable that is unknown or unused.
    """
    values = resolve(
        job.variables,
        given=given,
        loop=loop,
        queued_at=queued_at,
        started_at=started_at,
        inherited=inherited,
    )
    statements = split(job.text())
    if job.query_mode == "insert" and len(statements) > 1:
        raise ConfigError(
            f"query_mode='insert' takes one SELECT, this has {len(statements)} statements"
        )
    if job.query_mode == "insert" and statements[0].is_script:
        raise ConfigError(
            "query_mode='insert' takes one SELECT; scripts run with query_mode='query'"
        )
    steps: list[Step] = []
    used: set[str] = set()
    for number, statement in enumerate(statements, 1):
        expanded = expand_sql(statement.text, values)
        used |= expanded.used
        steps.append(Step(number, expanded.sql, expanded.parameters, statement, expanded.edits))
    changed, more = _expand_options(job, values)
    used |= more
    refuse_unused({*check_definitions(job.variables), *needed}, used)
    plain = {name: value.value for name, value in values.items() if name in used}
    return Plan(replace(job, **changed), tuple(steps), plain)


def _expand_options(job: Datamart, values: Mapping[str, Value]) -> tuple[dict[str, Any], set[str]]:
    changed: dict[str, Any] = {}
    used: set[str] = set()
    if job.destination is not None:
        changed["destination"], names = expand_name(job.destination, values)
        used |= names
    if job.before_load is not None:  # part of the publishing script, which has no parameters
        expanded = expand_sql(job.before_load, values, as_literals=True)
        changed["before_load"] = expanded.sql
        used |= expanded.used
    checks = []
    for check in map(as_check, job.checks):
        expanded = expand_sql(check.sql, values, as_literals=True)
        checks.append(replace(check, sql=expanded.sql))
        used |= expanded.used
    changed["checks"] = tuple(checks)
    return changed, used


def in_order(datamarts: Iterable[Datamart]) -> list[Datamart]:
    """Sort datamarts: each comes after those it depends on, otherwise the order stays.

    Raises:
        ConfigError: A name is missing or used twice, a datamart is unknown, or they depend on
            each other in a circle.
    """
    named: dict[str, Datamart] = {}
    for job in datamarts:
        if job.name is None or job.name in named:
            raise ConfigError(
                f"datamarts that run together need names of their own; got {job.name!r}"
                + ("" if job.name is None else " twice")
            )
        named[job.name] = job
    for name, job in named.items():
        if unknown := [other for other in job.depends_on if other not in named]:
            raise ConfigError(
                f"datamart {name!r} depends on {', '.join(unknown)}; there are: {', '.join(named)}"
            )
    sorter = TopologicalSorter({name: job.depends_on for name, job in named.items()})
    try:
        return [named[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ConfigError(f"datamarts depend on each other in a circle: {circle}") from error
