"""The service over HTTP: an ASGI application, and the server that runs it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
import signal
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from etlkit.errors import ConfigError, missing_packages
from etlkit.serving.remote_function import MAX_BODY_BYTES, RefusedRequestError

if TYPE_CHECKING:
    from etlkit.serving.remote_function import RemoteFunction

log: logging.Logger = logging.getLogger("etlkit.serving")

HEALTH: Final = "/health"
"""Not `/healthz`: https://cloud.google.com/run/docs/known-issues#ah"""

_JSON: Final = (b"content-type", b"application/json")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WebApp:
    """The ASGI application. `GET /health` says what the service does; each `POST` is a request.

    Args:
        function: Answers requests.
        hosts: The hosts that it may be called by, e.g. `127.0.0.1`; None = any.
    """

    def __init__(self, function: RemoteFunction, hosts: frozenset[str] | None = None) -> None:
        self._function = function
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """See the specification of ASGI."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            if scope["method"] == "GET":
                status, body = 200, json.dumps(self._function.health()).encode()
            else:
                status, body = 200, await self._answer(receive)
        except RefusedRequestError as refused:
            status, body = refused.status, refused.body
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _check(self, scope: Message) -> None:
        """Refuse what is no request of BigQuery: a web page of the user's browser, for instance."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] not in {"GET", "POST"}:
            raise RefusedRequestError(405, "BigQuery sends POST")
        if scope["method"] == "GET" and scope["path"] not in {"/", HEALTH}:
            raise RefusedRequestError(404, f"GET has {HEALTH}; BigQuery sends POST")
        if b"origin" in headers:
            raise RefusedRequestError(403, "web pages may not call this service")
        if self._hosts is not None and _host(headers.get(b"host", "")) not in self._hosts:
            raise RefusedRequestError(403, "the request is for another host")
        kind = headers.get(b"content-type", "")
        if scope["method"] == "POST" and "json" not in kind.lower():
            raise RefusedRequestError(415, "the request is no application/json")

    async def _answer(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                raise RefusedRequestError(
                    413, f"the request is larger than {MAX_BODY_BYTES:,} bytes"
                )
            if not message.get("more_body"):
                break
        # On threads: making rows of a large request takes a while, and others must not wait for it.
        batch = await asyncio.to_thread(self._function.start, bytes(body))
        await batch.wait_async()
        return await asyncio.to_thread(self._function.answer, batch)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: The address is not free, or not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Give another --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(function: RemoteFunction, listener: socket.socket, grace_s: float) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what has begun.

    Args:
        function: Answers requests; it is closed at the end.
        listener: Where requests come in.
        grace_s: How long rows at work may take at the end. Cloud Run waits 10 s.

    Raises:
        ConfigError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise missing_packages("uvicorn is not installed", "serve") from error

    class Server(uvicorn.Server):
        """Tells the function first that the end begins: rows that have not begun are not."""

        ends_at = math.inf

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            log.info("ending: rows at work have %.0f s to finish", grace_s)
            self.ends_at = time.monotonic() + grace_s
            function.drain()
            await super().shutdown(sockets)

    host = listener.getsockname()[0]
    hosts = frozenset({"localhost", "127.0.0.1", "::1", host}) if is_loopback(host) else None
    config = uvicorn.Config(
        WebApp(function, hosts),
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    # uvicorn raises the signal again when it has ended: by then it has done its work.
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    server = Server(config)
    try:
        server.run(sockets=[listener])
    finally:
        function.close(max(1.0, min(grace_s, server.ends_at - time.monotonic())))
        for each, handler in before.items():
            signal.signal(each, handler)


def _host(header: str) -> str:
    host = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    return host.strip("[]").lower()
