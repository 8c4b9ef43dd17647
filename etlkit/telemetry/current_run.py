"""Which run the current thread or task works for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """A run, for logs and telemetry.

    Attributes:
        run_id: Its id; empty = not known yet.
        job: The job's name.
        task: Path of the task whose work it is; None = it is no task's.
        parent: The workflow's run; None = likewise.
    """

    run_id: str
    job: str
    task: str | None = None
    parent: str | None = None


_current: ContextVar[CurrentRun | None] = ContextVar("etlkit_run", default=None)


def current_run() -> CurrentRun | None:
    """The run that this thread or task works for; None = none."""
    return _current.get()


@contextmanager
def in_run(run: CurrentRun) -> Iterator[None]:
    """Make a run the current one. Threads that are started in the same context belong to it, too."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)
