"""`HttpClient`: JSON over HTTP, every attempt with a deadline, secrets never in a message."""

from __future__ import annotations

import functools
import http.client
import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from etlkit.calls.classify import from_http
from etlkit.calls.deadline import Deadline, WatchedHTTPConnection, WatchedHTTPSConnection
from etlkit.calls.retry import Caller, RetryPolicy, caller, running_caller
from etlkit.errors import ApiError, ConfigError, RetryableError, RowError

_MAX_IDLE = 64
_CONNECT_S = 10.0
_NO_REPEAT = urllib3.Retry(total=False, redirect=False)
_MAX_NO_JSON = 3
"""A 200 that is no JSON comes from a proxy or a portal on the way; they come and go."""


class HttpClient:
    """One connection pool to one service. Threads may share it.

    Every call goes through the run's retry layer for the service, see `etlkit.calls.retry.caller`.
    Redirects are not followed and cookies are not kept. `HTTPS_PROXY` and `NO_PROXY` apply.

    Args:
        base_url: `https://host`, without a path.
        service: The service's name, for messages; callers of one name share limits and health.
        headers: Sent with every call; keys belong here, never into a URL.
        retry: How long to try, unless the job says so; None = the defaults.
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
        self._pool, self._prefix = _pool(base_url)

    def post_json(self, path: str, body: Any, *, units: int = 1) -> Any:
        """Send a JSON document and give the answer's.

        Args:
            path: Starts with `/`.
            body: Anything JSON can hold.
            units: Billing units of the call. 0 = nobody bills or limits it.

        Returns:
            The parsed answer of a 2xx.

        Raises:
            ApiError: The service refused the call, or its answer is no JSON.
            CallFailedError: The call kept failing, and the service is well.
            OutageError: The service was down for too long.
        """
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        no_json = 0

        def attempt(timeout_s: float) -> Any:
            nonlocal no_json
            answer = self._send("POST", path, data, self._json_headers, timeout_s)
            try:
                return json.loads(answer)
            except ValueError:
                no_json += 1
                raise self._no_json(path, give_up=no_json >= _MAX_NO_JSON) from None

        return self._calls().call(attempt, units=units)

    def get_bytes(self, path: str, *, max_bytes: int, units: int = 1) -> bytes:
        """Fetch something.

        Args:
            path: Starts with `/`.
            max_bytes: More is not read.
            units: Billing units of the call. 0 = nobody bills or limits it.

        Returns:
            The body of a 2xx.

        Raises:
            RowError: It has more than `max_bytes`.
            ApiError: The service refused the call.
            CallFailedError: The call kept failing, and the service is well.
            OutageError: The service was down for too long.
        """

        def attempt(timeout_s: float) -> bytes:
            return self._send("GET", path, None, self._headers, timeout_s, max_bytes)

        return self._calls().call(attempt, units=units)

    def _calls(self) -> Caller:
        return self._caller or caller(self._service, self._retry)

    def _send(
        self,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        max_bytes: int | None = None,
    ) -> bytes:
        """One attempt: the body of a 2xx, or what the failure means."""
        what = path.partition("?")[0]
        with Deadline(timeout_s) as deadline:
            try:
                # The socket's own timeout is for systems where a shutdown does not wake a reader.
                timeout = urllib3.Timeout(connect=min(_CONNECT_S, timeout_s), read=timeout_s)
                response = self._pool.urlopen(
                    method,
                    self._prefix + path,
                    body=data,
                    headers=headers,
                    retries=_NO_REPEAT,
                    redirect=False,
                    assert_same_host=False,
                    timeout=timeout,
                    preload_content=max_bytes is None,
                )
                answer = response.data if max_bytes is None else _read(response, max_bytes)
            except (HTTPError, OSError) as error:
                if _is_certificate(error):
                    raise ApiError(
                        f"{self._service}: the server's certificate is not trusted; behind a proxy "
                        "of your own, name its authority in SSL_CERT_FILE",
                        service=self._service,
                    ) from None
                raise self._broken(error, what, timed_out=deadline.fired) from None
        if 200 <= response.status < 300:
            if deadline.fired:  # without a Content-Length, a cut answer looks like a whole one
                raise self._broken(TimeoutError(), what, timed_out=True)
            return answer
        raise from_http(response.status, response.headers, answer, self._service, what)

    def _broken(self, error: Exception, what: str, *, timed_out: bool) -> RetryableError:
        # Only the error's name: its text holds the URL and whatever is in it.
        if isinstance(error, (NewConnectionError, ConnectTimeoutError)):
            code, name = "unreachable", "no connection"
        elif timed_out or isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
            code, name = "timeout", "timeout"
        elif any(isinstance(each, http.client.IncompleteRead) for each in (error, *error.args)):
            code, name = "truncated", "the answer was cut off"
        else:
            code, name = "reset", type(error).__name__
        return RetryableError(f"{self._service}: {name} while calling {what}", code=code)

    def _no_json(self, path: str, *, give_up: bool) -> ApiError | RetryableError:
        message = (
            f"{self._service} answered {path.partition('?')[0]} with something that is not JSON"
        )
        if give_up:
            return ApiError(message, service=self._service, status=200)
        return RetryableError(message, status=200, code="not_json")

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    try:
        answer = response.read(max_bytes + 1)
        if len(answer) > max_bytes:
            response.close()
            raise RowError(f"the file is larger than {max_bytes:,} bytes")
        return answer
    finally:
        response.release_conn()


def _pool(base_url: str) -> tuple[urllib3.HTTPConnectionPool, str]:
    """A pool of watched connections, and what goes before a path in a request to it."""
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError("HttpClient(base_url=…): write https://host or http://host:port")
    options: dict[str, Any] = {"maxsize": _MAX_IDLE}
    if parts.scheme == "https":
        options["ssl_context"] = tls_context()
    proxy = None if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)
    manager = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
    pool = manager.connection_from_url(base_url)
    https = parts.scheme == "https"
    pool.ConnectionCls = WatchedHTTPSConnection if https else WatchedHTTPConnection
    origin = f"{parts.scheme}://{parts.netloc}" if proxy and not https else ""
    return pool, origin + parts.path.rstrip("/")


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse what could not be sent; the library below would show the value, and keys are values."""
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise ConfigError(
                f"HttpClient(headers=…): the value of {name} has a line break or another character "
                "that no header can hold; a key that was read from a file may need .strip()"
            )
    return headers


def _is_certificate(error: Exception) -> bool:
    return any(isinstance(arg, ssl.SSLCertVerificationError) for arg in error.args)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """What the system trusts, or `SSL_CERT_FILE`; read once a process."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:  # python.org's macOS builds know no authorities
        import certifi

        context.load_verify_locations(certifi.where())
    return context
