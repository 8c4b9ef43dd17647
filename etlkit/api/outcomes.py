"""The outcome of each source row, and the counts of all outcomes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

from etlkit.api.user_errors import user_error_text, user_line
from etlkit.calls.waits import Waits
from etlkit.errors import (
    ConfigError,
    JobError,
    RetryableError,
    RowError,
    TransformCodeError,
    TransformError,
)
from etlkit.rows.frozen import Freeze, frozen_row
from etlkit.rows.row import Row
from etlkit.rows.row_code import END, transform_loop

SHOWN_ERRORS = 5


@dataclass(slots=True, eq=False)
class FullOutcome:
    """An outcome that is not simply one target row: none, several, or an error.

    Attributes:
        rows: The target rows; empty = skipped, or `error` says why.
        error: Why the row could not be transformed; None = it could.
    """

    rows: tuple[Row, ...]
    error: RowError | None = None


SKIPPED = FullOutcome(())

Outcome: TypeAlias = Row | FullOutcome
"""What a source row became. A plain dict is one target row: most rows are, and an object around each
of them would cost more than all the rest."""


def rows_of(outcome: Outcome) -> tuple[Row, ...]:
    """The target rows of an outcome."""
    return (outcome,) if isinstance(outcome, dict) else outcome.rows


def error_of(outcome: Outcome) -> RowError | None:
    """Why the row failed; None = it did not."""
    return None if isinstance(outcome, dict) else outcome.error


def is_clean(outcome: Outcome) -> bool:
    """Whether the row did not fail."""
    return isinstance(outcome, dict) or outcome.error is None


class AnyNames:
    """Stands for names that are not known yet."""

    @staticmethod
    def issuperset(_keys: Iterable[object]) -> bool:
        """Every key may be one of them."""
        return True


class NoNames:
    """Stands for the names of columns where no row may be taken before somebody has looked."""

    @staticmethod
    def issuperset(_keys: Iterable[object]) -> bool:
        """No key is one of them, whatever a row has."""
        return False


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What is known of the keys of results.

    Attributes:
        names: The keys of columns. Every value is looked at of a row that has another key.
        nested: What freezes the values of those keys that may hold lists or dicts, in other rows;
            None = every value is looked at of each row.
    """

    names: frozenset[str] | AnyNames
    nested: Mapping[str, Freeze] | None

    @property
    def copy(self) -> Callable[[Row], Row]:
        """What copies a row without other keys than `names`."""
        if self.nested is None:
            return frozen_row
        return partial(frozen_row, nested=self.nested) if self.nested else dict.copy

    @property
    def own(self) -> int | None:
        """See `transform_loop`: -1 = each row is copied."""
        return None if self.nested == {} else -1


UNKNOWN_KEYS = KnownKeys(AnyNames(), None)


def classify(result: Any, keys: KnownKeys = UNKNOWN_KEYS) -> Outcome:
    """Classify what a transform returned, or the exception it raised or returned for a row.

    Args:
        result: What it returned or raised.
        keys: What is known of the keys of dicts.

    Raises:
        TransformCodeError: The transform's code is wrong, whatever the row.
        JobError: The transform raised it: the whole run cannot continue.
        RetryableError: A call kept failing; the row is not to blame.
    """
    if isinstance(result, dict):
        return frozen_row(result)
    if result is None:
        return SKIPPED
    if isinstance(result, BaseException):
        return FullOutcome((), _as_row_error(result))
    if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        return FullOutcome((), _wrong_result(type(result).__name__))
    return classify_parts(result, type(result), keys)


def classify_parts(result: Iterable[Any], giver: type, keys: KnownKeys) -> FullOutcome:
    """Classify what one row became, of which nothing is copied yet.

    Args:
        result: Gives dicts, if all is well.
        giver: The class of what the transform returned, for messages.
        keys: As in `classify`.

    Raises:
        EtlkitError: As `classify`.
    """
    rows: list[Row] = []
    # A generator may yield the same dict again and again: the loop copies what somebody still has.
    loop, copy, own, known = transform_loop(None), keys.copy, keys.own, keys.names
    try:
        parts = iter(result)
        while True:  # a generator runs the user's code here
            odd = loop(parts, None, rows.append, copy, None, known, float, 1.0, None, own)
            if odd is END:
                return FullOutcome(tuple(rows))
            if not isinstance(odd, dict):
                kind = f"{giver.__name__} of {type(odd).__name__}"
                return FullOutcome((), _wrong_result(kind))
            rows.append(frozen_row(odd))
    except Exception as error:
        return FullOutcome((), _as_row_error(error))


def _wrong_result(kind: str) -> TransformError:
    return TransformError(
        f"the transform returned a {kind}; it must return a dict (written), None (skipped) or an "
        "iterable of dicts (fan-out)"
    )


def _as_row_error(error: BaseException) -> RowError:
    # An outage or a refused key concerns every row: row errors would reject them one by one.
    if isinstance(error, ConfigError) and error.__traceback__ is not None:
        raise ConfigError(f"{error} ({user_line(error)})") from error
    if isinstance(error, (JobError, ConfigError, RetryableError)) or not isinstance(
        error, Exception
    ):
        raise error
    if isinstance(error, RowError):
        return error
    if _is_mistake(error):
        raise TransformCodeError(
            f"{user_error_text(error)}. That is a mistake in the code, so no row is skipped or "
            "rejected for it. Fix it, then --resume --allow-code-change"
        ) from error
    if isinstance(error, MemoryError):
        raise JobError(
            f"out of memory: {user_error_text(error)}. The run ends, as the next rows would meet the "
            "same. Lower max_concurrency or batch_size, or give the process more memory, then "
            "--resume",
            stage="transform",
        ) from error
    wrapped = TransformError(user_error_text(error))
    wrapped.__cause__ = error
    return wrapped


def _is_mistake(error: Exception) -> bool:
    """Whether the code is wrong, not the data: a name, a module, an attribute, a signature.

    An attribute that a value of the row lacks, such as `None.lower`, is a matter of the data.
    """
    if isinstance(error, AttributeError):
        return not isinstance(error.obj, _DATA) and error.obj is not None
    if isinstance(error, TypeError):
        return _SIGNATURE.search(str(error)) is not None
    return isinstance(error, (NameError, ImportError, SyntaxError))


_DATA = (bool, int, float, str, bytes, dict, list, tuple, set, date, time, timedelta, Decimal)
_SIGNATURE = re.compile(
    r"\(\) (takes|missing|got an unexpected keyword|got multiple values|takes no)"
)
"""What Python says of a call whose arguments do not go with the function's."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A source row that is rejected.

    Attributes:
        row_id: Its id in the snapshot.
        source_row: The row as JSON text, all columns.
        error_class: Name of the error's class, or of what the user's code raised.
        code: The provider's code, as text; None = there is none.
        message: What happened.
        attempts: Calls made for the row.
        at: When it was rejected.
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
    """A staged source row that the target system refused.

    Attributes:
        row_id: Its id in the snapshot.
        num_parts: How many target rows it became.
        message: The system's reason.
        error: The row's error, if the system gives more than a reason; None = a `RowSchemaError`
            that says the reason.
    """

    row_id: str
    num_parts: int
    message: str
    error: RowError | None = None


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
        rejected: Source rows rejected with their error.
        parts: Target rows, counted after fan-out.
        row_errors: Source rows that failed, whatever `on_row_error` did with them.
        first_errors: The first few of them, for the report.
        error_classes: How often each class of error occurred.
        waits: What the run's calls wait for at the moment; None = not known.
    """

    read: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0
    parts: int = 0
    row_errors: int = 0
    first_errors: list[str] = field(default_factory=list)
    error_classes: Counter[str] = field(default_factory=Counter)
    waits: Waits | None = field(default=None, compare=False, repr=False)

    @property
    def finished(self) -> int:
        """Source rows that have an outcome: written, skipped or rejected."""
        return self.written + self.skipped + self.rejected

    def add(self, num_rows: int) -> None:
        """Count one source row that became `num_rows` target rows."""
        if num_rows:
            self.written += 1
            self.parts += num_rows
        else:
            self.skipped += 1

    def remove(self, num_rows: int) -> None:
        """Take back a source row that was counted as written with `num_rows` target rows."""
        self.written -= 1
        self.parts -= num_rows

    def add_error(self, error: RowError) -> None:
        """Count a failed row and keep the first few errors; its outcome is counted by `add`."""
        self.row_errors += 1
        self.error_classes[error_class(error)] += 1
        if len(self.first_errors) < SHOWN_ERRORS:
            self.first_errors.append(str(error))


@dataclass(slots=True)
class Recovered:
    """The rows that a run has finished so far, in this attempt and in earlier ones.

    Attributes:
        counts: How those rows ended.
        ids: Gives their row ids, in any order. There may be many: call it only where needed.
        query: SQL that gives the same ids as its only column, for a source in the same warehouse;
            None = there is none.
    """

    counts: Counts = field(default_factory=Counts)
    ids: Callable[[], Iterable[str]] = tuple
    query: str | None = None
