"""`FakeHttp`: a web API on this machine that a test writes as one function."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from etlkit.errors import ConfigError
from etlkit.testing.arguments import short
from etlkit.testing.fault_http import HttpListener, Reply

_logger = logging.getLogger("etlkit.testing")


@dataclass(frozen=True)
class FakeRequest:
    """What came to a `FakeHttp`.

    Attributes:
        method: E.g. `GET`.
        path: Decoded, without the query.
        params: The query's parameters; of a repeated one the last value.
        headers: Names in lower case.
        body: Empty = none came.
    """

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The body as JSON; None = there is none.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body) if self.body else None


class FakeHttp:
    """A server on loopback that answers what a function says. Use it in a `with` block.

    This one is for what an API says; `FaultServer` is for an API that fails.

    Args:
        handler: A function that gives the answer to a request: JSON, or `(status, JSON)`, or
            `(status, JSON, headers)`. Bytes or a text in the place of JSON are sent as they are; None =
            no content. An exception is answered with 501. It is called on one thread.

    Attributes:
        url: `http://127.0.0.1:PORT`.
        requests: All that came so far.

    Raises:
        ConfigError: The handler is no function.
    """

    def __init__(self, handler: Callable[[FakeRequest], Any]) -> None:
        if not callable(handler):
            raise ConfigError(
                f"FakeHttp({short(handler)}): give a function of the request, e.g. "
                "lambda request: {'name': 'Ada'}"
            )
        self._handler = handler
        self._lock = Lock()
        self._is_closed = False
        self.requests: list[FakeRequest] = []
        self._http = HttpListener(self._respond, nullcontext, 0.0)
        self.url: str = f"http://127.0.0.1:{self._http.port}"

    def close(self) -> None:
        """Close all connections. The requests stay readable. May be called twice."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _respond(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        path, _, query = target.partition("?")
        params = dict(parse_qsl(query, keep_blank_values=True))
        request = FakeRequest(method, unquote(path), params, headers, body)
        self.requests.append(request)
        try:
            return reply_of(self._handler(request))
        except Exception:
            _logger.exception("the handler of %s %s failed", method, path)
            # Not 500: clients take that for a fault that passes, and retry for minutes.
            return reply_of((501, "the test's own handler failed; its traceback is in the log"))


def reply_of(answer: Any) -> Reply:
    """What a handler of `FakeHttp` gives, as an answer over HTTP."""
    status, content, *more = answer if isinstance(answer, tuple) else (200, answer)
    headers = dict(more[0]) if more else {}
    kind = next(
        (headers.pop(name) for name in list(headers) if name.lower() == "content-type"), None
    )
    if content is None:
        return Reply(204 if status == 200 else status, b"", headers)
    if isinstance(content, (bytes, str)):
        sent = content.encode() if isinstance(content, str) else content
        default = (
            "text/plain; charset=UTF-8" if isinstance(content, str) else "application/octet-stream"
        )
        return Reply(status, sent, headers, kind or default)
    return Reply(status, json.dumps(content).encode(), headers, kind or "application/json")
