"""The reply to one row: `{"ok": …, "value": …, "error": …}`, as JSON text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from etlkit.api.outcomes import SKIPPED, Outcome, error_class, error_of, rows_of
from etlkit.api.user_errors import user_error_text
from etlkit.errors import EtlkitError, RetryableError, RowError, RowSchemaError
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.inference import infer_columns
from etlkit.rows.json_values import json_text
from etlkit.rows.refused import RefusedError
from etlkit.serving.values import to_json

if TYPE_CHECKING:
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

_MAX_MESSAGE_CHARS: Final = 1000
"""Of an error in a reply: every row of a batch may have one."""


class Envelope:
    """Writes replies.

    Args:
        source: The columns of the arguments: a row that keeps one keeps its type.
        output_schema: What the transform declares; None = the types of new keys follow their values.
    """

    def __init__(self, source: Sequence[Column], output_schema: Sequence[Column] | None) -> None:
        self._known = {column.name: column for column in source}
        self._declared = None if output_schema is None else tuple(output_schema)

    def reply(self, outcome: Outcome | BaseException) -> tuple[bytes, bool]:
        """The reply for what a row became, or for what ended the work at it.

        Returns:
            The JSON text, and whether it is final: asked again, the row itself would give the same.
        """
        error = outcome if isinstance(outcome, BaseException) else error_of(outcome)
        if error is None and not isinstance(outcome, BaseException):
            try:
                return _json(ok=True, value=self._value(outcome), error=None), True
            except RowError as refused:
                error = refused
            except RefusedError as refused:
                error = RowSchemaError(f"the row is no JSON: {refused}")
        return error_reply(error or outcome), isinstance(error, RowError)

    def _value(self, outcome: Outcome) -> Any:
        if outcome is SKIPPED:
            return None
        rows = [self._row(row) for row in rows_of(outcome)]
        return rows[0] if isinstance(outcome, dict) else rows

    def _row(self, row: Row) -> dict[str, Any]:
        """The row in JSON; its values are checked as they would be on their way into a table."""
        columns = self._declared or infer_columns([row], self._known)
        if not columns:
            return {}
        batch = RowEncoder(columns).encode([row])
        (stored,) = RowDecoder(columns).decode(batch).rows
        return {column.name: to_json(stored[column.name], column) for column in columns}


def error_reply(error: Any) -> bytes:
    """The reply for a row that failed. Neither keys nor values of the row are in it."""
    message = message_of(error)
    column = getattr(error, "column", None)
    code = getattr(error, "code", None) or getattr(error, "status", None)
    return failure(
        error_class(error) if isinstance(error, RowError) else type(error).__name__,
        None if code is None else str(code),
        message if column is None else f"column {column!r}: {message}",
        attempts=int(getattr(error, "attempts", 1)),
        is_retryable=isinstance(error, RetryableError),
    )


def message_of(error: BaseException) -> str:
    """What an error says, without how to resume a run: a service has none."""
    message = error.message if isinstance(error, EtlkitError) else user_error_text(error)
    return ". ".join(part for part in message.split(". ") if "--resume" not in part)


def failure(
    name: str, code: str | None, message: str, *, attempts: int = 0, is_retryable: bool = False
) -> bytes:
    """The reply for a row without a result.

    Args:
        name: The class of error, by which people filter.
        code: The provider's code, or one of the service's own; None = there is none.
        message: What happened and what to do; it is cut.
        attempts: Calls made for the row.
        is_retryable: Whether the row is not to blame, so that it may succeed later.
    """
    if len(message) > _MAX_MESSAGE_CHARS:
        message = f"{message[:_MAX_MESSAGE_CHARS]}…"
    error = {
        "class": name,
        "code": code,
        "message": message.encode("utf-8", "replace").decode(),
        "attempts": attempts,
        "retryable": is_retryable,
    }
    return _json(ok=False, value=None, error=error)


def _json(**reply: Any) -> bytes:
    return json_text(reply).encode()
