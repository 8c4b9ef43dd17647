"""`AsyncHttpPool`: connections to one origin for the tasks of an event loop.

HTTP/1.1 as llhttp reads it (httptools), over the loop's own transports and TLS. Deadlines, proxies,
certificate authorities and the look-up of names follow the rules of `etlkit.calls.connections`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import DecodeError

from etlkit.calls import name_lookup
from etlkit.calls.async_connection import Answer, Broken, Connection
from etlkit.calls.classify import refused_by_proxy, untrusted
from etlkit.calls.connections import CONNECT_S, decoded, no_answer
from etlkit.calls.proxies import Proxy, proxy_for
from etlkit.calls.tls import tls_context
from etlkit.errors import ApiError, ConfigError, RetryableError

_SWEEP_S: Final = 0.05
"""How exact a deadline is: a timer for each request would cost more than reading its answer."""

_LEAST_S: Final = 0.001
"""A connection that nobody accepts is one that is not there, also when the attempt is over with it."""

_AS_IT_IS: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]+")
_SAFE: Final = "-._~!$&'()*+,;=:@/?%"
"""What stands in a path and a query as it is: https://www.rfc-editor.org/rfc/rfc3986#section-3.3"""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HAS_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_PROXY_REFUSES: Final = 407


class AsyncHttpPool:
    """Connections to one origin, for one event loop.

    As `HttpPool`: every request has a deadline, nothing is retried, and no redirect is followed.

    Args:
        origin: `https://host` or `http://host:port`.
        service: Who is called, for messages.
        max_idle: Connections that are kept open for later requests.
    """

    def __init__(self, origin: str, *, service: str, max_idle: int) -> None:
        self.origin = origin
        parts = urlsplit(origin)
        self._service = service
        self._max_idle = max_idle
        self._host = str(parts.hostname)
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._tls = tls_context() if parts.scheme == "https" else None
        self._proxy = proxy_for(parts)
        is_ipv6 = ":" in self._host
        self._address = f"[{self._host}]" if is_ipv6 else self._host.encode("idna").decode()
        authority = self._address if parts.port is None else f"{self._address}:{parts.port}"
        self._prefix, self._always = "", f"Host: {authority}\r\n"
        if self._proxy is not None and self._tls is None:  # it wants the whole address
            self._prefix = f"http://{authority}"
            self._always += _basic(self._proxy)
        self._last_headers: Mapping[str, str] = {}
        self._last_lines = self._lines({})
        self._idle: list[Connection] = []
        self._active: dict[Connection, float] = {}
        self._lookups: dict[tuple[str, int], asyncio.Future[list[str]]] = {}
        self._is_sweeping = False

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout_s: float,
        max_bytes: int | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Make one request and read the answer; see `HttpPool.send`."""
        ends_at = asyncio.get_running_loop().time() + timeout_s
        try:
            connection = self._idle_one() or await self._connected(ends_at)
            try:
                self._watch(connection, ends_at)
                connection.send(method, self._request(method, path, headers, body), max_bytes)
                answer = await connection.answer
            except BaseException:
                connection.close()
                raise
            finally:
                self._active.pop(connection, None)
        except (Broken, TimeoutError, OSError) as error:
            raise self._failure(error, path) from None
        if connection.is_reusable and len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()
        return answer.status, answer.headers, self._decoded(answer, path, max_bytes)

    def close(self) -> None:
        """Close the connections that are idle."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _idle_one(self) -> Connection | None:
        """An idle connection that the server has not closed; None = there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return None

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        target = path if _AS_IT_IS.fullmatch(path) else quote(path, safe=_SAFE)
        if headers is not self._last_headers:
            self._last_headers, self._last_lines = headers, self._lines(headers)
        length = ""
        if body is not None or method in _HAS_BODY:
            length = f"Content-Length: {len(body or b'')}\r\n"
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\n{self._last_lines}{length}\r\n"
        return head.encode("latin-1") + (body or b"")

    def _lines(self, headers: Mapping[str, str]) -> str:
        lines = [self._always, *(f"{name}: {value}\r\n" for name, value in headers.items())]
        if not any(name.lower() == "accept-encoding" for name in headers):
            lines.append("Accept-Encoding: identity\r\n")
        return "".join(lines)

    def _decoded(self, answer: Answer, path: str, max_bytes: int | None) -> bytes:
        if max_bytes is None and not answer.headers.has(b"content-encoding"):
            return answer.body
        try:
            return decoded(answer.body, answer.headers, max_bytes)
        except DecodeError:
            if 200 <= answer.status < 300:
                raise no_answer(self._service, path, "bad_encoding") from None
            return answer.body  # an error page is worth more than the header that is wrong about it

    def _watch(self, connection: Connection, ends_at: float) -> None:
        """End the connection when its time is over."""
        self._active[connection] = ends_at
        if not self._is_sweeping:
            self._is_sweeping = True
            asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection, ends_at in list(self._active.items()):
            if ends_at <= now:
                connection.fail(TimeoutError())
        self._is_sweeping = bool(self._active)
        if self._is_sweeping:
            loop.call_later(_SWEEP_S, self._sweep)

    async def _connected(self, ends_at: float) -> Connection:
        async with asyncio.timeout_at(ends_at):
            if self._proxy is None:
                connection = await self._connect(self._host, self._port, ends_at)
            else:
                connection = await self._connect_to_proxy(self._proxy, ends_at)
            return await _over_tls(connection, self._tls, self._host)

    async def _connect(self, host: str, port: int, ends_at: float) -> Connection:
        """A connection to the first address that can be reached."""
        loop = asyncio.get_running_loop()
        connect_at = min(loop.time() + CONNECT_S, ends_at - _LEAST_S)
        try:
            async with asyncio.timeout_at(connect_at):
                for address in await self._addresses(host, port):
                    with suppress(OSError):
                        _, connection = await loop.create_connection(
                            lambda: Connection(loop), address, port
                        )
                        return connection
        except TimeoutError:
            pass
        raise Broken("unreachable")

    async def _connect_to_proxy(self, proxy: Proxy, ends_at: float) -> Connection:
        """A connection to the proxy; or through it, where TLS follows."""
        parts = urlsplit(proxy.url)
        host, port = str(parts.hostname), parts.port or _DEFAULT_PORTS[parts.scheme]
        connection = await self._connect(host, port, ends_at)
        connection = await _over_tls(
            connection, tls_context() if parts.scheme == "https" else None, host
        )
        if self._tls is None:
            return connection
        where = f"{self._address}:{self._port}"
        head = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{_basic(proxy)}\r\n"
        connection.send("CONNECT", head.encode("latin-1"), None)
        try:
            self._check_tunnel((await connection.answer).status)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_tunnel(self, status: int) -> None:
        if status == _PROXY_REFUSES:
            raise refused_by_proxy(self._service)
        if not 200 <= status < 300:
            raise Broken("unreachable")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The host's addresses. Tasks that ask at the same time share one look-up."""
        if (lookup := self._lookups.get((host, port))) is None:
            thread = asyncio.to_thread(name_lookup.addresses_of, host, port, timeout_s=CONNECT_S)
            lookup = self._lookups[host, port] = asyncio.ensure_future(thread)
            lookup.add_done_callback(lambda _: self._lookups.pop((host, port), None))
        return await asyncio.shield(lookup)

    def _failure(self, error: Exception, path: str) -> ApiError | ConfigError | RetryableError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return untrusted(self._service)
        if isinstance(error, socket.gaierror):
            is_unknown = error.errno == socket.EAI_NONAME
            return no_answer(self._service, path, "unknown_host" if is_unknown else "unreachable")
        if isinstance(error, TimeoutError):
            return no_answer(self._service, path, "timeout")
        code = error.code if isinstance(error, Broken) else "reset"
        return no_answer(self._service, path, code, type(error).__name__)


async def _over_tls(connection: Connection, tls: ssl.SSLContext | None, host: str) -> Connection:
    """The connection, over TLS if there is a context."""
    if tls is not None:
        try:
            await connection.start_tls(tls, host)
        except BaseException:
            connection.close()
            raise
    return connection


def _basic(proxy: Proxy) -> str:
    if proxy.user is None:
        return ""
    made = urllib3.make_headers(proxy_basic_auth=proxy.user)
    return "".join(f"{name.title()}: {value}\r\n" for name, value in made.items())
