"""Rows that failed: the job's `on_row_error` and `max_rejected` applied."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from etlkit.api.outcomes import SKIPPED, Counts, FullOutcome, RejectedRow, error_class
from etlkit.api.quantities import number_of
from etlkit.errors import RowError, TooManyRejectedError
from etlkit.rows.json_encoder import made_once
from etlkit.rows.json_rows import row_to_json

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.engine.chunk import Chunk
    from etlkit.rows.row import Row

log: logging.Logger = logging.getLogger("etlkit")

REJECTED = FullOutcome(())
"""The outcome of a rejected row: it is not staged among the others."""

DEFAULT_MAX_REJECTED = 0.05
"""More failed rows than this share are no accident of the data."""

_MAX_UNREAD = 1000
"""Rejected rows whose source rows wait to be decoded; they keep their chunks in memory."""

_as_json = made_once(json.JSONEncoder(ensure_ascii=False))

MIN_ROWS = 100
"""A share is taken of at least this many rows while the run is under way; the default one always."""

_DEVIATIONS = 3
"""While more rows come, a share may be too large by this many standard deviations: if 3 % of the rows
are bad, in random order, one run in twelve has more than five of them among its first hundred."""


class RowErrorHandler:
    """Skips or rejects failed rows, and keeps the rejected ones until they are written.

    Args:
        job: For its `on_row_error` and `max_rejected`.
        counts: Errors are counted here; how a row ended is counted by the caller.
    """

    def __init__(self, job: JobOptions, counts: Counts) -> None:
        self._job = job
        self._counts = counts
        self._rejected: list[RejectedRow] = []
        self._unread: list[tuple[RowError, Chunk, int]] = []
        self._allowed_before = 0.0

    def handle(self, error: RowError, chunk: Chunk, index: int) -> FullOutcome:
        """Give the outcome of a source row that failed; `index` counts from 0 in the chunk.

        Raises:
            RowError: `on_row_error` is `fail`.
            TooManyRejectedError: `max_rejected` is exceeded.
        """
        error = located(error, chunk, index)
        if not self._is_rejected(error):
            return SKIPPED
        self._unread.append((error, chunk, index))
        if len(self._unread) >= _MAX_UNREAD:
            self._read_sources()
        return REJECTED

    def reject_or_skip(self, error: RowError, row_id: str, source_row: Callable[[], Row]) -> bool:
        """Count a failed row, and keep it if `on_row_error` is `reject`.

        Returns:
            Whether it is rejected; else it is skipped.

        Raises:
            RowError: `on_row_error` is `fail`.
            TooManyRejectedError: `max_rejected` is exceeded.
        """
        is_rejected = self._is_rejected(error)
        if is_rejected:
            self._rejected.append(_rejected(error, row_id, source_row(), datetime.now(UTC)))
        return is_rejected

    def _is_rejected(self, error: RowError) -> bool:
        """Count a failed row; whether it is rejected, and not skipped."""
        if self._job.on_row_error == "fail":
            raise error
        kind = error_class(error)
        if kind not in self._counts.error_classes:
            log.debug("the first row error of class %s:", kind, exc_info=error)
        self._counts.add_error(error)
        self.check_max_rejected(is_over=False)
        return self._job.on_row_error == "reject"

    def take_rejected(self) -> list[RejectedRow]:
        """The rows rejected since the last call."""
        self._read_sources()
        rejected, self._rejected = self._rejected, []
        return rejected

    def _read_sources(self) -> None:
        """Decode the source rows of rejected rows, those of a chunk together."""
        unread, self._unread = self._unread, []
        now = datetime.now(UTC)
        for chunk, group in groupby(unread, itemgetter(1)):
            errors, _, indices = zip(*group, strict=True)
            for error, index, row in zip(errors, indices, chunk.source.rows(indices), strict=True):
                self._rejected.append(
                    _rejected(error, error.row_id or chunk.row_id(index), row, now)
                )

    def check_max_rejected(self, *, is_over: bool) -> None:
        """Stop a run in which too many rows fail.

        Args:
            is_over: Whether every row has its outcome. Before, a share is taken of at least `MIN_ROWS`,
                and what chance explains does not end the run.

        Raises:
            TooManyRejectedError: `max_rejected` is exceeded; names the most frequent classes of error.
        """
        bound, failed = self._job.max_rejected, self._counts.row_errors
        if bound is None or self._job.on_row_error == "fail":
            return
        if (
            not is_over and failed <= self._allowed_before
        ):  # as many rows are there as then, and more
            return
        shown, num_rows = str(bound), self._counts.read
        if isinstance(bound, str):
            bound, shown, num_rows = DEFAULT_MAX_REJECTED, "5 % by default", max(num_rows, MIN_ROWS)
        allowed = _allowed(bound, num_rows, is_over=is_over)
        if not is_over:
            self._allowed_before = allowed
        if failed > allowed:
            top = ", ".join(
                f"{name} {n:,}" for name, n in self._counts.error_classes.most_common(3)
            )
            first = self._counts.first_errors[0] if self._counts.first_errors else ""
            raise TooManyRejectedError(
                f"{number_of(failed, 'row')} failed, more than max_rejected ({shown}) allows; nothing "
                f"was published. Errors by class: {top}. The first one: {first}",
                stage="transform",
            )


def _allowed(bound: float, num_rows: int, *, is_over: bool) -> float:
    """How many of these rows may fail, by a count, or by a share (a float)."""
    if isinstance(bound, int):
        return bound
    if is_over:
        return bound * num_rows
    num_rows = max(num_rows, MIN_ROWS)
    return bound * num_rows + _DEVIATIONS * math.sqrt(num_rows * bound * (1 - bound))


def located(error: RowError, chunk: Chunk, index: int) -> RowError:
    """The error with row number and row id; `index` counts from 0 in the chunk.

    It is a copy if the object has been the error of another row.
    """
    row_id = chunk.row_id(index)
    own = error if error.row_id in {None, row_id} else error.of_no_row()
    return own.at_row(chunk.first_row_number + index, row_id)


def _rejected(error: RowError, row_id: str, source_row: Row, at: datetime) -> RejectedRow:
    code = getattr(error, "code", None)
    return RejectedRow(
        row_id=row_id,
        source_row=_as_json(row_to_json(source_row)),
        error_class=error_class(error),
        code=None if code is None else str(code),
        message=str(error),
        attempts=int(getattr(error, "attempts", 1)),
        at=at,
    )
