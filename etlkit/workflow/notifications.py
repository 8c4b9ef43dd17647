"""Who is told how a workflow goes: `Alert`, and the delivery of messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from etlkit.api.job_options import describe
from etlkit.api.workflow_report import FINISHED, WorkflowReport
from etlkit.errors import ConfigError
from etlkit.workflow.conditions import AnyCondition, check_condition
from etlkit.workflow.http_request import Webhook

MAX_NAMES = 5
"""Names of failed tasks in a message."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Tell somebody when a run takes long, or when a condition is true. The run goes on.

    Give exactly one of `longer_than_s` and `when`.

    Attributes:
        longer_than_s: Seconds of the whole run, or of one attempt at `task`; told once, at that time.
        task: The task whose duration counts; None = the whole run.
        when: A condition on tasks, e.g. `Condition(TaskValue("load", "rejected"), ">", 100)`; looked
            at once, when all tasks that it reads have ended.
        notify: Who is told beside the log.
        name: What the log and the default text call it; None = what it says.
    """

    longer_than_s: float | None = None
    task: str | None = None
    when: AnyCondition | None = None
    notify: Webhook | Sequence[Webhook] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        if (self.longer_than_s is None) == (self.when is None):
            raise ConfigError("Alert needs either longer_than_s=… or when=Condition(…)")
        if self.when is not None:
            check_condition(self.when, "Alert")
            if self.task is not None:
                raise ConfigError(
                    "Alert(task=…) goes with longer_than_s; a condition names its tasks"
                )
        if self.longer_than_s is not None and not self.longer_than_s > 0:
            raise ConfigError(f"Alert(longer_than_s={self.longer_than_s!r}): it is above 0")
        object.__setattr__(self, "notify", as_webhooks("Alert(notify=…)", self.notify))

    @property
    def label(self) -> str:
        """What it is called."""
        if self.name is not None:
            return self.name
        if self.when is not None:
            return str(self.when)
        return f"{self.task or 'the run'} takes longer than {self.longer_than_s:g} s"


@dataclass(frozen=True)
class Event:
    """Something that people are told.

    Attributes:
        name: `finish`, `failure` or `alert`.
        text: One sentence.
        values: For `$name$` in messages.
    """

    name: str
    text: str
    values: dict[str, Any] = field(default_factory=dict)


def event(name: str, report: WorkflowReport, what: str | None = None) -> Event:
    """Make an event of a run.

    Args:
        name: `finish`, `failure` or `alert`.
        report: As it is now.
        what: The alert; None = how the run ended.
    """
    failed = [task.name for task in report.tasks if task.state in {"failed", "interrupted"}]
    more = len(failed) - MAX_NAMES
    names = ", ".join(failed[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
    succeeded = sum(task.state in FINISHED for task in report.tasks)
    text = what or f"{report.state} in {report.seconds:,.0f} s"
    if what is None and report.error is not None:
        text += f": {report.error}"
    values = {
        "workflow": report.job,
        "run_id": report.run_id,
        "event": name,
        "state": report.state,
        "seconds": report.seconds,
        "error": report.error or "",
        "alert": what or "",
        "failed_tasks": names,
        "num_tasks": len(report.tasks),
        "num_succeeded": succeeded,
    }
    return Event(name, f"workflow {report.job}, run {report.run_id}: {text}", values)


EVENT_VALUES = frozenset(event("finish", WorkflowReport(run_id="", job="")).values)
"""The names of the values that every event has."""


def as_webhooks(where: str, given: Any) -> tuple[Webhook, ...]:
    """One webhook or several as a tuple.

    Raises:
        ConfigError: Something else is among them.
    """
    is_several = isinstance(given, Iterable) and not isinstance(given, str)
    many = tuple(given) if is_several else (given,)
    for each in many:
        if not isinstance(each, Webhook):  # an address may be a key: it is not shown
            raise ConfigError(f"{where} has {describe(each)}; give a Webhook(…) or several")
    return many
