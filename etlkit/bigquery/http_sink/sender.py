"""Sends the items of one bundle: one request, or smaller ones where the API refuses it as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from etlkit.bigquery.http_sink.answer import MAX_ANSWER_BYTES, AnswerReader, Verdict
from etlkit.bigquery.http_sink.body import Body, rows_of
from etlkit.bigquery.http_sink.bundle import Item, ItemOutcome, halves, key_in_words, key_of
from etlkit.bigquery.http_sink.url import UrlTemplate
from etlkit.calls.classify import TRANSIENT_STATUS, from_http
from etlkit.errors import (
    ApiError,
    EtlkitError,
    RequestRefusedError,
    RetryableError,
    RowError,
)

if TYPE_CHECKING:
    from etlkit.calls.caller import Caller
    from etlkit.calls.connections import HttpPool
    from etlkit.rows.columns import Column

_MAX_NO_JSON: Final = 3
"""A 200 without JSON comes from a proxy or a portal on the way, and those come and go."""

_NO_CONTENT: Final = frozenset({204, 205})
"""Source: https://www.rfc-editor.org/rfc/rfc9110#status.204"""

Record: TypeAlias = Callable[[list[ItemOutcome]], None]
"""Takes the outcomes of one request."""


InFlight: TypeAlias = Callable[[], AbstractContextManager[Callable[[], None]]]
"""Entered around each attempt: waits until one more request may be in flight. What it gives is called
if the answer refuses a row: before the next request may begin."""


@dataclass(frozen=True)
class RequestFormat:
    """How rows become requests.

    Attributes:
        method: Of every request.
        url: Its address.
        headers: Of every request.
        body: Makes its body.
        idempotency_header: Which header has its key; None = no key is sent.
        idempotency_key: The key, with columns as `{name}`; None = one of run and rows.
    """

    method: str
    url: UrlTemplate
    headers: Mapping[str, str]
    body: Body
    idempotency_header: str | None
    idempotency_key: str | None = None

    def path(self, items: list[Item]) -> str:
        """Path and query of a request.

        Raises:
            RowSchemaError: A column of the address has no value.
        """
        if not self.url.columns:
            return self.url.path({})
        return self.url.path(json.loads(items[0].text))

    def headers_of(self, run_id: str, items: list[Item]) -> dict[str, str]:
        """The headers of a request with its idempotency key.

        Raises:
            RowSchemaError: The row has no value for the key.
        """
        if self.idempotency_header is None:
            return dict(self.headers)
        key = key_of(run_id, items)
        if self.idempotency_key is not None:
            key = key_in_words(self.idempotency_key, json.loads(items[0].text))
        return {**self.headers, self.idempotency_header: key}


class Sender:
    """Sends items, retries what may pass, and says what became of each. Threads may share it.

    Args:
        made: How requests are made.
        answers: Reads what comes back.
        pool: Connections to the API.
        caller: The retry layer.
        run_id: For the keys.
        check: Raises if no request may be made any more; called before each of them.

    Attributes:
        columns: Of the rows, for functions of them.
    """

    def __init__(
        self,
        made: RequestFormat,
        answers: AnswerReader,
        pool: HttpPool,
        caller: Caller,
        run_id: str,
        check: Callable[[], None],
    ) -> None:
        self._made = made
        self._answers = answers
        self._pool = pool
        self._caller = caller
        self._run_id = run_id
        self._check = check
        self.columns: tuple[Column, ...] = ()

    def send(self, items: list[Item], record: Record, in_flight: InFlight) -> None:
        """Send items until each has an outcome.

        A request that is refused as a whole is sent again in halves, so that the rows beside a bad one
        are accepted. One that kept failing is not: it may have been applied, and halves have other
        keys.

        Args:
            items: One bundle, in order.
            record: Called after each request that has settled items.
            in_flight: See `InFlight`.

        Raises:
            JobError: No row of the run can be sent.
            OutageError: The API was down for too long.
            Stopped: The run ends; items without an outcome may have been sent.
        """
        try:
            status, verdicts, attempts = self._exchange(items, in_flight)
        except RowError as error:
            status_or_none = _status_of(error)
            # Each has its own: the error of a row names the row.
            record([ItemOutcome(item, status_or_none, error=copy(error)) for item in items])
            return
        if isinstance(verdicts, str):
            if len(items) > 1:
                for half in halves(items):
                    self.send(half, record, in_flight)
                return
            verdicts = [Verdict(verdicts)]
        settled = [
            self._outcome(item, status, verdict, attempts)
            for item, verdict in zip(items, verdicts, strict=True)
            if not verdict.is_transient
        ]
        if settled:
            record(settled)
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict.is_transient:
                self.send([item], record, in_flight)

    def _outcome(self, item: Item, status: int, verdict: Verdict, attempts: int) -> ItemOutcome:
        if verdict.reason is None:
            return ItemOutcome(item, status, verdict.answer)
        reason = f": {verdict.reason}" if verdict.reason else ""
        error = RequestRefusedError(
            f"{self._caller.service} refused the row with {status}{reason}",
            code=verdict.code or str(status),
            attempts=attempts,
        )
        return ItemOutcome(item, status, error=error)

    def _exchange(
        self, items: list[Item], in_flight: InFlight
    ) -> tuple[int, list[Verdict] | str, int]:
        """Status, what the answer says about each item or why it refuses all of them, and attempts.

        Raises:
            RowError: The request cannot be made of the row, or kept failing.
        """
        path = self._made.path(items)
        body = self._made.body.bytes_of(items, self.columns)
        headers = self._made.headers_of(self._run_id, items)
        attempts = no_json = 0

        def attempt(timeout_s: float) -> tuple[int, list[Verdict] | str]:
            nonlocal attempts, no_json
            # Here and not around the call: one that waits for its retry, or for a service that is
            # down, must not keep out the one that finds out that it is back.
            with in_flight() as on_refused:
                self._check()
                attempts += 1
                status, answer_headers, answer = self._pool.send(
                    self._made.method,
                    path,
                    headers,
                    body,
                    timeout_s=timeout_s,
                    max_bytes=MAX_ANSWER_BYTES,
                )
                try:
                    verdicts = self._read(status, answer_headers, answer, items)
                except RetryableError as error:
                    no_json += error.code == "not_json"
                    if no_json < _MAX_NO_JSON:
                        raise
                    raise self._no_json() from None
                if _refuses(verdicts, items):
                    on_refused()
                return status, verdicts

        status, verdicts = self._caller.call(attempt)
        return status, verdicts, attempts

    def _read(
        self, status: int, headers: Mapping[str, str], answer: bytes, items: list[Item]
    ) -> list[Verdict] | str:
        if not self._answers.is_success(status):
            self._raise_transient(status, headers, answer)
            return self._answers.refusal(status, answer, self._caller.service)
        if status in _NO_CONTENT:  # there is nothing to read an error from
            return [Verdict()] * len(items)
        verdicts = self._answers.verdicts(answer, len(items), lambda: rows_of(items, self.columns))
        if len(items) == 1 and verdicts[0].is_transient:
            first = verdicts[0]
            raise RetryableError(f"{self._caller.service}: {first.reason}", code=first.code)
        return verdicts

    def _raise_transient(self, status: int, headers: Mapping[str, str], answer: bytes) -> None:
        error: EtlkitError = from_http(
            status, headers, answer, self._caller.service, self._made.url.shown
        )
        if status in TRANSIENT_STATUS or isinstance(error, RetryableError):
            raise error

    def _no_json(self) -> ApiError:
        return ApiError(
            f"{self._caller.service} answered with something that is not JSON; errors_at needs JSON",
            service=self._caller.service,
            status=200,
        )


def _refuses(verdicts: list[Verdict] | str, items: list[Item]) -> bool:
    """Whether an answer is the last word about a row, and it is no."""
    if isinstance(verdicts, str):  # of several rows, each half is asked for again
        return len(items) == 1
    return any(each.reason is not None and not each.is_transient for each in verdicts)


def _status_of(error: Any) -> int | None:
    """The status of the last answer, if there was one."""
    code = str(getattr(error, "code", None) or "")
    return int(code) if code.isdigit() else None
