"""What became of each source row, and the counts of it."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from etlkit.errors import (
    ConfigError,
    JobError,
    RetryableError,
    RowError,
    TransformError,
    without_keys,
)
from etlkit.rows.row import Row

_SHOWN_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one source row became.

    Attributes:
        rows: The target rows; one shared tuple for "none".
        error: Why the row could not be transformed; None = it could.
    """

    rows: tuple[Row, ...]
    error: RowError | None = None


SKIPPED = Outcome(())

RowOutcome: TypeAlias = Row | Outcome
"""What became of a row. A plain dict stands for "one target row": most rows are just that, and an
object around each of them would cost more than all the rest."""


def rows_of(outcome: RowOutcome) -> tuple[Row, ...]:
    """The target rows of an outcome."""
    return (outcome,) if isinstance(outcome, dict) else outcome.rows


def classify(result: Any) -> RowOutcome:
    """Classify what a transform returned or the exception standing in its place.

    Raises:
        JobError: The transform said that the whole run cannot go on.
        RetryableError: A call kept failing; the row is not to blame.
    """
    if isinstance(result, dict):
        return result
    if result is None:
        return SKIPPED
    if isinstance(result, BaseException):
        return Outcome((), _as_row_error(result))
    if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        return Outcome((), _wrong_result(type(result).__name__))
    return _fan_out(result)


def _fan_out(result: Iterable[Any]) -> Outcome:
    rows: list[Row] = []
    try:
        for part in result:  # a generator runs the user's code here
            if not isinstance(part, dict):
                kind = f"{type(result).__name__} of {type(part).__name__}"
                return Outcome((), _wrong_result(kind))
            rows.append(dict(part))  # a generator may well give one dict again and again
    except Exception as error:
        return Outcome((), _as_row_error(error))
    return Outcome(tuple(rows))


def _wrong_result(kind: str) -> TransformError:
    return TransformError(
        f"the transform returned a {kind}; it must return a dict (written), None (skipped) or an "
        "iterable of dicts (fan-out)"
    )


def _as_row_error(error: BaseException) -> RowError:
    # An outage or a refused key concerns every row: settling it here would reject them one by one.
    if isinstance(error, (JobError, ConfigError, RetryableError)) or not isinstance(
        error, Exception
    ):
        raise error
    if isinstance(error, RowError):
        return error
    wrapped = TransformError(f"{type(error).__name__}: {without_keys(str(error))}{_place(error)}")
    wrapped.__cause__ = error
    return wrapped


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A source row that is put aside.

    Attributes:
        row_id: Its id in the snapshot.
        source_row: The row as JSON text, all columns.
        error_class: Name of the error's class, or of what the user's code raised.
        code: The provider's code, as text; None = none was given.
        message: What happened.
        attempts: Calls made for the row.
        at: When it was given up.
    """

    row_id: str
    source_row: str
    error_class: str
    code: str | None
    message: str
    attempts: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A staged source row that the sink's own system did not take.

    Attributes:
        row_id: Its id in the snapshot.
        num_parts: How many target rows it had become.
        message: The system's reason.
    """

    row_id: str
    num_parts: int
    message: str


def error_class(error: RowError) -> str:
    """The class that people filter by: the user's own exception where there is one."""
    if isinstance(error, TransformError) and error.__cause__ is not None:
        return type(error.__cause__).__name__
    return type(error).__name__


@dataclass(slots=True)
class Counts:
    """How many source rows ended how; `read = written + skipped + rejected` before publishing.

    Attributes:
        read: Source rows taken from the source.
        written: Source rows that became one or more target rows.
        skipped: Source rows for which the transform gave None or an empty iterable, and those that
            failed under `on_row_error="skip"`.
        rejected: Source rows put aside with their error.
        parts: Target rows, counted after fan-out.
        row_errors: Source rows that failed, whatever the policy made of them.
        first_errors: The first few of them, for the report.
        error_classes: How often each class of error came; class names are few.
    """

    read: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    parts: int = 0
    row_errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    error_classes: Counter[str] = field(default_factory=Counter)

    @property
    def finished(self) -> int:
        """Source rows that have an outcome: written, skipped or rejected."""
        return self.written + self.skipped + self.rejected

    def add_plain(self, num_rows: int) -> None:
        """Count so many source rows that became one target row each."""
        self.written += num_rows
        self.parts += num_rows

    def add(self, num_rows: int) -> None:
        """Count one source row that became `num_rows` target rows."""
        if num_rows:
            self.written += 1
            self.parts += num_rows
        else:
            self.skipped += 1

    def take_back(self, num_rows: int) -> None:
        """A source row that was counted as written turned out not to be."""
        self.written -= 1
        self.parts -= num_rows

    def add_error(self, error: RowError) -> None:
        """Keep one failed row in mind; `add` still counts how it ended."""
        self.row_errors += 1
        self.error_classes[error_class(error)] += 1
        if len(self.first_errors) < _SHOWN_ERRORS:
            self.first_errors.append(str(error))


@dataclass(slots=True)
class Recovered:
    """What a run has settled before now.

    Attributes:
        counts: How those rows ended.
        ids: Gives their row ids, in any order; may be large, so it is asked only where needed.
        query: SQL that gives the same ids as its only column, for a source in the same warehouse;
            None = there is none.
    """

    counts: Counts = field(default_factory=Counts)
    ids: Callable[[], Iterable[str]] = tuple
    query: str | None = None
