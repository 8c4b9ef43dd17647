"""A TCP proxy that breaks connections at chosen points, in front of the local server's ports.

It looks at bytes, not at time: a fault is armed when a request contains a marker, and strikes before
the request is let through, or once this many bytes of its answer have come. In HTTP/2 (gRPC) the answer
is looked for on the stream of the request. A fault strikes a bounded number of times and counts it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

MAX_WAIT_S = 60.0
"""Nothing here waits longer, whatever was forgotten to be released."""

_CHUNK_BYTES = 64 * 1024
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER_BYTES = 9
_DATA = 0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Fault:
    """What to break, where and how often.

    Attributes:
        marker: Bytes of a request, e.g. part of a job id or of a table's name.
        at: `request` = before the request is let through; `answer` = when its answer comes back.
        answer_bytes: The answer's bytes that still pass.
        do: `cut` resets both sides. `hold` lets nothing pass until `released` is set, or for `hold_s`;
            then all goes on. `call` calls `action`, and all goes on.
        times: How often it strikes at most.
        skip: How many matching requests it lets pass first.
        hold_s: A bound for `hold`.
        action: What `call` does, on the proxy's thread.
        met: How many matching requests came.
        struck: How often it has struck.
        striking: Set at the first strike.
        released: Ends a `hold`.
    """

    marker: bytes
    at: Literal["request", "answer"] = "answer"
    answer_bytes: int = 0
    do: Literal["cut", "hold", "call"] = "cut"
    times: int = 1
    skip: int = 0
    hold_s: float = MAX_WAIT_S
    action: Callable[[], None] | None = None
    met: int = 0
    struck: int = 0
    striking: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self) -> bool:
        """Take notice of a matching request; True = strike at this one."""
        with self._lock:
            self.met += 1
            return self.met > self.skip and self.struck < self.times

    def strike(self) -> bool:
        """Do it; True = the connection is to be cut."""
        with self._lock:
            if self.struck >= self.times:
                return False
            self.struck += 1
        self.striking.set()
        if self.do == "cut":
            return True
        if self.action is not None:
            self.action()
        if self.do == "hold":
            self.released.wait(self.hold_s)
        return False


class Proxy:
    """Forwards connections to a port of the local server.

    Args:
        upstream: `host:port`, with or without `http://` and a path.
        faults: What to break; may be extended while the proxy runs.
        http2: Whether the connections speak HTTP/2.
    """

    def __init__(self, upstream: str, faults: Sequence[Fault] = (), *, http2: bool = False) -> None:
        host, _, port = upstream.removeprefix("http://").partition("/")[0].partition(":")
        self._upstream = (host, int(port))
        self._http2 = http2
        self._open: set[_Connection] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.faults: list[Fault] = list(faults)
        self.num_connections: int = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: str = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="proxy-accept", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut everything and end."""
        self._closed = True
        for fault in self.faults:
            fault.released.set()
        self._listener.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.cut()

    def cut_all(self) -> None:
        """Cut every open connection; new ones are welcome."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream, timeout=MAX_WAIT_S)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, client, server, http2=self._http2)
            with self._lock:
                self._open.add(connection)
                self.num_connections += 1
            connection.start()

    def forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        with self._lock:
            self._open.discard(connection)


class _Connection:
    """One client's connection, a thread for each direction."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket, *, http2: bool
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._up: _Frames | _Plain = _Frames(_PREFACE) if http2 else _Plain()
        self._down: _Frames | _Plain = _Frames(b"") if http2 else _Plain()
        self._tails: dict[int, bytes] = {}
        self._armed: dict[int, list[_Armed]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        for work in (self._pump_up, self._pump_down):
            threading.Thread(target=work, name="proxy-pump", daemon=True).start()

    def cut(self) -> None:
        """Reset both sides."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other thread's recv
            with contextlib.suppress(OSError):
                end.close()
        self._proxy.forget(self)

    def _pump_up(self) -> None:
        self._pump(self._client, self._server, self._look_at_request)

    def _pump_down(self) -> None:
        self._pump(self._server, self._client, self._look_at_answer)

    def _pump(
        self, source: socket.socket, target: socket.socket, look: Callable[[bytes], bytes]
    ) -> None:
        try:
            while chunk := source.recv(_CHUNK_BYTES):
                passing = look(chunk)
                if passing:
                    target.sendall(passing)
                if len(passing) < len(chunk):
                    self.cut()
                    return
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self.cut()

    def _look_at_request(self, chunk: bytes) -> bytes:
        """What may pass of these bytes; less than all = cut then."""
        for stream, piece in self._up.feed(chunk):
            text = self._tails.get(stream, b"") + piece
            longest = 0
            for fault in self._proxy.faults:
                longest = max(longest, len(fault.marker))
                # A marker that ends in the part seen before has been met already.
                if (
                    text.find(fault.marker, max(0, len(text) - len(piece) - len(fault.marker) + 1))
                    < 0
                ):
                    continue
                if not fault.meet():
                    continue
                if fault.at == "request":
                    if fault.strike():
                        return b""
                    continue
                with self._lock:
                    self._armed.setdefault(stream, []).append(_Armed(fault, fault.answer_bytes))
            self._tails[stream] = text[-longest:] if longest else b""
        return chunk

    def _look_at_answer(self, chunk: bytes) -> bytes:
        for stream, piece in self._down.feed(chunk):
            with self._lock:
                armed = list(self._armed.get(stream, ()))
            for each in armed:
                each.left -= len(piece)
                if each.left >= 0:
                    continue
                with self._lock:
                    self._armed[stream].remove(each)
                if each.fault.strike():
                    return b""
        return chunk


@dataclass(eq=False)
class _Armed:
    fault: Fault
    left: int


class _Plain:
    """HTTP/1.1: whatever comes belongs to the one request in progress."""

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        yield 0, chunk


class _Frames:
    """HTTP/2: finds the DATA frames and their streams, also where a chunk ends within a frame."""

    def __init__(self, preface: bytes) -> None:
        self._skip = len(preface)
        self._header = b""
        self._left = 0
        self._stream: int | None = None

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Give stream and payload of each piece of a DATA frame."""
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        at = skipped
        while at < len(chunk):
            if self._left == 0:
                taken = chunk[at : at + _FRAME_HEADER_BYTES - len(self._header)]
                self._header += taken
                at += len(taken)
                if len(self._header) < _FRAME_HEADER_BYTES:
                    return
                self._left = int.from_bytes(self._header[:3], "big")
                number = int.from_bytes(self._header[5:], "big") & 0x7FFFFFFF
                self._stream = number if self._header[3] == _DATA else None
                self._header = b""
                continue
            piece = chunk[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if self._stream is not None:
                yield self._stream, piece
