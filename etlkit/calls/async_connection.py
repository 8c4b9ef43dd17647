"""One connection of an event loop over HTTP/1.1, which llhttp reads."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from httptools import HttpParserError, HttpResponseParser

from etlkit.calls.connections import ENCODING_BYTES

_MAX_HEADER_BYTES: Final = 64 * 1024
_INTERIM: Final = range(100, 200)


class Broken(Exception):  # noqa: N818 - it says what is broken, and never leaves the pool
    """No answer came.

    Attributes:
        code: As in `RetryableError.code`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class AnswerHeaders(Mapping[str, str]):
    """Headers of an answer; the size of letters in names does not matter.

    Args:
        pairs: Names and values as they came.
    """

    __slots__ = ("_by_name", "_pairs")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self._by_name: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._values()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def has(self, name: bytes) -> bool:
        """Whether there is a header; its name in small letters."""
        return name in [each.lower() for each, _ in self._pairs]

    def _values(self) -> dict[str, str]:
        if self._by_name is None:
            self._by_name = {}
            for raw_name, raw_value in self._pairs:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                before = self._by_name.get(name)
                self._by_name[name] = value if before is None else f"{before}, {value}"
        return self._by_name


class Answer(NamedTuple):
    """A whole answer, its body as it came."""

    status: int
    headers: AnswerHeaders
    body: bytes


class Connection(asyncio.Protocol):
    """A connection that makes one request at a time.

    Args:
        loop: Its event loop.

    Attributes:
        answer: Of the request that was sent last.
        is_reusable: Whether another request can be sent.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Any = None
        self._begin()
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.is_reusable: bool = False

    def _begin(self) -> None:
        self._parser = HttpResponseParser(self)
        self._clear()

    def _clear(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._num_bytes = self._num_header_bytes = 0
        self._has_head = False

    def send(self, method: str, request: bytes, max_bytes: int | None) -> None:
        """Send a request; `answer` comes later.

        Args:
            method: Of the request.
            request: As it goes out.
            max_bytes: Of the body; see `HttpPool.send`.
        """
        self.answer = self._loop.create_future()
        self._is_bodiless = method in {"HEAD", "CONNECT"}
        self._most = None
        if max_bytes is not None:
            self._most = max_bytes + max_bytes // 1000 + ENCODING_BYTES
        self.is_reusable = False
        self._transport.write(request)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on over TLS."""
        self._begin()
        self._transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=host
        )

    def close(self) -> None:
        """End the connection, whatever is under way."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: Exception) -> None:
        """End the connection, and the request that is under way with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)
        self.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            if not self._is_bodiless:
                self.fail(Broken("reset"))
        if not self._has_head and self._num_header_bytes > _MAX_HEADER_BYTES:
            self.fail(Broken("reset"))

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self.is_reusable = False
        if self.answer.done():
            return
        if not self._has_head:
            self.answer.set_exception(Broken("reset"))
        elif self._has_length():
            self.answer.set_exception(Broken("truncated"))
        else:  # a body without a length ends with the connection
            self._complete()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Something comes. Nothing was asked for: an answer to that could be taken for another."""
        if self.answer.done():
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name, value))
        self._num_header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """All headers."""
        self._has_head = self._parser.get_status_code() not in _INTERIM
        if self._has_head and self._is_bodiless:
            self._complete()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, without chunks."""
        if self.answer.done():
            return
        self._pieces.append(piece)
        self._num_bytes += len(piece)
        if self._most is not None and self._num_bytes >= self._most:
            self._complete()
            self.close()

    def on_message_complete(self) -> None:
        """The end of the body."""
        if not self._has_head:  # "100 Continue" and the like: the answer is yet to come
            self._clear()
        elif not self.answer.done():
            self.is_reusable = self._parser.should_keep_alive()
            self._complete()

    def _complete(self) -> None:
        if not self.answer.done():
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            status = self._parser.get_status_code()
            self.answer.set_result(Answer(status, AnswerHeaders(self._headers), body))
        self._clear()

    def _has_length(self) -> bool:
        headers = AnswerHeaders(self._headers)
        return headers.has(b"content-length") or headers.has(b"transfer-encoding")
