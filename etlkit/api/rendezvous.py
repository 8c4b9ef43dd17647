"""Where the tasks of a scheduler find each other, as a sink provides it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime

    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import RunRecord, RunRequest
    from etlkit.api.scheduler_task import SchedulerTask
    from etlkit.api.source import Source


class LeadEnd(Enum):
    """How the task that led last has ended."""

    UNKNOWN = ""
    PUBLISHED = "published"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with the run of a key.

    Attributes:
        run_id: The run; None = none has begun.
        is_led: Whether a task leads: it opens, holds or publishes the run.
        outcome: How the last leader ended, if none leads now.
    """

    run_id: str | None
    is_led: bool
    outcome: LeadEnd = LeadEnd.UNKNOWN


@dataclass(frozen=True, slots=True)
class FoundRun:
    """What is known of a run, also of one that is in progress.

    Attributes:
        record: As the ledger has it.
        error: Why its last attempt ended; None = it did not fail.
        is_alive: Whether a process holds the run.
        published_at: When it was published; None = it is not.
    """

    record: RunRecord
    error: str | None
    is_alive: bool
    published_at: datetime | None = None


class Rendezvous(Protocol):
    """Where the tasks of a key find each other: who leads, and which run it is.

    It only says whose turn it is. That a run is published once is the guard's doing.
    """

    def look(self) -> Standing:
        """How it stands now."""

    def take_lead(self) -> bool:
        """Become the task that leads, if none does. False = another one was faster."""

    def name_run(self, run_id: str) -> None:
        """Tell the others which run it is; called by the one that leads.

        Raises:
            RunTakenOverError: Another task leads now.
        """

    def leave(self, outcome: LeadEnd) -> None:
        """Lead no more. Does nothing for a task that does not lead; never raises."""

    def find_run(self, run_id: str) -> FoundRun | None:
        """What is known of a run; None = it was never begun."""

    def has_shards(self, run_id: str) -> bool:
        """Whether rows of the run are there for workers."""

    def close(self) -> None:
        """Close what was opened for it."""


@runtime_checkable
class TakesTasks(Protocol):
    """A sink whose runs the tasks of a scheduler can share."""

    def meet(
        self, job: JobOptions, source: Source, request: RunRequest, task: SchedulerTask, /
    ) -> Rendezvous:
        """Open the rendezvous of a task.

        Raises:
            SinkError: BigQuery refuses.
        """
