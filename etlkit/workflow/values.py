"""Values that pass between tasks, and the other things that a condition can look at."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from etlkit.api.workflow_report import TaskReport
from etlkit.errors import ConfigError, JobError
from etlkit.variables.definitions import Timestamp, zone_of
from etlkit.variables.values import bare_name

READABLE: Final = (
    "value",
    "state",
    "read",
    "written",
    "skipped",
    "rejected",
    "rows",
    "calls",
    "bytes_billed",
    "cost",
    "seconds",
    "attempts",
    "branch",
    "run_id",
    "job",
    "target",
    "error",
)
"""What other tasks can read of a `TaskReport`."""

_FAILURES: Final = frozenset({"state", "attempts", "error"})
"""Fields that mean something of a task that failed."""


@dataclass(frozen=True)
class TaskValue:
    """What an earlier task has found out. Reading it makes the reader come after that task.

    Attributes:
        task: The task's name, in the same workflow.
        field: A field of its report: `value`, `state`, `read`, `written`, `skipped`, `rejected`,
            `rows`, `calls`, `bytes_billed`, `cost`, `seconds`, `attempts`, `branch`, `run_id`, `job`,
            `target` or `error`. `value` may have more parts, keys or positions (0 = first) inside
            it, e.g. `value.n`. Counts of a loop are the sums of its iterations.
    """

    task: str
    field: str = "value"

    def __post_init__(self) -> None:
        """Raise if there is no such field."""
        if not isinstance(self.task, str) or not isinstance(self.field, str):
            raise ConfigError(
                f"TaskValue({self.task!r}, {self.field!r}): give the name of a task and of a field, "
                "e.g. TaskValue('load', 'written')"
            )
        first, _, rest = self.field.partition(".")
        if first not in READABLE:
            raise ConfigError(
                f"{self}: a task has no field {first!r}{did_you_mean(first, READABLE)}; "
                f"the fields are {', '.join(READABLE)}"
            )
        if rest and first != "value":
            raise ConfigError(f"{self}: only `value` has parts, {first} is one value")

    @property
    def reads_failures(self) -> bool:
        """Whether it means something of a task that failed."""
        return self.field in _FAILURES

    def read(self, tasks: Mapping[str, TaskReport]) -> Any:
        """The value; None = the task has none.

        Args:
            tasks: The reports of earlier tasks.

        Raises:
            JobError: The task's value has no such part.
        """
        first, *parts = self.field.split(".")
        value = getattr(tasks[self.task], first)
        if value is None:
            return None
        for part in parts:
            value = self._part(value, part)
        return value

    def _part(self, value: Any, part: str) -> Any:
        if isinstance(value, dict) and part in value:
            return value[part]
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            return value[int(part)]
        if isinstance(value, dict):
            has = f"the keys {', '.join(map(str, value)) or '(none)'}"
        elif isinstance(value, list):
            has = f"{len(value)} positions, counted from 0"
        else:
            has = f"no parts: it is a {type(value).__name__}"
        raise JobError(f"{self}: there is no {part!r}; the value has {has}")

    def __str__(self) -> str:
        return f"TaskValue({self.task!r}, {self.field!r})"


@dataclass(frozen=True)
class VariableValue:
    """The value of a variable, for a condition.

    Attributes:
        name: With or without dollar signs.
    """

    name: str

    def __post_init__(self) -> None:
        """Raise if it cannot be a variable's name."""
        object.__setattr__(self, "name", bare_name(self.name))

    def read(self, variables: Mapping[str, Any]) -> Any:
        """The value.

        Raises:
            ConfigError: There is no such variable.
        """
        if self.name not in variables:
            there = ", ".join(f"${name}$" for name in sorted(variables)) or "none"
            raise ConfigError(f"unknown variable {self}; the workflow has: {there}")
        return variables[self.name]

    def __str__(self) -> str:
        return f"${self.name}$"


@dataclass(frozen=True)
class CurrentTime:
    """The time at which a condition is looked at, as text.

    Attributes:
        format: As in strftime, e.g. `%H:%M`, `%Y-%m-%d`, or `%u` for the day of the week (Monday =
            1). Texts are compared letter by letter, so write the longest unit first.
        time_zone: E.g. `Asia/Tokyo`.
    """

    format: str = "%H:%M"
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Raise for a wrong format or time zone."""
        Timestamp(format=self.format, time_zone=self.time_zone)

    def read(self, now: datetime) -> str:
        """The text at an aware time."""
        return now.astimezone(zone_of(self.time_zone)).strftime(self.format)

    def check(self, text: Any) -> None:
        """Raise if a text can never be equal to the time, such as `9:00` for `%H:%M`.

        Raises:
            ConfigError: With the form that it must have.
        """
        example = self.read(datetime(2024, 1, 2, 9, 5, tzinfo=zone_of("UTC")))
        if re.search(r"[^\W\d_]", example):  # names of days and months have many lengths
            return
        if not isinstance(text, str) or _shape(text) != _shape(example):
            raise ConfigError(f"{self} is compared with {text!r}; write it like {example!r}")

    def __str__(self) -> str:
        return f"the time {self.format} in {self.time_zone}"


def _shape(text: str) -> str:
    return re.sub(r"\d", "0", text)


def did_you_mean(name: str, known: Any) -> str:
    """`; did you mean …?`, or nothing if no known name is similar."""
    similar = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def is_number(value: Any) -> bool:
    """Whether it is a number; a boolean is none here."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
