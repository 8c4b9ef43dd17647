"""`Task`: one node of a workflow's graph."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from etlkit.api.job_options import describe
from etlkit.errors import ConfigError
from etlkit.variables.definitions import Plain
from etlkit.variables.values import bare_name
from etlkit.workflow.conditions import IfElse
from etlkit.workflow.job_tasks import as_runnable
from etlkit.workflow.loop import Loop
from etlkit.workflow.task_kind import Runnable, short_hash
from etlkit.workflow.values import TaskValue

_NAME = re.compile(r"[\w-]{1,100}", re.ASCII)


@dataclass(frozen=True)
class Task:
    """One node of a workflow's graph.

    Attributes:
        name: Unique within the workflow; letters, digits, `_` and `-`, at most 100.
        run: What it does: a `TransferJob`, `Datamart`, `Workflow`, `DataCheck`, `HttpRequest`,
            `Webhook`, `DbtBuild`, `IfElse`, another `Runnable`, or a function that takes a
            `TaskContext` or nothing.
        after: Names of the tasks that must have succeeded before.
        loop: Run it once for each iteration, with values for variables; None = once.
        retry_limit: How often it is tried again after a failure. A transfer and a child workflow go on
            with what is missing, everything else starts anew. An error of the description, a
            `ConfigError`, is not tried again. In a loop this counts for each iteration.
        min_retry_interval_s: Seconds to wait before each of these; the wait takes no slot.
        timeout_s: Seconds after which an attempt is stopped and counts as failed; None = no limit. In
            a loop this counts for each iteration.
        variables: Values for the job's variables: plain values, or `TaskValue`s, which are read
            when the task begins.
    """

    name: str
    run: Any
    after: str | Sequence[str] = ()
    loop: Loop | None = None
    retry_limit: int = 0
    min_retry_interval_s: float = 0.0
    timeout_s: float | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O, all of them at once."""
        is_several = isinstance(self.after, Iterable) and not isinstance(self.after, str)
        object.__setattr__(self, "after", tuple(self.after) if is_several else (self.after,))
        if problems := list(self._problems()):
            raise ConfigError(listed(f"Task({self.name!r})", problems))

    @property
    def names_after(self) -> tuple[str, ...]:
        """`after` as a tuple."""
        return tuple(self.after)

    @property
    def runnable(self) -> Runnable:
        """What it runs, as one of the kinds."""
        return as_runnable(self.run)

    @property
    def own_variables(self) -> frozenset[str]:
        """Bare names of the variables that it gives to its job, as far as they are known."""
        looped = self.loop.variables if self.loop is not None else None
        return frozenset(map(bare_name, self.variables)) | (looped or frozenset())

    def fingerprint(self) -> str:
        """A text that changes with what it runs, in which loop and with which variables."""
        more = repr((self.loop, sorted(self.variables.items(), key=str)))
        return short_hash(self.runnable.kind, self.runnable.fingerprint(), more)

    def _problems(self) -> Iterator[str]:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            yield "its name has the letters a-z and A-Z, digits, _ and -, from 1 to 100 of them"
        try:
            as_runnable(self.run)
        except ConfigError as error:
            yield f"run={error}" if str(error).startswith("got") else str(error)
        yield from self._problems_of_numbers()
        if self.loop is not None and not isinstance(self.loop, Loop):
            yield f"loop got {describe(self.loop)}; give a Loop(…)"
        if self.loop is not None and isinstance(self.run, IfElse):
            yield "an IfElse takes one way, once: it cannot have a loop"
        for name in self.names_after:
            if not isinstance(name, str):
                yield f"after has {describe(name)}; give the names of tasks"
        yield from self._problems_of_variables()

    def _problems_of_variables(self) -> Iterator[str]:
        try:
            for name in self.variables:
                bare_name(name)
        except ConfigError as error:
            yield str(error)
        for name, value in self.variables.items():
            if not isinstance(value, (TaskValue, *get_args(Plain))):
                yield (
                    f"variables: ${name}$ is a {type(value).__name__}; give a plain value or a "
                    "TaskValue(…)"
                )

    def _problems_of_numbers(self) -> Iterator[str]:
        if not is_count(self.retry_limit) or self.retry_limit < 0:
            yield f"retry_limit={self.retry_limit!r}: it is a whole number, 0 or more"
        if not is_seconds(self.min_retry_interval_s) or self.min_retry_interval_s < 0:
            yield f"min_retry_interval_s={self.min_retry_interval_s!r}: it is 0 or more"
        if self.timeout_s is not None and (not is_seconds(self.timeout_s) or self.timeout_s <= 0):
            yield f"timeout_s={self.timeout_s!r}: it is above 0, or None"


def is_count(value: Any) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_seconds(value: Any) -> bool:
    """Whether it can be a duration."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def listed(what: str, problems: Sequence[str]) -> str:
    """One message of all problems."""
    if len(problems) == 1:
        return f"{what}: {problems[0]}"
    return f"{what} has {len(problems)} problems:\n" + "\n".join(f"- {each}" for each in problems)
