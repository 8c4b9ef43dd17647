"""What one run knows of itself: its id, its limits and the settings it was started with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

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
    return f"{now:%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


class Run:
    """One execution of a job; a context manager that closes what was shared through it.

    Args:
        job: The job's name.
        settings: What the runner was told from outside.
        limit: Source rows to read at most; None = all.
        labels: For every BigQuery job of the run, beside `etlkit_job` and `etlkit_run`.
        now: Start time; None = now.
    """

    def __init__(
        self,
        job: str,
        settings: Settings | None = None,
        *,
        limit: int | None = None,
        labels: Mapping[str, str] | None = None,
        now: datetime | None = None,
    ) -> None:
        self.job = job
        self.settings = settings or Settings()
        self.limit = limit
        self.labels = dict(labels or {})
        self.started_at = now or datetime.now(UTC)
        self.run_id = new_run_id(self.started_at)
        self._shared: dict[str, Any] = {}
        self._closing = ExitStack()

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
