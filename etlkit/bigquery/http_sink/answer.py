"""What an API's answer says about the rows of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from etlkit.calls.reasons import in_one_line, reason_in, reason_of
from etlkit.errors import ApiError, ConfigError, JobError, RetryableError, without_keys
from etlkit.rows.json_values import json_text
from etlkit.rows.refused import RefusedError

if TYPE_CHECKING:
    from etlkit.rows.row import Row

ErrorsAt: TypeAlias = "str | Callable[[Any, list[Row]], Sequence[Any]] | None"
"""Where an answer has the errors of single rows: a path, or a function of answer and rows."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Of an answer; more is not read."""

_MAX_SHARED_BYTES: Final = 8 * 1024
"""Of an answer that is kept with each of several rows."""

_ENDS_RUN: Final = frozenset({401, 402, 403, 405, 406, 407, 415, 501, 505, 511})
"""Statuses that concern every request alike: keys, payment, method, content type, proxy."""

_PATH: Final = re.compile(r"(?P<list>[^\[\]]*)\[(?P<index>[^\[\]]*)\](?:\.(?P<error>[^\[\]]+))?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answer says about one row.

    Attributes:
        reason: Why it is refused; None = it is accepted.
        answer: What is kept of the answer, as JSON text; None = nothing.
        is_transient: Whether the row may be accepted later.
        code: The API's code for the row; None = the status says it.
    """

    reason: str | None = None
    answer: str | None = None
    is_transient: bool = False
    code: str | None = None


def check_errors_at(errors_at: ErrorsAt) -> None:
    """Raise if a path cannot be one.

    Raises:
        ConfigError: Shows the two forms.
    """
    if isinstance(errors_at, str) and not _PATH.fullmatch(errors_at):
        raise ConfigError(
            f"errors_at={errors_at!r}: write 'items[].error' for a list with one entry a row, or "
            "'errors[index].message' for a list of failed rows, each with its position"
        )


class AnswerReader:
    """Reads the answers of one API.

    Args:
        success: Statuses that mean accepted.
        errors_at: See `ErrorsAt`; None = an answer is about all its rows.
        keeps: Whether answers are kept.
        hide: Takes keys out of a text.
    """

    def __init__(
        self,
        success: Container[int],
        errors_at: ErrorsAt,
        *,
        keeps: bool,
        hide: Callable[[str], str] = without_keys,
    ) -> None:
        self._success = success
        self._errors_at = errors_at
        self._keeps = keeps
        self._hide = hide

    def is_success(self, status: int) -> bool:
        """Whether a status means accepted."""
        return status in self._success

    def refusal(self, status: int, body: bytes, service: str) -> str:
        """Why a request as a whole was refused.

        Raises:
            ApiError: Every request would be refused.
        """
        reason = self._hide(reason_in(body))
        if status in _ENDS_RUN or not (200 <= status < 300 or 400 <= status < 600):
            hint = {401: ": check the key", 403: ": the key may not do this"}.get(status, "")
            moved = ": the address has moved, write the new one" if 300 <= status < 400 else ""
            raise ApiError(
                f"{service} answered {status}{hint}{moved}" + (f" ({reason})" if reason else ""),
                service=service,
                status=status,
                reason=reason or None,
            )
        return reason

    def verdicts(self, body: bytes, num_rows: int, rows: Callable[[], list[Row]]) -> list[Verdict]:
        """What a successful answer says about each row.

        Args:
            body: Of the answer.
            num_rows: How many rows the request had.
            rows: Gives them, for a function of answer and rows.

        Raises:
            RetryableError: It should be JSON and is not: it may come from a proxy.
            JobError: It cannot be read as `errors_at` says.
        """
        parsed, is_json = _parsed(body)
        entries: Sequence[Any] | None = None
        found: Sequence[Any] = [None] * num_rows
        if self._errors_at is not None:
            if not is_json:
                raise RetryableError("the answer is not JSON", status=200, code="not_json")
            if callable(self._errors_at):
                found = self._ask(parsed, num_rows, rows)
            else:
                entries, found = _at(parsed, self._errors_at, num_rows)
        answers = self._kept(parsed, entries, num_rows) if self._keeps else [None] * num_rows
        return [self._verdict(each, kept) for each, kept in zip(found, answers, strict=True)]

    def _ask(self, parsed: Any, num_rows: int, rows: Callable[[], list[Row]]) -> Sequence[Any]:
        if not callable(self._errors_at):
            raise TypeError("errors_at is no function")
        try:
            found = list(self._errors_at(parsed, rows()))
        except Exception as error:
            raise JobError(
                f"HttpSink(errors_at=…) failed: {type(error).__name__}: {without_keys(str(error))}",
                stage="transform",
            ) from error
        if len(found) != num_rows:
            raise JobError(
                f"HttpSink(errors_at=…) gave {len(found)} results for {num_rows} rows: it gives one "
                "for each row, None for those that were accepted",
                stage="transform",
            )
        return found

    def _verdict(self, found: Any, kept: str | None) -> Verdict:
        if found is None or found is False:
            return Verdict(answer=kept)
        if isinstance(found, BaseException):
            code = getattr(found, "code", None) or getattr(found, "status", None)
            return Verdict(
                self._hide(in_one_line(str(found))) or "refused",
                kept,
                isinstance(found, RetryableError),
                None if code is None else str(code),
            )
        return Verdict(self._hide(reason_of(found)) or "refused", kept)

    def _kept(
        self, parsed: Any, entries: Sequence[Any] | None, num_rows: int
    ) -> Sequence[str | None]:
        if entries is None and num_rows > 1 and isinstance(parsed, list):
            entries = parsed
        if entries is not None and len(entries) == num_rows:
            return [_json(entry) for entry in entries]
        text = _json(parsed)
        if num_rows > 1 and text is not None and len(text.encode()) > _MAX_SHARED_BYTES:
            text = None
        return [text] * num_rows


def _parsed(body: bytes) -> tuple[Any, bool]:
    """The body as JSON or else as text, and whether it is JSON. One that was cut off is nothing."""
    if len(body) > MAX_ANSWER_BYTES:
        return None, False
    try:
        return json.loads(body), True
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace") or None, False


def _json(value: Any) -> str | None:
    """A JSON text that BigQuery stores; None = it cannot."""
    if value is None:
        return None
    try:
        return json_text(value)
    except RefusedError:
        return None


def _at(parsed: Any, path: str, num_rows: int) -> tuple[Sequence[Any] | None, Sequence[Any]]:
    """Entries with one for each row, if the path leads to such a list; and the errors of the rows."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ConfigError(f"errors_at={path!r} is no path")
    found = _dig(parsed, match["list"].rstrip("."))
    if not match["index"]:
        if not isinstance(found, list) or len(found) != num_rows:
            what = f"{len(found)} entries" if isinstance(found, list) else "no list"
            raise JobError(
                f"the answer has {what} at {path!r} for {num_rows} rows: what became of them is not "
                "known, so the run ends",
                stage="transform",
            )
        return found, [_error_in(entry, match["error"]) for entry in found]
    errors: list[Any] = [None] * num_rows
    for entry in found if isinstance(found, list) else ():
        at = _dig(entry, match["index"])
        if not isinstance(at, int) or not 0 <= at < num_rows:
            raise JobError(
                f"the answer names row {at!r} of {num_rows} at {path!r}: 0 is the first",
                stage="transform",
            )
        errors[at] = _error_in(entry, match["error"]) or entry
    return None, errors


def _error_in(entry: Any, path: str | None) -> Any:
    """The error in an entry; None = there is none."""
    return (entry if path is None else _dig(entry, path)) or None


def _dig(value: Any, path: str) -> Any:
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    return value
