"""The HTTP requests of a remote function: one POST per batch of rows.

Real BigQuery: https://cloud.google.com/bigquery/docs/remote-functions#input_format
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import socket
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3

from etlkit.calls.backoff import Backoff, BackoffPolicy
from etlkit.calls.classify import TRANSIENT_STATUS
from etlkit.errors import RetryableError
from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.extensions.statement_context import Running
from etlkit.local.bigquery.patches.work import location_of_job, stoppable

MAX_ATTEMPTS: Final = 20
"""Source: https://cloud.google.com/bigquery/docs/remote-functions#quotas-and-limits"""

MAX_ARGUMENTS_BYTES: Final = 5 * 1024 * 1024
MAX_RESPONSE_BYTES: Final = 15 * 1024 * 1024
_DEFAULT_ROWS: Final = 512
_PARALLEL: Final = 8
_TIMEOUT_S: Final = 300.0
"""BigQuery waits 20 minutes. The local one waits less, because it runs one statement at a time."""

_BACKOFF: Final = BackoffPolicy(
    max_attempts=MAX_ATTEMPTS, max_total_s=math.inf, first_wait_s=0.01, max_wait_s=0.1
)


class _Stoppable:
    """A connection that is cut off when its statement is stopped."""

    sock: socket.socket | None

    def getresponse(self) -> Any:
        """Wait for the answer."""
        with stoppable(lambda: cut_off(self.sock)):
            return super().getresponse()  # type: ignore[misc]


class _HttpConnection(_Stoppable, urllib3.connection.HTTPConnection):
    """One over HTTP."""


class _HttpsConnection(_Stoppable, urllib3.connection.HTTPSConnection):
    """One over HTTPS."""


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


def cut_off(sock: socket.socket | None) -> None:
    """End what another thread reads from a socket."""
    if sock is not None:
        with contextlib.suppress(OSError):  # it is closed already
            sock.shutdown(socket.SHUT_RDWR)


_pool: Final = urllib3.PoolManager(maxsize=_PARALLEL, retries=False)
_pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


@dataclass(frozen=True)
class Endpoint:
    """The endpoint that a remote function calls.

    Attributes:
        url: Its address, on loopback.
        context: The option `user_defined_context`.
        max_rows: The option `max_batching_rows`; 0 = the default of this module.
    """

    url: str
    context: dict[str, str] = field(default_factory=dict)
    max_rows: int = 0

    def call(self, rows: Sequence[list[Any]]) -> list[Any]:
        """Send the arguments of rows, and return one reply per row, in order.

        Raises:
            InvalidQueryError: The endpoint does not answer, answers with an error, or breaks the
                protocol.
        """
        batches = [*self._batches(rows)]
        if len(batches) == 1:
            return self._post(batches[0])
        with ThreadPoolExecutor(min(_PARALLEL, len(batches) or 1)) as threads:
            replies = [*threads.map(self._post, batches)]
        return [reply for batch in replies for reply in batch]

    def _batches(self, rows: Sequence[list[Any]]) -> Iterator[list[str]]:
        """Rows in JSON, as many per request as the limits on rows and bytes allow."""
        batch: list[str] = []
        num_bytes = 0
        for row in rows:
            text = json.dumps(row, ensure_ascii=False)
            size = len(text.encode())
            if size > MAX_ARGUMENTS_BYTES:
                raise api_errors.invalid(
                    f"The arguments of a row are {size:,} bytes for {self.url}; a remote function "
                    f"takes at most {MAX_ARGUMENTS_BYTES:,}"
                )
            is_full = len(batch) == (self.max_rows or _DEFAULT_ROWS)
            if batch and (is_full or num_bytes + size > MAX_ARGUMENTS_BYTES):
                yield batch
                batch, num_bytes = [], 0
            batch.append(text)
            num_bytes += size
        if batch:
            yield batch

    def _post(self, calls: list[str]) -> list[Any]:
        job = f"//bigquery.googleapis.com/projects/{Running.project}/jobs/"
        head: dict[str, Any] = {
            "requestId": str(uuid.uuid4()),
            "caller": f"{job}{Running.project}:{location_of_job() or 'US'}.{Running.job_id}",
            "sessionUser": Running.user,
        }
        if self.context:
            head["userDefinedContext"] = self.context
        body = f'{json.dumps(head)[:-1]}, "calls": [{", ".join(calls)}]}}'.encode()
        status, answer = self._send(body)
        parsed = _json(answer)
        if status != 200:
            message = parsed.get("errorMessage") if isinstance(parsed, dict) else None
            raise api_errors.invalid(
                f"Received response code {status} from endpoint {self.url}"
                + (f": {str(message)[:1024]}" if message else "")
            )
        replies = parsed.get("replies") if isinstance(parsed, dict) else None
        if not isinstance(replies, list):
            raise api_errors.invalid(
                f'The response of endpoint {self.url} is not a JSON object with "replies"'
            )
        if len(replies) != len(calls):
            raise api_errors.invalid(
                f"Endpoint {self.url} gave {len(replies)} replies to {len(calls)} calls; "
                "there must be one reply per call, in order"
            )
        return replies

    def _send(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the last answer, which may be an error."""
        answer = (0, b"")

        def attempt() -> None:
            nonlocal answer
            answer = self._send_once(body)
            if answer[0] in TRANSIENT_STATUS:
                raise RetryableError(f"{self.url} answered {answer[0]}", status=answer[0])

        try:
            Backoff("a remote function", _BACKOFF).call(attempt)
        except RetryableError as error:
            if error.status is None:
                raise api_errors.invalid(
                    f"Endpoint {self.url} did not answer in {MAX_ATTEMPTS} attempts: {error.code}"
                ) from error
        return answer

    def _send_once(self, body: bytes) -> tuple[int, bytes]:
        try:
            response = _pool.request(
                "POST",
                self.url,
                body=body,
                headers={"content-type": "application/json"},
                timeout=_TIMEOUT_S,
                redirect=False,
                preload_content=False,
            )
            with response:
                return response.status, self._read(response)
        except urllib3.exceptions.NewConnectionError as error:
            raise api_errors.invalid(f"No server listens at endpoint {self.url}") from error
        except urllib3.exceptions.HTTPError as error:
            name = type(error).__name__
            raise RetryableError(f"{self.url}: {name}", code=name) from error

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        sock = getattr(response.connection, "sock", None)
        with stoppable(lambda: cut_off(sock)):
            answer = response.read(MAX_RESPONSE_BYTES + 1)
        if len(answer) > MAX_RESPONSE_BYTES:
            response.close()
            raise api_errors.invalid(
                f"The response of endpoint {self.url} is larger than {MAX_RESPONSE_BYTES:,} "
                "bytes; a smaller max_batching_rows makes it smaller"
            )
        response.release_conn()
        return answer


def is_loopback(url: str) -> bool:
    """Whether a URL points to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"}:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _json(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        return None
