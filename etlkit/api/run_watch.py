"""Who is told of runs while they last, e.g. to send lineage events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etlkit.api.report import Report
    from etlkit.api.run import ParentRun, Settings
    from etlkit.rows.columns import Column


@dataclass
class WatchedRun:
    """What is known of a run so far; it grows while the run lasts.

    Attributes:
        kind: `transfer`, `datamart` or `workflow`.
        run_id: Its id.
        job_name: The job's name.
        job: The `TransferJob`, `Datamart` or `Workflow`, its variables expanded where that is done.
        settings: Of the run.
        parent: The workflow's run whose task it is; None = it is no task's.
        revision: The commit of the code; None = not known.
        statements: SQL texts that it runs, in order; of a transfer its source query.
        target: The target's full name; empty = none, or not known yet.
        tables: Full names of the tables that the source reads, as far as BigQuery has said them.
        source_columns: Of the source's rows.
        read: Names of the source columns that the transform reads.
        columns: Of the target rows, once they are known.
    """

    kind: str
    run_id: str
    job_name: str
    job: Any
    settings: Settings
    parent: ParentRun | None = None
    revision: str | None = None
    statements: Sequence[str] = ()
    target: str = ""
    tables: Sequence[str] = ()
    source_columns: Sequence[Column] = ()
    read: Sequence[str] = ()
    columns: Sequence[Column] = field(default_factory=tuple)


class RunWatcher:
    """Is told of runs, on their threads. This one does nothing.

    Nothing that it does may fail a run or keep it waiting.
    """

    def started(self, run: WatchedRun) -> None:
        """A run has begun, or goes on."""

    def opened(self, run: WatchedRun) -> None:
        """Its source and target are known."""

    def ended(self, run: WatchedRun, report: Report, error: BaseException | None) -> None:
        """It has ended."""


_current: ContextVar[RunWatcher | None] = ContextVar("etlkit_watcher", default=None)


def run_watcher() -> RunWatcher:
    """Who is told of the runs of this thread."""
    return _current.get() or RunWatcher()


def is_watched() -> bool:
    """Whether there is a watcher already."""
    return _current.get() is not None


@contextmanager
def watched_by(watcher: RunWatcher) -> Iterator[None]:
    """Tell a watcher of all runs that begin inside."""
    token = _current.set(watcher)
    try:
        yield
    finally:
        _current.reset(token)
