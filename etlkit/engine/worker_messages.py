"""What the processes of a shared run tell each other. All of it can be pickled."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, field

from etlkit.api.outcomes import Counts
from etlkit.api.run import RunRequest, Worker
from etlkit.errors import ConfigError, EtlkitError, JobError


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do.

    Attributes:
        job: The pickled job, variables expanded.
        request: As of the run, without what belongs to its own process.
        run_id: The run.
        attempt: Number of the attempt at it.
        worker: Which worker it is.
        log_level: Of the messages that it sends.
    """

    job: bytes
    request: RunRequest
    run_id: str
    attempt: int
    worker: Worker
    log_level: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a worker has done and used so far.

    Attributes:
        counts: Its rows; without `waits`.
        calls: Its calls, retries included.
        retries: How many were retries.
        units: Billing units.
        resumed: Rows whose result came from the journal of an earlier attempt.
    """

    counts: Counts = field(default_factory=Counts)
    calls: int = 0
    retries: int = 0
    units: int = 0
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a worker's log."""

    logger: str
    level: int
    text: str

    def write(self, index: int) -> None:
        """Write it to the log of the run's process, as that of a worker with this number."""
        logging.getLogger(self.logger).log(self.level, "worker %d: %s", index + 1, self.text)


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker has nothing left to do, or failed.

    Attributes:
        usage: What it has done.
        error: Why it failed, pickled; None = it did not.
        lines: Warnings of its log, if they could not be sent before; the first ones.
        index: Number of the worker, from 0.
    """

    usage: Usage
    error: bytes | None = None
    lines: tuple[LogLine, ...] = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """Asks a worker to stop cleanly, as a signal would."""

    signum: int


def pickled_job(job: object) -> bytes:
    """A job that another process can read.

    Raises:
        ConfigError: It has something that only this process knows, e.g. a lambda.
    """
    try:
        return pickle.dumps(job)
    except Exception as error:
        raise ConfigError(
            f"workers are processes of their own, and the job cannot be sent to them: {error}. "
            "Define transform, source and sink at the top of a module, without lambdas and without "
            "classes inside of functions"
        ) from error


def pickled_error(error: BaseException) -> bytes:
    """An error that the run's own process can raise again."""
    try:
        made = pickle.dumps(error)
        pickle.loads(made)  # noqa: S301 - made a line before  # nosec B301
    except Exception:
        kind = type(error).__name__
        text = str(error) if isinstance(error, EtlkitError) else f"{kind}: {error}"
        return pickle.dumps(JobError(text, stage="transform"))
    return made
