"""What one process asks of BigQuery over REST and of a paid API: seen, held, answered in any order.

A `Gateway` stands between one process under test and the local server. It reads whole requests, so a
test can wait for "its publish", hold it, and do something else before it goes on.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self

MAX_WAIT_S = 60.0
"""Nothing here waits longer, whatever a test has forgotten to release."""

CALL_S = 0.002
"""What a call of the paid API takes, as a service does."""

When = Literal["before", "after"]
"""Before the request is let through; or after the server has answered, before it is passed on."""

_HOP_HEADERS = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_JOB_ID = re.compile(r'"jobId": ?"etlkit_\w+?_[0-9a-f]{8}_(?:\d+_)?(\w+?)(?:_[0-9a-f]{16})?"')
_TABLE = re.compile(r"(?:/tables/|\"tableId\": ?\")([a-z]+)_")


@dataclass(frozen=True)
class Request:
    """One request of the process.

    Attributes:
        number: 1 = the first one to BigQuery; calls of the paid API are counted apart.
        name: What it is for, without ids: `job publish`, `PATCH run`, `call`.
        body: Its body.
    """

    number: int
    name: str
    body: str


@dataclass
class Hold:
    """A point where a request waits.

    Attributes:
        name: Name of the requests that are meant; None = all of them.
        when: See `When`.
        number: The request of this number among those of that name, 1 = first.
        then: Called when the request is there, on the gateway's thread.
        drops: Whether the request, or its answer, is lost.
        reached: The request is there.
        released: It may go on.
    """

    name: str | None
    when: When
    number: int = 1
    then: Callable[[Request], None] | None = None
    drops: bool = False
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    seen: int = 0

    def meets(self, request: Request, when: When) -> bool:
        """Whether this request waits here."""
        if when != self.when or self.name not in {None, request.name}:
            return False
        if self.name is None and request.name == "call":
            return False
        self.seen += 1
        return self.seen == self.number


class Gateway:
    """A server on loopback for one process under test.

    Args:
        upstream: The local server's REST address; what follows host and port is left out.

    Attributes:
        requests: What has come, in order, calls of the paid API among them.
        address: `host:port`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removeprefix("http://").partition("/")[0]
        self.requests: list[Request] = []
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release_all()
        self._server.shutdown()
        self._server.server_close()

    def hold(
        self,
        name: str | None,
        when: When = "before",
        *,
        number: int = 1,
        then: Callable[[Request], None] | None = None,
        drops: bool = False,
    ) -> Hold:
        """Let a request wait; see `Hold`."""
        hold = Hold(name, when, number, then, drops)
        with self._lock:
            self._holds.append(hold)
        return hold

    def release_all(self) -> None:
        """Let everything go on, now and later."""
        with self._lock:
            holds, self._holds = self._holds, []
        for hold in holds:
            hold.released.set()

    def names(self) -> list[str]:
        """Names of the requests to BigQuery so far."""
        return [request.name for request in list(self.requests) if request.name != "call"]

    def calls(self) -> list[int]:
        """Keys of the calls of the paid API so far."""
        return [int(request.body) for request in list(self.requests) if request.name == "call"]

    def note(self, name: str, body: str) -> Request:
        """Number a request."""
        with self._lock:
            same = sum((each.name == "call") == (name == "call") for each in self.requests)
            request = Request(same + 1, name, body)
            self.requests.append(request)
        return request

    def pass_by(self, request: Request, when: When) -> None:
        """Return when the request may go on."""
        with self._lock:
            met = [hold for hold in self._holds if hold.meets(request, when)]
        for hold in met:
            if hold.then is not None:
                hold.then(request)
            hold.reached.set()
            if hold.drops:
                raise ConnectionAbortedError
            hold.released.wait(MAX_WAIT_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gateway = gateway

    def handle_error(self, *_: object) -> None:
        """Killed clients reset their connections: that is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _upstream: http.client.HTTPConnection | None = None

    def _pass_on(self) -> None:
        gateway = self.server.gateway
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/call":
            gateway.pass_by(gateway.note("call", body.decode()), "before")
            time.sleep(CALL_S)
            self._answer(200, {}, b"")
            return
        request = gateway.note(name_of(self.command, self.path, body.decode()), body.decode())
        gateway.pass_by(request, "before")
        status, headers, answer = self._ask(body)
        gateway.pass_by(request, "after")
        self._answer(status, headers, answer)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(
                self.server.gateway.upstream, timeout=MAX_WAIT_S
            )
        kept = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_HEADERS}
        self._upstream.request(self.command, self.path, body or None, kept)
        answer = self._upstream.getresponse()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_HEADERS}
        return answer.status, headers, answer.read()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != http.client.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass_on  # noqa: N815 - http.server's names

    def finish(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        super().finish()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def name_of(method: str, path: str, body: str) -> str:
    """What a request is for, without the ids of its run."""
    resource = path.partition("?")[0]
    if method == "POST" and resource.endswith("/jobs"):
        found = _JOB_ID.search(body)
        return f"job {found[1] if found else '?'}"
    if method == "POST" and resource.endswith("/queries"):
        words = json.loads(body)["query"].split()[:3]
        return f"query {' '.join(words)}"
    table = _TABLE.search(resource if "/tables/" in resource else body)
    what = table[1] if table else resource.rpartition("/")[2]
    return f"{method} {'jobs' if '/jobs/' in resource or '/queries/' in resource else what}"
