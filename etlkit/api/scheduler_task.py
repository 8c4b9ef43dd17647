"""A task of a scheduler: one of several processes, perhaps on many machines, that share one run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import RunRecord, RunRequest
    from etlkit.api.source import Source

MAX_KEY_CHARS = 200


@dataclass(frozen=True, slots=True)
class SchedulerTask:
    """Which of the tasks this process is, and which tasks belong together.

    All tasks with the same job and the same `run_key` share one run. The first that comes begins it,
    the others join, and one of them publishes.

    Attributes:
        index: Number of the task, from 0. It decides where the task looks for rows first, and nothing
            else: two tasks of the same number do no harm.
        count: How many tasks there are meant to be. More may join, and fewer may come.
        run_key: Names the run: the same text for all of its tasks, and another one for the next run.
            Cloud Run's is the name of the execution, Slurm's the id of the job array.

    Raises:
        ConfigError: A value cannot be used.
    """

    index: int
    count: int
    run_key: str

    def __post_init__(self) -> None:
        """Check the values."""
        if self.count < 1:
            raise ConfigError(f"a run is shared by at least one task, not by {self.count}")
        if not 0 <= self.index < self.count:
            last = self.count - 1
            raise ConfigError(
                f"task {self.index} of {self.count}: tasks are numbered from 0 to {last}"
            )
        if not self.run_key.strip() or len(self.run_key) > MAX_KEY_CHARS:
            raise ConfigError(
                f"the run key {self.run_key[:MAX_KEY_CHARS]!r}: give a text of 1 to {MAX_KEY_CHARS} "
                "characters that all tasks of the run have in common, and no other run has"
            )

    def __str__(self) -> str:
        """For messages and reports: `2/3` is the second of three."""
        return f"{self.index + 1}/{self.count}"


class Outcome(Enum):
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
    outcome: Outcome = Outcome.UNKNOWN


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

    def leave(self, outcome: Outcome) -> None:
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
