"""The HTTP that a remote function is: one POST for each batch of rows.

Real BigQuery: https://cloud.google.com/bigquery/docs/remote-functions#input_format
"""

from __future__ import annotations

import ipaddress
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.extensions.statement_context import Running

RETRIED: Final = frozenset({408, 429, 500, 503, 504})
MAX_ATTEMPTS: Final = 20
"""https://cloud.google.com/bigquery/docs/remote-functions#quotas-and-limits"""

MAX_ARGUMENTS_BYTES: Final = 5 * 1024 * 1024
MAX_RESPONSE_BYTES: Final = 15 * 1024 * 1024
_DEFAULT_ROWS: Final = 512
_PARALLEL: Final = 8
_TIMEOUT_S: Final = 300.0
"""BigQuery waits 20 minutes; nobody else can use the local one meanwhile."""

_FIRST_WAIT_S: Final = 0.01
_MAX_WAIT_S: Final = 0.1
_pool: Final = urllib3.PoolManager(maxsize=_PARALLEL, retries=False)


@dataclass(frozen=True)
class Endpoint:
    """What a remote function calls.

    Attributes:
        url: Where; on loopback.
        context: `user_defined_context`.
        max_rows: `max_batching_rows`; 0 = as many as suits us.
    """

    url: str
    context: dict[str, str] = field(default_factory=dict)
    max_rows: int = 0

    def call(self, rows: Sequence[list[Any]]) -> list[Any]:
        """The replies to the arguments of rows, in order.

        Raises:
            InvalidQueryError: The endpoint is not there, refuses, or breaks the contract.
        """
        batches = [*self._batches(rows)]
        if len(batches) == 1:
            return self._post(batches[0])
        with ThreadPoolExecutor(min(_PARALLEL, len(batches) or 1)) as threads:
            replies = [*threads.map(self._post, batches)]
        return [reply for batch in replies for reply in batch]

    def _batches(self, rows: Sequence[list[Any]]) -> Iterator[list[str]]:
        """Rows in JSON, so many in a request as rows and bytes allow."""
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
            "caller": f"{job}{Running.project}:US.{Running.job_id}",
            "sessionUser": Running.user,
        }
        if self.context:
            head["userDefinedContext"] = self.context
        body = f'{json.dumps(head)[:-1]}, "calls": [{", ".join(calls)}]}}'.encode()
        status, answer = self._send(body)
        told = _json(answer)
        if status != 200:
            message = told.get("errorMessage") if isinstance(told, dict) else None
            raise api_errors.invalid(
                f"Received response code {status} from endpoint {self.url}"
                + (f": {str(message)[:1024]}" if message else "")
            )
        replies = told.get("replies") if isinstance(told, dict) else None
        if not isinstance(replies, list):
            raise api_errors.invalid(
                f'The response of endpoint {self.url} is no JSON object with "replies"'
            )
        if len(replies) != len(calls):
            raise api_errors.invalid(
                f"Endpoint {self.url} gave {len(replies)} replies to {len(calls)} calls; "
                "there must be one for each, in order"
            )
        return replies

    def _send(self, body: bytes) -> tuple[int, bytes]:
        wait_s = _FIRST_WAIT_S
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                status, answer = self._send_once(body)
            except urllib3.exceptions.NewConnectionError as error:
                raise api_errors.invalid(f"Nobody listens at endpoint {self.url}") from error
            except urllib3.exceptions.HTTPError as error:
                status, answer = 0, type(error).__name__.encode()
            if status and status not in RETRIED:
                break
            if attempt < MAX_ATTEMPTS:
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, _MAX_WAIT_S)
        if not status:
            raise api_errors.invalid(
                f"Endpoint {self.url} did not answer in {MAX_ATTEMPTS} attempts: {answer.decode()}"
            )
        return status, answer

    def _send_once(self, body: bytes) -> tuple[int, bytes]:
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
            answer = response.read(MAX_RESPONSE_BYTES + 1)
            if len(answer) > MAX_RESPONSE_BYTES:
                response.close()
                raise api_errors.invalid(
                    f"The response of endpoint {self.url} is larger than {MAX_RESPONSE_BYTES:,} "
                    "bytes; a smaller max_batching_rows makes it smaller"
                )
            response.release_conn()
        return response.status, answer


def is_loopback(url: str) -> bool:
    """Whether a URL is one of this machine's own."""
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
