"""What is remembered of a workflow's run, so that it can be resumed. The seam to the ledger.

One attempt at a run calls `earlier`, `begin` and `finished`; then for each task `check`,
`unpublished_child`, `child` and `task_ended`; then `end`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from etlkit.api.run import ParentRun
from etlkit.api.workflow_report import TaskReport, WorkflowReport
from etlkit.errors import JobError

Path = tuple[str, ...]
"""Names from the workflow's task down, e.g. `("load",)`, `("load", "2024-01-02")` for an iteration.
A task of a child workflow stands below the task that runs it: `("child", "load")`."""

MAX_VALUE_BYTES = 1_000_000
"""JSON text of one task's value. It is kept in the ledger, for a resume, and a request to BigQuery may
have 10 MB: https://cloud.google.com/bigquery/quotas#query_jobs"""


class WorkflowState(Protocol):
    """The memory of one run of a workflow, from the point of view of one attempt at it.

    All methods may be called from several threads.
    """

    @property
    def run_id(self) -> str:
        """The run's id; a resumed run keeps it."""

    @property
    def attempt(self) -> int:
        """1 for a new run, one more at every resume."""

    def earlier(self) -> WorkflowReport | None:
        """The graph with which the run began; None = this is its first attempt.

        Known before `begin`, so that a changed graph can be looked at before the run is taken over.
        """

    def begin(self, report: WorkflowReport, /, forget: Collection[Path] = ()) -> None:
        """Record that the attempt begins, or take the run over from an earlier attempt.

        Args:
            report: The graph, as `report.tasks`.
            forget: Tasks whose earlier ends and runs do not count any more, because they are to run
                again; whatever is below them is forgotten with them.

        Raises:
            RunStateError: Another run of the workflow is in progress, or another process has resumed
                this one.
        """

    def finished(self) -> Mapping[Path, TaskReport]:
        """The last report of each task and iteration that ended in an earlier attempt.

        What was recorded is known before `begin`, so that it can be told what to forget; complete
        after it: then a task whose job was published is among them also if the process was killed
        before it could record more.
        """

    def unpublished_child(self, path: Path, /) -> str | None:
        """The run of the task's transfer that an earlier attempt began and did not publish.

        Known after `begin`. Resume it, with `child` as its parent. Runs that cannot be resumed, such
        as those of datamarts, are not given; they can no longer publish.
        """

    def child(self, path: Path, /) -> ParentRun:
        """What the run of the task's job has to know of this run: `RunRequest.parent`."""

    def task_ended(self, path: Path, report: TaskReport, /) -> None:
        """Record how a task ended. Repeated, it changes nothing; but one that failed may end again.

        When this returns, what a resume needs is durable. The rest may be written later, at the
        latest by `end`: a resume runs a failed task again in any case, and a transfer or datamart
        that is published is in the ledger by that.

        Raises:
            JobError: The task's value is too large, or no JSON; see `value_text`.
            RunTakenOverError: Another process has taken the run over; nothing was recorded.
        """

    def check(self) -> None:
        """Return if this process certainly still holds the run. Cheap.

        Raises:
            RunTakenOverError: It was taken over, or its lease ended and could not be renewed.
        """

    def end(self, report: WorkflowReport, error: BaseException | None, /) -> None:
        """Record how the run ended; a run that is not published can be resumed.

        Args:
            report: The final report.
            error: Why it ended early; None = it is published.

        Raises:
            RunTakenOverError: Another process has taken the run over; nothing was recorded.
        """


def value_text(value: Any) -> str:
    """A task's value as JSON text.

    Raises:
        JobError: It cannot be written as JSON, or is larger than `MAX_VALUE_BYTES`.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise JobError(
            f"the task's value cannot be kept for other tasks: {error}. Return what JSON has: None, "
            "bool, int, finite float, str, list, dict with str keys"
        ) from error
    if size > MAX_VALUE_BYTES:
        raise JobError(
            f"the task's value has {size:,} bytes of JSON; at most {MAX_VALUE_BYTES:,} are kept for "
            "other tasks. Write it to a table or a file, and return its name"
        )
    return text


def task_text(path: Path) -> str:
    """A task's path as text, as the ledger has it: `load/2024-01-02`."""
    return "/".join(name.replace("%", "%25").replace("/", "%2F") for name in path)


def task_path(text: str) -> Path:
    """The path that `task_text` wrote."""
    return tuple(name.replace("%2F", "/").replace("%25", "%") for name in text.split("/"))
