"""The HTTP stack: pools of connections with one rule for deadlines, one for TLS and one for proxies."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)

from etlkit.calls import deadline as deadlines
from etlkit.calls import name_lookup
from etlkit.calls.classify import is_refused_by_proxy, refused_by_proxy, untrusted
from etlkit.calls.deadline import Deadline
from etlkit.calls.proxies import Proxy, proxy_for
from etlkit.calls.tls import tls_context
from etlkit.errors import ApiError, ConfigError, RetryableError

CONNECT_S: Final = 10.0
_LEAST_S: Final = 0.001
_TOGETHER_BYTES: Final = 64 * 1024
_SHUTDOWN_WAKES: Final = sys.platform == "linux"
"""Whether a deadline ends every wait for a socket, so that it needs no timeout of its own."""

ENCODING_BYTES: Final = 1024
"""What an encoding may add to a body that it cannot make smaller, beside a thousandth."""

_NO_REPEAT: Final = urllib3.Retry(total=False, redirect=False)
"""Retries are the loop's task, and redirects are followed where it is known where they may lead."""


class HttpPool:
    """Connections to one origin. Threads may share it.

    Every request has a deadline. Certificates are checked by `tls_context`. The proxies of the
    environment (`proxy_for`) apply unless an address is given. Nothing is retried, and no redirect is
    followed.

    Args:
        origin: `https://host` or `http://host:port`; a path is put before every request's.
        service: Who is called, for messages.
        max_idle: Connections that are kept open for later requests.
        address: The IP address to connect to, instead of what the host's name leads to, and past
            any proxy; None = the host's.
    """

    def __init__(
        self, origin: str, *, service: str, max_idle: int = 1, address: str | None = None
    ) -> None:
        self.origin = origin
        parts = urlsplit(origin)
        self._service = service
        self._prefix = parts.path.rstrip("/")
        self._headers: dict[str, str] = {}
        is_secure = parts.scheme == "https"
        options: dict[str, Any] = {"maxsize": max_idle}
        if is_secure:
            options["ssl_context"] = tls_context()
        if address is None:
            proxy = proxy_for(parts)
            if proxy is not None and not is_secure:  # the proxy wants the whole address
                self._prefix = f"{parts.scheme}://{parts.netloc}{self._prefix}"
            self._pool = _manager(proxy, options).connection_from_url(origin)
        else:
            self._headers["Host"] = _host_header(parts)
            kind = urllib3.HTTPSConnectionPool if is_secure else urllib3.HTTPConnectionPool
            if is_secure:
                options["server_hostname"] = parts.hostname
            self._pool = kind(address, parts.port, **options)
        self._pool.ConnectionCls = _WatchedHTTPSConnection if is_secure else _WatchedHTTPConnection

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout_s: float,
        max_bytes: int | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Make one request and read the answer.

        Args:
            method: E.g. `POST`.
            path: Starts with `/`. What follows `?` is shown in no message.
            headers: Of the request.
            body: None = no body.
            timeout_s: From connecting to the last byte.
            max_bytes: Of the body. More is not read, and the connection is closed then; None = the
                whole body is read.

        Returns:
            Status, headers and body, without its `Content-Encoding`. A body that was not read to its
            end has one byte more than `max_bytes`. The body of an error whose `Content-Encoding` is
            wrong is as it came.

        Raises:
            RetryableError: No answer, only a part of one, or a success whose `Content-Encoding` is
                wrong (code `bad_encoding`).
            ApiError: The server's certificate is not trusted.
            ConfigError: A proxy lets nobody through without a password.
        """
        with Deadline(timeout_s) as deadline:
            try:
                response = self._urlopen(method, path, headers, body, timeout_s)
                raw = _read_at_most(response, max_bytes)
            except (HTTPError, OSError) as error:
                raise self._failure(error, path, is_late=deadline.fired) from None
            # Without a Content-Length, an answer that was cut off looks like a whole one.
            if deadline.fired:
                raise self._failure(TimeoutError(), path, is_late=True)
        try:
            data = decoded(raw, response.headers, max_bytes)
        except DecodeError as error:
            if 200 <= response.status < 300:
                raise self._failure(error, path, is_late=False) from None
            data = raw  # an error page is worth more than the header that is wrong about it
        return response.status, response.headers, data

    def open(self, path: str, headers: Mapping[str, str], *, timeout_s: float) -> HttpStream:
        """GET something and read its headers only.

        Args:
            path: As `send`.
            headers: Of the request.
            timeout_s: From connecting to the last header.

        Raises:
            RetryableError: No answer.
            ApiError: The server's certificate is not trusted.
            ConfigError: As `send`.
        """
        with Deadline(timeout_s) as deadline:
            try:
                response = self._urlopen("GET", path, headers, None, timeout_s)
            except (HTTPError, OSError) as error:
                raise self._failure(error, path, is_late=deadline.fired) from None
            if deadline.fired:  # headers that were cut off look like all of them
                response.close()
                raise self._failure(TimeoutError(), path, is_late=True)
            return HttpStream(self, path, response, deadline.sock)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.close()

    def _urlopen(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.urlopen(
            method,
            self._prefix + path,
            body=body,
            headers={**self._headers, **headers} if self._headers else headers,
            retries=_NO_REPEAT,
            redirect=False,
            assert_same_host=False,
            # The socket's own timeout is for connecting, and for systems where a shutdown does not
            # wake a reader; see `_Watched`.
            timeout=_timeout(timeout_s),
            preload_content=False,
        )

    def _failure(
        self, error: Exception, path: str, *, is_late: bool
    ) -> ApiError | ConfigError | RetryableError:
        # Only the error's name: its text contains the URL, and perhaps a key.
        if is_refused_by_proxy(error):
            return refused_by_proxy(self._service)
        if any(isinstance(each, ssl.SSLCertVerificationError) for each in error.args):
            return untrusted(self._service)
        code, causes = "reset", (error, *error.args)
        if isinstance(error, DecodeError):
            code = "bad_encoding"
        elif _is_unknown_host(error):
            code = "unknown_host"
        elif isinstance(error, (NewConnectionError, ConnectTimeoutError)):
            code = "unreachable"
        elif is_late or any(isinstance(each, _TIMEOUTS) for each in causes):
            code = "timeout"
        elif any(isinstance(each, http.client.IncompleteRead) for each in causes):
            code = "truncated"
        return no_answer(self._service, path, code, type(error).__name__)


_TIMEOUTS: Final = TimeoutError, urllib3.exceptions.TimeoutError
"""On a busy machine the socket's own may come first: urllib3 gives it as the cause of another error."""

_REASONS: Final = {
    "bad_encoding": "the answer is not encoded as its Content-Encoding says",
    "unknown_host": "there is no such host",
    "unreachable": "no connection",
    "timeout": "timeout",
    "truncated": "the answer was cut off",
}


def no_answer(service: str, path: str, code: str, other: str = "reset") -> RetryableError:
    """The error for an attempt that got no whole answer.

    Args:
        service: Who was called.
        path: What was called; what follows `?` is not shown.
        code: Why, one of `_REASONS` or `reset`.
        other: What to say of a `reset`.
    """
    reason = _REASONS.get(code, other)
    return RetryableError(f"{service}: {reason} while calling {path.partition('?')[0]}", code=code)


class HttpStream:
    """An answer whose body is read piece by piece, each with a deadline of its own.

    Args:
        pool: Where it came from.
        path: What was asked for.
        response: urllib3's.
        sock: What it is read from.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers.
    """

    def __init__(
        self, pool: HttpPool, path: str, response: urllib3.BaseHTTPResponse, sock: Any
    ) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._pool = pool
        self._path = path
        self._response = response
        self._sock = sock

    def read(self, num_bytes: int, timeout_s: float, *, decode: bool = False) -> bytes:
        """The next bytes; empty = the end.

        Args:
            num_bytes: At most this many; fewer only at the end.
            timeout_s: How long they may take.
            decode: Undo the answer's `Content-Encoding`.

        Raises:
            RetryableError: The connection broke, or it took too long.
        """
        with Deadline(timeout_s, self._sock) as deadline:
            try:
                piece = self._response.read(num_bytes, decode_content=decode)
            except (HTTPError, OSError) as error:
                raise self._pool._failure(  # noqa: SLF001 - its other half
                    error, self._path, is_late=deadline.fired
                ) from None
            if deadline.fired:
                raise self._pool._failure(TimeoutError(), self._path, is_late=True)  # noqa: SLF001
        return piece

    def close(self) -> None:
        """End the connection if the body was not read to its end; else keep it for the next request."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Watched(HTTPConnection):
    """Tells the deadline of its thread which socket is in use."""

    _unsent: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        sock = self._connected()
        if (deadline := deadlines.current()) is not None:
            # ssl takes the socket over before the handshake: only a copy can end that.
            deadline.handshake = sock.dup()
        return sock

    def _connected(self) -> socket.socket:
        """A socket to the first address that can be reached, in no more time than the attempt has.

        urllib3 would ask the resolver itself, for as long as that takes.
        """
        host, connect_s = self._dns_host, self.timeout
        try:
            found = name_lookup.addresses_of(host, self.port, timeout_s=_rest_s(connect_s))
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the resolver does not answer") from error
        except OSError as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(*error.args)
            raise NameResolutionError(self.host, self, reason) from reason
        try:
            for address in found[:-1]:
                self._dns_host, self.timeout = address, _rest_s(connect_s)
                with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                    return super()._new_conn()
            self._dns_host, self.timeout = found[-1], _rest_s(connect_s)
            return super()._new_conn()
        finally:
            self._dns_host, self.timeout = host, connect_s

    def connect(self) -> None:
        deadline = deadlines.current()
        try:
            super().connect()
        finally:
            if deadline is not None and deadline.handshake is not None:
                deadline.sock = self.sock
                copy, deadline.handshake = deadline.handshake, None
                copy.close()

    def request(self, *args: Any, **options: Any) -> None:
        if self.sock is not None and (deadline := deadlines.current()) is not None:
            deadline.sock = self.sock  # an idle connection is used again
        self._wait_for_deadline()
        self._unsent = []
        try:
            super().request(*args, **options)
            self._send_rest()
        finally:
            self._unsent = None

    def getresponse(self) -> Any:
        self._wait_for_deadline()
        return super().getresponse()

    def send(self, data: Any) -> None:
        """Headers and a small body in one piece: the least that sender, network and reader can do."""
        if self._unsent is None:
            super().send(data)
        elif isinstance(data, bytes) and len(data) <= _TOGETHER_BYTES:
            self._unsent.append(data)
        else:
            self._send_rest()
            super().send(data)

    def _send_rest(self) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent:
            super().send(b"".join(unsent))

    def _wait_for_deadline(self) -> None:
        """Wait in the system's own call, and not until the socket is ready and then in the call.

        That is half as many calls in which a thread gives the interpreter to others, and gets it back
        when it is its turn.
        """
        if _SHUTDOWN_WAKES and isinstance(self.sock, socket.socket) and deadlines.current():
            self.timeout = None


class _WatchedHTTPConnection(_Watched):
    """urllib3's connection, ended by a `Deadline`."""


class _WatchedHTTPSConnection(_Watched, HTTPSConnection):
    """The same over TLS."""


@lru_cache
def _timeout(timeout_s: float) -> urllib3.Timeout:
    """One for all requests of a service: it is checked when it is made, and copied for each."""
    return urllib3.Timeout(connect=min(CONNECT_S, timeout_s), read=timeout_s)


def _rest_s(connect_s: Any) -> float:
    """Seconds for connecting: no more than the attempt of this thread has left."""
    most = connect_s if isinstance(connect_s, (int, float)) else CONNECT_S
    deadline = deadlines.current()
    return most if deadline is None else max(min(most, deadline.at - time.monotonic()), _LEAST_S)


def _read_at_most(response: urllib3.BaseHTTPResponse, max_bytes: int | None) -> bytes:
    """The body as it came, up to a little more than `max_bytes`."""
    if max_bytes is None:
        return response.read(decode_content=False)
    most = max_bytes + max_bytes // 1000 + ENCODING_BYTES
    raw = b""
    while len(raw) < most:
        piece = response.read(most - len(raw), decode_content=False)
        if not piece:
            return raw  # and the connection is kept
        raw += piece
    response.close()
    return raw


def decoded(raw: bytes, headers: Mapping[str, str], max_bytes: int | None = None) -> bytes:
    """A body without its `Content-Encoding`.

    Args:
        raw: As it came.
        headers: Of the answer.
        max_bytes: The result has one byte more at most; None = it has any length.

    Raises:
        DecodeError: urllib3's; the body is not encoded so.
    """
    most = None if max_bytes is None else max_bytes + 1
    coding = headers.get("Content-Encoding")
    if not raw or coding is None:
        return raw if most is None else raw[:most]
    body = urllib3.HTTPResponse(
        io.BytesIO(raw), {"Content-Encoding": coding}, preload_content=False
    )
    return body.read(most, decode_content=True)


def _host_header(parts: SplitResult) -> str:
    host = str(parts.hostname)
    host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    return host if parts.port is None else f"{host}:{parts.port}"


def _manager(proxy: Proxy | None, options: dict[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**options)
    headers = None if proxy.user is None else urllib3.make_headers(proxy_basic_auth=proxy.user)
    if proxy.url.startswith("https:"):
        options = {**options, "proxy_ssl_context": tls_context()}
    return urllib3.ProxyManager(proxy.url, proxy_headers=headers, **options)


def _is_unknown_host(error: Exception) -> bool:
    cause = error.__cause__
    return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME
