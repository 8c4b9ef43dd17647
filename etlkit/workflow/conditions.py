"""Conditions, nested freely, and `IfElse`, which takes one of two ways by one."""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Number
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

from etlkit.api.workflow_report import TaskKind, TaskReport, TaskState
from etlkit.errors import ConfigError, JobError
from etlkit.workflow.task_kind import Runnable, TaskContext
from etlkit.workflow.values import CurrentTime, TaskValue, VariableValue, did_you_mean

Operator = Literal["==", "!=", ">", ">=", "<", "<="]
Operand: TypeAlias = TaskValue | VariableValue | CurrentTime

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operators.eq,
    "!=": operators.ne,
    ">": operators.gt,
    ">=": operators.ge,
    "<": operators.lt,
    "<=": operators.le,
}
_EQUALITY = {"==", "!="}


@dataclass(frozen=True)
class Facts:
    """What conditions look at.

    Attributes:
        tasks: The reports of earlier tasks, by name.
        variables: Values by bare name.
        now: An aware time.
    """

    tasks: Mapping[str, TaskReport]
    variables: Mapping[str, Any]
    now: datetime


@dataclass(frozen=True)
class Condition:
    """A comparison, e.g. `Condition(TaskValue("load", "rejected"), ">", 0)`.

    None is equal to None only, and neither above nor below anything. A number and a text cannot be
    compared: that is an error, not false.

    Attributes:
        left: A `TaskValue`, a `VariableValue` or the `CurrentTime`.
        operator: `==`, `!=`, `>`, `>=`, `<` or `<=`.
        right: Another one of these, or a plain value.
    """

    left: Operand
    operator: Operator
    right: Any

    def __post_init__(self) -> None:
        """Raise for what can never be compared."""
        if not isinstance(self.left, get_args(Operand)):
            raise ConfigError(
                f"Condition({self.left!r}, …): on the left stands a TaskValue(…), a "
                "VariableValue(…) or CurrentTime(…)"
            )
        check_operator("Condition", self.operator)
        if isinstance(self.left, CurrentTime) and not isinstance(self.right, get_args(Operand)):
            self.left.check(self.right)
        states = get_args(TaskState)
        is_state = isinstance(self.left, TaskValue) and self.left.field == "state"
        if is_state and isinstance(self.right, str) and self.right not in states:
            raise ConfigError(
                f"{self}: there is no state {self.right!r}{did_you_mean(self.right, states)}; "
                f"the states of a task that ended are succeeded, failed, bypassed and skipped"
            )

    def holds(self, facts: Facts) -> bool:
        """Whether it is true.

        Raises:
            ConfigError: There is no such variable.
            JobError: The values cannot be compared, or a part of a value is missing.
        """
        left, right = _read(self.left, facts), _read(self.right, facts)
        if left is None or right is None:
            return self.operator in _EQUALITY and COMPARISONS[self.operator](left, right)
        both_numbers = isinstance(left, Number) and isinstance(right, Number)
        if not both_numbers and type(left) is not type(right):
            raise JobError(
                f"{self}: a {type(left).__name__} and a {type(right).__name__} cannot be compared"
            )
        try:
            return bool(COMPARISONS[self.operator](left, right))
        except TypeError as error:
            raise JobError(f"{self}: {type(left).__name__}s have no order") from error

    def operands(self) -> Iterator[Operand]:
        """What it looks at."""
        yield self.left
        if isinstance(self.right, get_args(Operand)):
            yield self.right

    def __str__(self) -> str:
        right = self.right if isinstance(self.right, get_args(Operand)) else repr(self.right)
        return f"{self.left} {self.operator} {right}"


@dataclass(frozen=True)
class _Group:
    conditions: tuple[AnyCondition, ...]
    word: ClassVar[str]

    def __post_init__(self) -> None:
        """Raise if it is empty, or something in it is no condition."""
        if not self.conditions:
            raise ConfigError(f"{type(self).__name__} needs at least one condition")
        for each in self.conditions:
            check_condition(each, type(self).__name__)

    def operands(self) -> Iterator[Operand]:
        """What all of them look at."""
        for each in self.conditions:
            yield from each.operands()

    def __str__(self) -> str:
        return f" {self.word} ".join(
            f"({each})" if isinstance(each, _Group) else str(each) for each in self.conditions
        )


class AllOf(_Group):
    """True if all conditions are. Make it with `all_of`."""

    word = "and"

    def holds(self, facts: Facts) -> bool:
        """Whether all are true; stops at the first that is not."""
        return all(each.holds(facts) for each in self.conditions)


class AnyOf(_Group):
    """True if one of the conditions is. Make it with `any_of`."""

    word = "or"

    def holds(self, facts: Facts) -> bool:
        """Whether one is true; stops at the first."""
        return any(each.holds(facts) for each in self.conditions)


AnyCondition: TypeAlias = Condition | AllOf | AnyOf


def all_of(*conditions: AnyCondition) -> AllOf:
    """A condition that is true if all of these are."""
    return AllOf(conditions)


def any_of(*conditions: AnyCondition) -> AnyOf:
    """A condition that is true if one of these is."""
    return AnyOf(conditions)


@dataclass(frozen=True)
class IfElse(Runnable):
    """Take one of two ways. The tasks of the other one are bypassed.

    Attributes:
        condition: A `Condition`, `all_of(…)` or `any_of(…)`.
        then: Names of the tasks that come next if it is true.
        otherwise: Names of those that come next if it is not.
    """

    condition: AnyCondition
    then: Sequence[str] = ()
    otherwise: Sequence[str] = ()

    kind: ClassVar[TaskKind] = "branch"
    takes_slot: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        check_condition(self.condition, "IfElse")
        for way in ("then", "otherwise"):
            names = getattr(self, way)
            names = (names,) if isinstance(names, str) else tuple(names)
            object.__setattr__(self, way, names)
        if not self.then and not self.otherwise:
            raise ConfigError("IfElse leads nowhere: give names of tasks as then=… or otherwise=…")

    def run(self, context: TaskContext, /) -> None:
        """Look at the condition, once."""
        facts = Facts(context.tasks, context.variables, datetime.now(UTC))
        context.report.details["condition"] = str(self.condition)
        context.report.branch = "then" if self.condition.holds(facts) else "otherwise"

    def used_variables(self) -> frozenset[str]:
        """The variables that its condition looks at."""
        operands = self.condition.operands()
        return frozenset(each.name for each in operands if isinstance(each, VariableValue))

    def dry_run(self, context: TaskContext, /) -> bool:
        """Show the condition; which way is taken is known when it runs."""
        context.report.details["condition"] = str(self.condition)
        return True


def check_operator(what: str, operator: Any) -> None:
    """Raise if it is none of the six.

    Raises:
        ConfigError: With those that there are.
    """
    if operator not in COMPARISONS:
        raise ConfigError(
            f"{what}(operator={operator!r}): it is one of "
            + ", ".join(repr(each) for each in COMPARISONS)
        )


def check_condition(condition: Any, where: str) -> None:
    """Raise if it is no condition.

    Raises:
        ConfigError: With an example.
    """
    if not isinstance(condition, (Condition, _Group)):
        raise ConfigError(
            f"{where}(…) got {condition!r}: it needs a condition, e.g. "
            "Condition(TaskValue('load', 'written'), '>', 0), or all_of(…), any_of(…)"
        )


def _read(operand: Any, facts: Facts) -> Any:
    if isinstance(operand, TaskValue):
        return operand.read(facts.tasks)
    if isinstance(operand, VariableValue):
        return operand.read(facts.variables)
    if isinstance(operand, CurrentTime):
        return operand.read(facts.now)
    return operand
