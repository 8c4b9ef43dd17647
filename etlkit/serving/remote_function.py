"""`RemoteFunction`: requests of BigQuery in, replies out, each row paid for once.

The contract: https://cloud.google.com/bigquery/docs/remote-functions#input_format
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from etlkit.calls.limits import as_rate_limit
from etlkit.engine.transform_spec import TransformSpec
from etlkit.errors import ConfigError, RowSchemaError, without_keys
from etlkit.serving.answers import Answers, BusyError, Pending
from etlkit.serving.envelope import Envelope, failure
from etlkit.serving.row_workers import RowWorkers
from etlkit.serving.signature import Signature

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.outcomes import Outcome
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit.serving")

MAX_ROW_BYTES: Final = 5_000_000
"""Of a row's arguments: https://cloud.google.com/bigquery/quotas#remote_function_limits"""

MAX_ANSWER_BYTES: Final = 15_000_000
"""Of a response; see there."""

MAX_TIMEOUT_S: Final = 1190.0
"""BigQuery waits 20 minutes for a response; see there."""

MAX_BODY_BYTES: Final = 32 * 2**20
"""Of a request, over HTTP/1: https://cloud.google.com/run/quotas#cloud_run_limits"""

_MAX_REFUSAL_CHARS: Final = 900
"""BigQuery shows messages of less than 1 KB."""

_UNLIMITED_ROWS: Final = 10_000
_SHARE_OF_TIMEOUT: Final = 0.8
_COLUMNS: Final = "columns"

Remember = Literal["query", "all"]


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """How the service behaves.

    Attributes:
        timeout_s: A response is sent after this many seconds, with an error for each row that has no
            result. Below the request timeout of the platform, and of BigQuery (20 minutes).
        max_waiting_rows: Rows that wait for a worker. A request that would make them more is answered
            with 429, and BigQuery sends it again later. None = as many as the job's rate allows within
            the timeout, or 10,000.
        max_waiting_bytes: The size of their arguments.
        remembered_rows: Replies that are kept, so that a row that comes again is not paid for again.
        remembered_bytes: Their size.
        remember: For whom: `query` = for requests of the same query, `all` = of all queries.
    """

    timeout_s: float = 270.0
    max_waiting_rows: int | None = None
    max_waiting_bytes: int = 64 * 2**20
    remembered_rows: int = 100_000
    remembered_bytes: int = 64 * 2**20
    remember: Remember = "query"

    def __post_init__(self) -> None:
        """Raise for wrong values.

        Raises:
            ConfigError: Says which.
        """
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise ConfigError(
                f"timeout_s={self.timeout_s:g}: it is above 0 and at most {MAX_TIMEOUT_S:g}, as "
                "BigQuery waits 20 minutes"
            )
        if self.remember not in {"query", "all"}:
            raise ConfigError(f"remember={self.remember!r}: it is 'query' or 'all'")
        for name in (
            "max_waiting_rows",
            "max_waiting_bytes",
            "remembered_rows",
            "remembered_bytes",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: it is 1 or more")


class RefusedRequestError(Exception):
    """A request that is answered with another status than 200. No row of it was begun.

    Attributes:
        status: 429 and 503 = BigQuery sends it again later; 400 = the query fails with the message.
        message: What is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message: str = without_keys(message)[:_MAX_REFUSAL_CHARS]

    @property
    def body(self) -> bytes:
        """The body of the response."""
        return json.dumps({"errorMessage": self.message}).encode()


class Batch:
    """The rows of one request.

    Attributes:
        rows: The reply of each, or what will have it.
        ends_at: When the response is due, as `time.monotonic` counts.
    """

    def __init__(self, ends_at: float) -> None:
        self.rows: list[Pending | bytes] = []
        self.ends_at = ends_at
        self._lock = threading.Lock()
        self._num_done = 0
        self._num_expected = math.inf
        self._is_done = threading.Event()
        self._awaited: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def row_done(self) -> None:
        """Called once for each row that had no reply."""
        with self._lock:
            self._num_done += 1
            self._notify()

    def expect(self, rows: list[Pending | bytes]) -> None:
        """Say which rows there are."""
        with self._lock:
            self.rows = rows
            self._num_expected = sum(isinstance(each, Pending) for each in rows)
            self._notify()

    def end(self) -> None:
        """Wait no longer."""
        with self._lock:
            self._num_expected = 0
            self._notify()

    def wait(self) -> None:
        """Return when all rows have a reply, or the response is due."""
        self._is_done.wait(max(0.0, self.ends_at - time.monotonic()))

    async def wait_async(self) -> None:
        """As `wait`, for an event loop."""
        event = asyncio.Event()
        with self._lock:
            self._awaited = asyncio.get_running_loop(), event
            self._notify()
        try:
            await asyncio.wait_for(event.wait(), max(0.0, self.ends_at - time.monotonic()))
        except TimeoutError:
            return

    def _notify(self) -> None:
        if self._num_done >= self._num_expected:
            self._is_done.set()
            if self._awaited is not None:
                loop, event = self._awaited
                with suppress(RuntimeError):  # it is closed: the response was sent without this row
                    loop.call_soon_threadsafe(event.set)


class RemoteFunction:
    """A job's transform as a remote function. Safe for threads.

    Args:
        job: For its transform, its retries, limits and caps. Its source and sink are not used.
        columns: The columns that the arguments are, in their order. Those that the transform does not
            read (`columns` of the Etl) are left out.
        options: How it behaves.

    Attributes:
        options: As given.
        spec: What is known of the transform.
        source: The columns, as given.
        signature: The arguments.
        output_schema: What the transform declares of the columns that it makes; None = nothing.

    Raises:
        ConfigError: The transform cannot be served, or reads other columns.
    """

    def __init__(
        self, job: TransferJob, columns: Sequence[Column], options: ServiceOptions | None = None
    ) -> None:
        self.options: ServiceOptions = options or ServiceOptions()
        self.spec: TransformSpec = TransformSpec(job)
        if self.spec.is_arrow:
            raise ConfigError(
                f"{self.spec.kind.__name__} has transform_arrow, which takes thousands of rows at "
                "once: a remote function gets few. Write transform_row or transform_batch"
            )
        read = self.spec.read_columns(tuple(columns))
        if not read:
            raise ConfigError("a remote function needs at least one column as an argument")
        self.source = tuple(columns)
        self.signature: Signature = Signature(read)
        declared = self.spec.output_schema
        if declared is not None and self.spec.columns is not None:
            passing = {column.name for column in columns} - {column.name for column in read}
            declared = tuple(column for column in declared if column.name not in passing)
        self.output_schema = declared
        self._envelope = Envelope(read, declared)
        self._answers = Answers(
            self.options.remembered_rows,
            self.options.remembered_bytes,
            self.options.max_waiting_rows or _rows_within(job, self.spec, self.options.timeout_s),
            self.options.max_waiting_bytes,
        )
        self._workers = RowWorkers(job, self.spec, self)
        self._lock = threading.Lock()
        self._batches: set[Batch] = set()
        self._is_draining = False
        self._num_requests = 0

    def start(self, body: bytes) -> Batch:
        """Take a request and begin its rows.

        Args:
            body: Of the request.

        Returns:
            The rows. Wait for it, then call `answer`.

        Raises:
            RefusedRequestError: It is not taken, and no row of it has begun.
        """
        request = _parsed(body)
        calls = self._checked(request)
        batch = Batch(time.monotonic() + self.options.timeout_s)
        with self._lock:
            if self._is_draining:
                raise RefusedRequestError(503, "the service is ending; send the request again")
            self._num_requests += 1
            self._batches.add(batch)
        try:
            rows, new = self._answers.claim(self._keyed(request, calls), batch.row_done)
        except BusyError:
            self._forget(batch)
            raise RefusedRequestError(
                429, f"{self._answers.num_waiting:,} rows wait for a worker: send the request later"
            ) from None
        batch.expect(rows)
        self._begin_new(new)
        return batch

    def answer(self, batch: Batch) -> bytes:
        """The body of the response: one reply per row.

        Raises:
            RefusedRequestError: The service is ending, and no row of the request has begun.
        """
        self._forget(batch)
        left = [each for each in batch.rows if isinstance(each, Pending) and each.reply is None]
        self._answers.leave(left, batch.row_done)
        has_begun = len(left) < len(batch.rows) or any(each.has_begun for each in left)
        if self._is_draining and not has_begun:
            raise RefusedRequestError(503, "the service is ending; send the request again")
        replies = [self._reply(each) for each in batch.rows]
        return b'{"replies":[' + b",".join(_bounded(replies)) + b"]}"

    def drain(self) -> None:
        """Take no more requests, and begin no more rows: those at work come to their end."""
        with self._lock:
            self._is_draining = True
            batches = list(self._batches)
        for batch in batches:
            rows = [each for each in batch.rows if isinstance(each, Pending)]
            if not any(each.has_begun for each in rows):
                batch.end()  # `answer` refuses it: nothing is paid for, and another instance takes it
                continue
            for pending in rows:
                if not pending.has_begun:
                    reply = self._unfinished(pending)
                    self._answers.finish(pending, reply, is_final=False, unless_begun=True)

    def close(self, timeout_s: float) -> None:
        """Drain, wait for the rows at work, and run `after_action` of each worker.

        Args:
            timeout_s: How long that may take.
        """
        self.drain()
        self._workers.close(timeout_s)

    def health(self) -> dict[str, Any]:
        """What the service does at the moment."""
        meter = self._workers.meter
        return {
            "status": "ending" if self._is_draining else "ok",
            "transform": self.spec.kind.__name__,
            "columns": self.signature.text,
            "requests": self._num_requests,
            "rows_waiting": self._answers.num_waiting,
            "rows_at_work": self._answers.num_at_work,
            "rows_remembered": len(self._answers),
            "calls": meter.calls,
            "retries": meter.retries,
        }

    def begin(self, pending: Pending) -> bool:
        """See `etlkit.serving.row_workers.Board`."""
        return not self._is_draining and self._answers.begin(pending)

    def settle(self, pending: Pending, outcome: Outcome | BaseException) -> None:
        """See `etlkit.serving.row_workers.Board`."""
        try:
            reply, is_final = self._envelope.reply(outcome)
        except Exception as error:  # nobody else would give the row a reply
            log.exception("the reply to a row cannot be written")
            reply, is_final = self._envelope.reply(error)
        self._answers.finish(pending, reply, is_final=is_final)

    def _checked(self, request: dict[str, Any]) -> list[list[Any]]:
        """The calls of a request.

        Raises:
            RefusedRequestError: They are not for this function.
        """
        calls = request.get("calls")
        if not isinstance(calls, list) or not all(isinstance(call, list) for call in calls):
            raise RefusedRequestError(400, 'the request has no "calls", a list of lists')
        context = request.get("userDefinedContext")
        told = context.get(_COLUMNS) if isinstance(context, dict) else None
        wanted = len(self.signature.columns)
        if told not in (None, self.signature.text) or any(len(call) != wanted for call in calls):
            given = told or f"{len(next(c for c in calls if len(c) != wanted))} arguments"
            raise RefusedRequestError(
                400,
                f"the function in BigQuery was created for {given}, and this service takes "
                f"{self.signature.text}: create the function again (etlkit serve --sql), or deploy the "
                "service again. No row has begun",
            )
        return calls

    def _keyed(
        self, request: dict[str, Any], calls: list[list[Any]]
    ) -> list[tuple[bytes, list[Any], int]]:
        """Key, arguments and size of each call: what makes two of them the same."""
        asks = "" if self.options.remember == "all" else _query_of(request)
        scope = json.dumps([asks, request.get("userDefinedContext")], sort_keys=True).encode()
        keyed = []
        for call in calls:
            text = json.dumps(call, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
            digest = hashlib.sha256(b"%d:%b%b" % (len(scope), scope, text)).digest()
            keyed.append((digest, call, len(text)))
        return keyed

    def _begin_new(self, new: Sequence[Pending]) -> None:
        """Give rows that nobody works on to the workers."""
        fitting = [each for each in new if each.size <= MAX_ROW_BYTES]
        for pending in new:
            if pending.size > MAX_ROW_BYTES:
                message = (
                    f"the arguments of the row are {pending.size:,} bytes, and a remote function takes "
                    f"{MAX_ROW_BYTES:,}"
                )
                self._answers.finish(
                    pending, failure("RowError", "too_large", message), is_final=True
                )
        ready = []
        rows = self.signature.rows([each.call for each in fitting])
        for pending, row in zip(fitting, rows, strict=True):
            if isinstance(row, RowSchemaError):
                self.settle(pending, row)
            else:
                pending.row = row
                ready.append(pending)
        self._workers.submit(ready)

    def _reply(self, row: Pending | bytes) -> bytes:
        if isinstance(row, bytes):
            return row
        return self._unfinished(row) if row.reply is None else row.reply

    def _unfinished(self, row: Pending) -> bytes:
        if self._is_draining:
            code, what = "shutdown", "the service ended before the row had a result"
        else:
            code, what = "deadline", f"the row had no result within {self.options.timeout_s:g} s"
        rest = (
            "; its call may be paid for, and this instance keeps its result for this query"
            if row.has_begun
            else "; it had not begun, so nothing was paid for it"
        )
        return failure("RetryableError", code, what + rest, is_retryable=True)

    def _forget(self, batch: Batch) -> None:
        with self._lock:
            self._batches.discard(batch)


def _rows_within(job: TransferJob, spec: TransformSpec, timeout_s: float) -> int:
    """How many rows the declared rate lets through before a response is due."""
    limit = as_rate_limit(job.rate_limit)
    if limit is None:
        return _UNLIMITED_ROWS
    of_a_call = spec.batch_size if spec.batched else 1
    of_a_unit = 1 / spec.units_per_row
    rows_per_s = limit.per_s * (of_a_call if limit.per == "call" else of_a_unit)
    return max(1, math.floor(rows_per_s * timeout_s * _SHARE_OF_TIMEOUT))


def _query_of(request: dict[str, Any]) -> str:
    """What tells a query from others. BigQuery sends `caller`; `requestId` differs by batch."""
    return str(request.get("caller") or request.get("requestId") or "")


def _parsed(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise RefusedRequestError(413, f"the request is larger than {MAX_BODY_BYTES:,} bytes")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise RefusedRequestError(400, "the request is no JSON object")
    return request


def _bounded(replies: list[bytes]) -> list[bytes]:
    """The replies, the largest of which give way to errors if all together are too large."""
    total = sum(map(len, replies)) + len(replies) + len(b'{"replies":[]}')
    if total <= MAX_ANSWER_BYTES:
        return replies
    bounded = list(replies)
    for index in sorted(range(len(replies)), key=lambda index: -len(replies[index])):
        message = (
            f"the reply to the row is {len(replies[index]):,} bytes, and BigQuery takes "
            f"{MAX_ANSWER_BYTES:,} for all rows of a request: give the function a smaller "
            "max_batching_rows, or let the transform return less"
        )
        bounded[index] = failure("RowError", "too_large", message, is_retryable=True)
        total += len(bounded[index]) - len(replies[index])
        if total <= MAX_ANSWER_BYTES:
            break
    return bounded
