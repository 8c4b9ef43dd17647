"""What one request does with DuckDB, and how it is stopped.

DuckDB can only interrupt the statement that is running. So a work that is stopped also refuses its next
statement, and the interruption is repeated until the work ends: it may come between two statements.
What the emulator writes around a statement, such as its catalog, is never interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event, Lock, Thread
from typing import Any, Final

from bqemulator.domain.errors import InvalidQueryError

CANCELLED: Final = "Job execution was cancelled: User requested cancellation"
CLIENT_GONE: Final = "Job execution was cancelled: its client has gone"
SERVER_STOPS: Final = "Job execution was cancelled: the local server stops"

_INTERRUPT_EVERY_S: Final = 0.05


class StoppedError(InvalidQueryError):
    """The job was cancelled.

    Source: https://cloud.google.com/bigquery/docs/error-messages
    """

    http_status = 499
    bq_reason = "stopped"
    grpc_status_name = "CANCELLED"


class Work:
    """One request at DuckDB.

    Attributes:
        connection: Its DuckDB connection.
        is_exclusive: Whether it is the only one that may write, and has the main connection.
        is_dry: Whether queries are only described.
        location: Where its job is; "" = that is not known before it names a dataset.
        stopped: Why it was stopped; "" = it was not.
        job_rows: Rows of the catalog, by their keys, that are written when it ends.
    """

    def __init__(self, connection: Any, *, is_exclusive: bool) -> None:
        self.connection = connection
        self.is_exclusive = is_exclusive
        self.is_dry = False
        self.location = ""
        self.stopped: str = ""
        self.job_rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._lock = Lock()
        self._is_in_statement = False
        self._ended = Event()
        self._callbacks: list[Callable[[], Any]] = []

    def stop(self, why: str) -> None:
        """End it: interrupt its statement, and refuse further ones. Any thread may call this."""
        with self._lock:
            if self.stopped or self._ended.is_set():
                return
            self.stopped = why
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()
        Thread(target=self._interrupt, name="etlkit-local-interrupt", daemon=True).start()

    def check(self) -> None:
        """Raise if it was stopped.

        Raises:
            StoppedError: It was.
        """
        if self.stopped:
            raise StoppedError(self.stopped)

    def end(self) -> None:
        """It has ended, and will not be interrupted any more."""
        self._ended.set()

    @contextmanager
    def statement(self) -> Iterator[None]:
        """Around a statement that may be interrupted.

        Raises:
            StoppedError: The work was stopped, before or meanwhile.
        """
        self.check()
        was = self._is_in_statement
        with self._lock:
            self._is_in_statement = True
        try:
            yield
        except Exception as error:
            if self.stopped:
                raise StoppedError(self.stopped) from error
            raise
        finally:
            with self._lock:
                self._is_in_statement = was

    @contextmanager
    def calling_on_stop(self, callback: Callable[[], Any]) -> Iterator[None]:
        """Around something that DuckDB cannot interrupt: `callback` ends it, from another thread.

        Raises:
            StoppedError: The work was stopped before, or what failed was ended by `callback`.
        """
        with self._lock:
            self.check()
            self._callbacks.append(callback)
        try:
            yield
        except Exception as error:
            if self.stopped:
                raise StoppedError(self.stopped) from error
            raise
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def _interrupt(self) -> None:
        while not self._ended.wait(_INTERRUPT_EVERY_S):
            with self._lock:
                if self._is_in_statement:
                    self.connection.interrupt()


def check() -> None:
    """Raise if the current work was stopped.

    Raises:
        StoppedError: It was.
    """
    work = current()
    if work is not None:
        work.check()


@contextmanager
def interruptible() -> Iterator[None]:
    """Around a statement of the current work that may be interrupted.

    Raises:
        StoppedError: The work was stopped, before or meanwhile.
    """
    work = current()
    if work is None:
        yield
        return
    with work.statement():
        yield


@contextmanager
def stoppable(end: Callable[[], Any]) -> Iterator[None]:
    """Around what DuckDB cannot interrupt, in the current work.

    Args:
        end: Ends it, from another thread, if the work is stopped.

    Raises:
        StoppedError: The work was stopped before, or what failed was ended by `end`.
    """
    work = current()
    if work is None:
        yield
        return
    with work.calling_on_stop(end):
        yield


_current: Final[ContextVar[Work | None]] = ContextVar("etlkit_work", default=None)
_exclusive: Work | None = None
"""Functions that DuckDB calls are on threads of its own, without a context. Only statements of the
exclusive work call those of ours that can be stopped."""


def current() -> Work | None:
    """The work of the request that this code runs for; None = it runs for none."""
    return _current.get() or _exclusive


def location_of_job() -> str:
    """Where the job of the current work is; "" = that is not known, or there is none."""
    work = current()
    return "" if work is None else work.location


@contextmanager
def doing(work: Work) -> Iterator[Work]:
    """Make this the current work, until it ends."""
    global _exclusive  # noqa: PLW0603
    token = _current.set(work)
    if work.is_exclusive:
        _exclusive = work
    try:
        yield work
    finally:
        work.end()
        if work.is_exclusive:
            _exclusive = None
        _current.reset(token)
