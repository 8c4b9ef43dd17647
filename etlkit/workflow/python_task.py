"""Plain functions as tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from etlkit.api.job_options import describe
from etlkit.api.user_errors import user_error_text
from etlkit.api.workflow_report import TaskKind
from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.workflow.task_kind import Runnable, TaskContext, short_hash

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


@dataclass(frozen=True)
class PythonTask(Runnable):
    """A function of no arguments, or of one: the `TaskContext`. What it returns is the task's value.

    Attributes:
        function: A plain function; it is not a class and not a coroutine.
    """

    function: Callable[..., Any]

    kind: ClassVar[TaskKind] = "python"

    def __post_init__(self) -> None:
        """Raise if it cannot be called like that."""
        function = self.function
        if isinstance(function, type) or not callable(function):
            raise ConfigError(
                f"got {describe(function)}; a task runs a TransferJob, Datamart, Workflow, "
                "DataCheck, HttpRequest, Webhook, IfElse, another Runnable, or a function"
            )
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise ConfigError(
                f"{self.name} is a coroutine or a generator; a task runs a plain function"
            )
        needed = [each for each in self._parameters() if _is_needed(each)]
        if len(needed) > 1 or any(each.kind is _KEYWORD for each in needed):
            raise ConfigError(
                f"{self.name} needs the arguments {', '.join(each.name for each in needed)}; a "
                "task's function takes none, or one: the TaskContext"
            )

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def run(self, context: TaskContext, /) -> None:
        """Call the function."""
        context.report.job = self.name
        try:
            takes_context = any(map(_is_needed, self._parameters()))
            value = self.function(context) if takes_context else self.function()
        except EtlkitError:
            raise
        except Exception as error:
            raise JobError(f"{self.name} raised {user_error_text(error)}") from error
        context.report.value = value

    def fingerprint(self) -> str:
        """See `Runnable.fingerprint`: the function's own source, not that of its module."""
        try:
            return short_hash(self.name, inspect.getsource(self.function))
        except (OSError, TypeError):  # defined in a console, or no plain function
            code = getattr(self.function, "__code__", None)
            return short_hash(self.name, "" if code is None else repr(code.co_code))

    def _parameters(self) -> list[inspect.Parameter]:
        try:
            return list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):  # a builtin without a signature
            return []


def _is_needed(parameter: inspect.Parameter) -> bool:
    """Whether the function cannot be called without it."""
    return parameter.default is inspect.Parameter.empty and parameter.kind not in _VARIADIC
