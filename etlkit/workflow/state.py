"""What is remembered of a workflow's run, so that it can be resumed. The seam to the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from etlkit.api.workflow_report import TaskReport, WorkflowReport

Path = tuple[str, ...]
"""Names from the workflow's task down, e.g. `("load",)`, `("load", "2024-01-02")` for an iteration."""


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

    def begin(self, report: WorkflowReport, /) -> None:
        """Record that the attempt begins, with its graph as `report.tasks`.

        Raises:
            RunStateError: Another run of the workflow is in progress, or another process has resumed
                this one.
        """

    def earlier(self) -> WorkflowReport | None:
        """The graph with which the run began; None = this is its first attempt."""

    def finished(self) -> Mapping[Path, TaskReport]:
        """The last report of each task and iteration that ended in an earlier attempt."""

    def unpublished_child(self, path: Path, /) -> str | None:
        """The run of the task's job that an earlier attempt began and did not publish, to resume it."""

    def task_ended(self, path: Path, report: TaskReport, /) -> None:
        """Record how a task ended; durable when this returns. Repeated, it changes nothing.

        Raises:
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
        """
