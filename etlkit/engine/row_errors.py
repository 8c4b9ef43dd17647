"""What becomes of a row that failed: the job's `on_row_error` and `max_rejected`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from etlkit.api.outcomes import SKIPPED, Counts, Outcome, RejectedRow, error_class
from etlkit.errors import RowError, TooManyRejectedError
from etlkit.rows.json_rows import row_to_json

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.engine.prefetch import Chunk
    from etlkit.rows.row import Row

REJECTED = Outcome(())
"""Stands for a row that is put aside: it is not staged among the others."""

_FEW_ROWS = 100
"""A share of rejected rows means nothing before so many rows are read."""


class RowErrorPolicy:
    """Judges failed rows and keeps the rejected ones until they are taken.

    Args:
        job: For its `on_row_error` and `max_rejected`.
        counts: Errors are counted here; how a row ended is counted by the caller.
    """

    def __init__(self, job: TransferJob, counts: Counts) -> None:
        self._job = job
        self._counts = counts
        self._rejected: list[RejectedRow] = []

    def judge(self, error: RowError, chunk: Chunk, index: int) -> Outcome:
        """What a source row becomes that failed; `index` counts from 0 in the chunk.

        Raises:
            RowError: The policy is `fail`.
            TooManyRejectedError: `max_rejected` is passed.
        """
        error = located(error, chunk, index)
        aside = self.put_aside(error, chunk.row_id(index), lambda: chunk.source_row(index))
        return REJECTED if aside else SKIPPED

    def put_aside(self, error: RowError, row_id: str, source_row: Callable[[], Row]) -> bool:
        """Count a failed row, and keep it if the policy is `reject`.

        Returns:
            Whether it is rejected; else it is skipped.

        Raises:
            RowError: The policy is `fail`.
            TooManyRejectedError: `max_rejected` is passed.
        """
        if self._job.on_row_error == "fail":
            raise error
        self._counts.add_error(error)
        if self._job.on_row_error == "skip":
            return False
        self._rejected.append(_rejected(error, row_id, source_row()))
        self.refuse_too_many(few=_FEW_ROWS)
        return True

    def take_rejected(self) -> list[RejectedRow]:
        """The rows put aside since the last call."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def refuse_too_many(self, few: int) -> None:
        """Stop a run in which too much goes wrong.

        Args:
            few: A share is taken of at least so many rows.

        Raises:
            TooManyRejectedError: `max_rejected` is passed; has the most frequent classes of error.
        """
        allowed, rejected = self._job.max_rejected, self._counts.row_errors
        if allowed is None or self._job.on_row_error != "reject":
            return
        if isinstance(allowed, float):
            allowed *= max(self._counts.read, few)
        if rejected > allowed:
            top = ", ".join(
                f"{name} {n:,}" for name, n in self._counts.error_classes.most_common(3)
            )
            first = self._counts.first_errors[0] if self._counts.first_errors else ""
            raise TooManyRejectedError(
                f"{rejected:,} rows are rejected, more than max_rejected={self._job.max_rejected} "
                f"allows; nothing was published. Errors by class: {top}. The first one: {first}",
                stage="transform",
            )


def located(error: RowError, chunk: Chunk, index: int) -> RowError:
    """The error with row number and row id; `index` counts from 0 in the chunk."""
    return error.at_row(chunk.first_row_number + index, chunk.row_id(index))


def _rejected(error: RowError, row_id: str, source_row: Row) -> RejectedRow:
    code = getattr(error, "code", None)
    return RejectedRow(
        row_id=row_id,
        source_row=json.dumps(row_to_json(source_row), ensure_ascii=False),
        error_class=error_class(error),
        code=None if code is None else str(code),
        message=str(error),
        attempts=int(getattr(error, "attempts", 1)),
        at=datetime.now(UTC),
    )
