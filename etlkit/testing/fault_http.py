"""The HTTP side of a `FaultServer`: HTTP/1.1 on an event loop, down to the bytes of an answer.

Written by hand because no web framework can make these faults, and because a call must cost little: the
server shares the processor with the code under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Thread
from typing import Final

from etlkit.testing.fault_plan import OK, Fault

_HEAD_BYTES: Final = 64 * 1024
_LAST_TURNS: Final = 5

# RST instead of FIN when the socket is closed.
_LINGER_OFF: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """An answer, and the fault while it is sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    fault: Fault = OK

    def head(self) -> bytes:
        """Status line and headers."""
        lines = [
            f"HTTP/1.1 {self.status} {_phrase(self.status)}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


Respond = Callable[[str, str, Mapping[str, str], bytes], "Reply | Awaitable[Reply]"]
"""Method, path with its query, headers (names in lower case) and body to the reply, or to one that is
awaited."""


class HttpListener:
    """Listens on loopback in its own thread.

    Args:
        respond: Returns the reply to a request; called on the event loop.
        in_flight: Entered around each call.
        latency_s: Every answer begins this many seconds later.
    """

    def __init__(
        self,
        respond: Respond,
        in_flight: Callable[[], AbstractContextManager[None]],
        latency_s: float,
    ) -> None:
        self._respond, self._in_flight, self._latency_s = respond, in_flight, latency_s
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="etlkit-fault-http", daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_BYTES, backlog=512)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Close all connections and end the thread."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for _ in range(_LAST_TURNS):  # one that was accepted a moment ago begins in a later turn
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            # A transport reports its end to the protocol in the next turn of the loop.
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        try:
            with contextlib.suppress(
                ConnectionError,
                asyncio.IncompleteReadError,
                asyncio.LimitOverrunError,
                asyncio.CancelledError,
                ValueError,  # not HTTP
            ):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one call; False = the connection is closed."""
        method, path, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, headers)
        with self._in_flight():
            responded = self._respond(method, path, headers, body)
            reply = responded if isinstance(responded, Reply) else await responded
            if self._latency_s:
                await asyncio.sleep(self._latency_s)
            is_last = headers.get("connection", "").lower() == "close"
            return await _send(reply, reader, writer) and not is_last


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    headers = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, rest.partition(" ")[0], headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = bytearray()
    while size := int((await reader.readline()).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return bytes(body)


async def _send(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send a reply, or the part that the fault allows; False = the connection is closed."""
    kind, whole = reply.fault.kind, reply.head() + reply.body
    half = len(whole) - (len(reply.body) + 1) // 2
    if kind == "hang":
        await reader.read()  # ends when the client closes
        return False
    if kind == "disconnect":
        return False
    if kind == "drip":
        return await _drip(whole, reply.fault.every_s, writer)
    if kind in {"reset", "truncate"}:
        writer.write(whole[:half])
        await writer.drain()
        if kind == "reset":
            _reset(writer)
        return False
    writer.write(whole)
    await writer.drain()
    return True


async def _drip(whole: bytes, every_s: float, writer: asyncio.StreamWriter) -> bool:
    for at in range(len(whole)):
        if writer.is_closing():
            return False
        writer.write(whole[at : at + 1])
        await writer.drain()
        await asyncio.sleep(every_s)
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    writer.transport.abort()
