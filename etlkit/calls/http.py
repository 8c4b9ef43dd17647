"""`HttpClient`: JSON over HTTP, with a deadline for every attempt and no secrets in messages."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from etlkit.calls.classify import from_http
from etlkit.calls.connections import HttpPool
from etlkit.calls.retry import Caller, RetryPolicy, caller, running_caller
from etlkit.errors import ApiError, ConfigError, RetryableError, RowError

_MAX_IDLE = 64
_MAX_NO_JSON = 3
"""A 200 without JSON comes from a proxy or a portal on the way, and those come and go."""

_MAX_ERROR_BYTES = 64 * 1024
_LEAST_S = 0.001


@dataclass(frozen=True)
class HttpAnswer:
    """A whole answer.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers.
        body: Its body, decoded as `Content-Encoding` says.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """One connection pool to one service. Threads may share it.

    Every call goes through the run's retry layer for the service, see `etlkit.calls.retry.caller`.
    Redirects are not followed and cookies are not kept. Proxies and certificate authorities are those
    of the environment, see `HttpPool` and `tls_context`.

    Args:
        base_url: `https://host`, without a path.
        service: The service's name, for messages; callers of one name share limits and health.
        headers: Sent with every call; keys belong here, never into a URL.
        retry: How often and how long to try, unless the job says so; None = the defaults.
    """

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._service = service
        self._retry = retry
        self._caller = running_caller(service, retry)
        self._headers = {"User-Agent": "etlkit", **_checked(headers or {})}
        self._json_headers = {"Content-Type": "application/json", **self._headers}
        self._pool = HttpPool(_checked_url(base_url), service=service, max_idle=_MAX_IDLE)

    def post_json(self, path: str, body: Any, *, units: int = 1) -> Any:
        """Send a JSON document and return the JSON of the answer.

        Args:
            path: Starts with `/`.
            body: Anything JSON can hold.
            units: Billing units of the call; 0 = it is not billed and not rate-limited.

        Returns:
            The parsed answer of a 2xx.

        Raises:
            ApiError: The service refused the call, or its answer is not JSON.
            CallFailedError: The call kept failing, and the service is well.
            OutageError: The service was down for too long.
        """
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        no_json = 0

        def attempt(timeout_s: float) -> Any:
            nonlocal no_json
            status, headers, answer = self._pool.send(
                "POST", path, self._json_headers, data, timeout_s=timeout_s
            )
            if not 200 <= status < 300:
                raise from_http(status, headers, answer, self._service, _shown(path))
            try:
                return json.loads(answer)
            except ValueError:
                no_json += 1
                raise self._no_json(path, give_up=no_json >= _MAX_NO_JSON) from None

        return self._calls().call(attempt, units=units)

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        expect_status: Collection[int] | None = None,
        units: int = 1,
    ) -> HttpAnswer:
        """Make any request. It may reach the service more than once: an answer may get lost.

        Args:
            method: E.g. `PUT`.
            path: Starts with `/`.
            headers: Beside those of every call, or instead of them.
            body: None = no body.
            expect_status: Statuses that are returned; all others are errors. None = every 2xx.
            units: Billing units of the call; 0 = it is not billed and not rate-limited.

        Raises:
            ApiError: The service refused the call.
            CallFailedError: The call kept failing, and the service is well.
            OutageError: The service was down for too long.
        """
        sent = {**self._headers, **_checked(headers or {})}

        def attempt(timeout_s: float) -> HttpAnswer:
            status, answered, answer = self._pool.send(
                method, path, sent, body, timeout_s=timeout_s
            )
            is_success = 200 <= status < 300 if expect_status is None else status in expect_status
            if not is_success:
                raise from_http(status, answered, answer, self._service, _shown(path))
            return HttpAnswer(status, answered, answer)

        return self._calls().call(attempt, units=units)

    def get_bytes(self, path: str, *, max_bytes: int, units: int = 1) -> bytes:
        """Fetch something.

        Args:
            path: Starts with `/`.
            max_bytes: The largest body; more is not read.
            units: Billing units of the call; 0 = it is not billed and not rate-limited.

        Returns:
            The body of a 2xx.

        Raises:
            RowError: It has more than `max_bytes`.
            ApiError: The service refused the call.
            CallFailedError: The call kept failing, and the service is well.
            OutageError: The service was down for too long.
        """

        def attempt(timeout_s: float) -> bytes:
            ends_at = time.monotonic() + timeout_s
            with self._pool.open(path, self._headers, timeout_s=timeout_s) as stream:
                is_success = 200 <= stream.status < 300
                rest_s = max(ends_at - time.monotonic(), _LEAST_S)
                most = max_bytes + 1 if is_success else _MAX_ERROR_BYTES
                body = stream.read(most, rest_s, decode=True)
            if not is_success:
                raise from_http(stream.status, stream.headers, body, self._service, _shown(path))
            if len(body) > max_bytes:
                raise RowError(f"the file is larger than {max_bytes:,} bytes")
            return body

        return self._calls().call(attempt, units=units)

    def _calls(self) -> Caller:
        return self._caller or caller(self._service, self._retry)

    def _no_json(self, path: str, *, give_up: bool) -> ApiError | RetryableError:
        message = f"{self._service} answered {_shown(path)} with something that is not JSON"
        if give_up:
            return ApiError(message, service=self._service, status=200)
        return RetryableError(message, status=200, code="not_json")

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shown(path: str) -> str:
    return path.partition("?")[0]


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError("HttpClient(base_url=…): write https://host or http://host:port")
    return base_url


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Raise if a header cannot be sent: the library below would show its value, which may be a key."""
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise ConfigError(
                f"HttpClient(headers=…): the value of {name} has a line break or another character "
                "that no header can hold; a key that was read from a file may need .strip()"
            )
    return headers
