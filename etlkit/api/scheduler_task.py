"""A task of a scheduler: one of several processes, perhaps on many machines, that share one run."""

from __future__ import annotations

from dataclasses import dataclass

from etlkit.errors import ConfigError

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
