"""What one run knows of itself: its id, its limits and the settings it was started with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from etlkit.api.checks import Check
from etlkit.calls.retry import Calls

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the runner was told from outside; the only way environment reaches a source or a sink.

    Attributes:
        project: Google Cloud project that is billed; None = the one of the credentials.
        location: BigQuery location, e.g. `US` or `asia-northeast1`; None = where the data is.
        environ: The environment variables, read once by the runner.
    """

    project: str | None = None
    location: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def new_run_id(now: datetime) -> str:
    """Make an id that sorts by start time and is valid in table names and job ids."""
    return f"{now:%Y%m%d_%H%M%S}{now.microsecond // 1000:03}_{secrets.token_hex(4)}"


LAST = "last"
"""Stands for the id of the job's last unpublished run."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and did so in good order; it can be resumed.

    Attributes:
        signum: The signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


class Run:
    """One execution of a job; a context manager that closes what was shared through it.

    Args:
        job: The job's name.
        settings: What the runner was told from outside.
        limit: Source rows to read at most; None = all.
        labels: For every BigQuery job of the run, beside `etlkit_job` and `etlkit_run`.
        resume: Id of an unpublished run to go on with, or `LAST`; None = a new run.
        allow_code_change: Go on although code or query are not what the run began with.
        retry_of: Id of a run whose rejected rows this one retries: its rows come on top, whatever
            the sink's mode; None = it does not.
        now: Start time; None = now.

    Attributes:
        run_id: How the run is found again. A resumed run keeps its id.
        attempt: 1 for a new run, one more at every resume; told by the sink.
        fingerprint: Of code and query; told by the engine.
        alone: Whether no other run of the job may be in progress; told by the engine.
        variables: Query parameters and the like, for the ledger; told by the source.
        on_schema_change: The job's policy; told by the engine.
        on_row_error: The job's policy; told by the engine.
        checks: The job's checks; told by the engine.
        calls: What its calls to services have in common; told by the engine.
    """

    def __init__(
        self,
        job: str,
        settings: Settings | None = None,
        *,
        limit: int | None = None,
        labels: Mapping[str, str] | None = None,
        resume: str | None = None,
        allow_code_change: bool = False,
        retry_of: str | None = None,
        now: datetime | None = None,
    ) -> None:
        self.job = job
        self.settings = settings or Settings()
        self.limit = limit
        self.labels = dict(labels or {})
        self.resume = resume
        self.allow_code_change = allow_code_change
        self.retry_of = retry_of
        self.started_at = now or datetime.now(UTC)
        self.run_id = new_run_id(self.started_at) if resume in {None, LAST} else str(resume)
        self.attempt = 1
        self.fingerprint = ""
        self.alone = True
        self.variables: dict[str, Any] = {}
        self.on_schema_change = "add_columns"
        self.on_row_error = "fail"
        self.checks: Sequence[Check | str] = ()
        self.calls = Calls()
        self._stop_signal: int | None = None
        self._on_stop: list[Callable[[], None]] = []
        self._shared: dict[str, Any] = {}
        self._closing = ExitStack()

    @property
    def stop_signal(self) -> int | None:
        """The signal that asked the run to stop; None = none did."""
        return self._stop_signal

    def request_stop(self, signum: int) -> None:
        """Stop reading, settle what is in flight, stay resumable. Safe in a signal handler."""
        self._stop_signal = signum
        if not self._on_stop:  # nothing is settled yet, so there is nothing to end in good order
            raise Interrupted(signum)
        for tell in self._on_stop:
            tell()

    def on_stop(self, tell: Callable[[], None]) -> None:
        """Have a function called when the run is asked to stop."""
        self._on_stop.append(tell)

    def share(self, key: str, make: Callable[[], T], close: Callable[[T], None]) -> T:
        """Make something once per run, such as a client that source and sink both need.

        Args:
            key: Its name; the same name gives the same object.
            make: Called at the first request.
            close: Called when the run ends, also after a failure.
        """
        if key not in self._shared:
            made = make()
            self._shared[key] = made
            self._closing.callback(close, made)
        shared: T = self._shared[key]
        return shared

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()
