"""A server that fails as planned, for tests of code that calls Vision or any JSON API.

```python
import requests

from etlkit.testing import FaultPlan, FaultServer

with FaultServer(FaultPlan.script(["503", "429 retry-after=1"])) as server:
    body = {
        "requests": [
            {
                "image": {"source": {"imageUri": "gs://photos/cat.jpg"}},
                "features": [{"type": "LABEL_DETECTION"}],
            }
        ]
    }
    url = server.url + "/v1/images:annotate"
    statuses = [requests.post(url, json=body, timeout=10).status_code for _ in range(3)]
    assert statuses == [503, 429, 200]
    assert server.calls_by_item == {"gs://photos/cat.jpg": 3}
```
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from etlkit.errors import ConfigError
from etlkit.testing import fault_vision as vision
from etlkit.testing.arguments import short
from etlkit.testing.fault_handler import Decision, FaultHandler
from etlkit.testing.fault_http import HttpListener, Reply
from etlkit.testing.fault_plan import FaultPlan

if TYPE_CHECKING:
    from etlkit.testing.fault_grpc import GrpcListener

_logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad Gateway</body></html>"


class FaultServer:
    """HTTP, and on first use gRPC, on free ports of loopback, in threads of this process.

    It serves Vision's `images:annotate` and `BatchAnnotateImages` with Vision's limits (16 images,
    10 MB), and your own JSON routes. Use it in a `with` block: its end also ends calls that hang.

    | Fault | Over HTTP | Over gRPC |
    |---|---|---|
    | status | Google's error body; hints as headers or details | its code; hints as `RetryInfo` |
    | hang | no byte until the client closes | no answer until the deadline |
    | disconnect | the end of the connection, without an answer | UNAVAILABLE, as a client reports it |
    | reset | half an answer, then RST | the same |
    | truncate | half an answer, then the end | a message cut in half |
    | html | 502 and a page | UNAVAILABLE |
    | drip | a byte now and then | no answer until the deadline |
    | item_error | that image's `error` | the same |

    It honours idempotency keys as web APIs do: a route is asked once for each key, and a later
    request with the key gets the same answer.

    Args:
        plan: What goes wrong; None = nothing.
        answer: One image's `AnnotateImageResponse` as JSON, given its `Item` (`key`, `uri`,
            `content`, `features`). It must not block. None = `label_of(item.key)` as a label, an
            object, or both, as requested.
        routes: JSON answers by path (`{"/v1/geocode": handler}`), given the parsed body of a POST,
            PUT, PATCH or DELETE; without a body the query's parameters as a dict of texts, or None. A
            tuple of status and JSON is an answer with another status than 200. They must not block.
            The whole body is one item; `item_error` is an HTTP error.
        item_key: Returns the key of the item in such a body; None = the body's digest.
        latency_s: Every answer begins this many seconds later.
        quota: Calls per window, e.g. `"1800/min"`; further calls get 429 with the time until the next
            window. None = no quota.
        outage_after: How many calls come before the outage.
        outage_s: How long every call is answered with 503; None = no outage.

    Attributes:
        url: `http://127.0.0.1:PORT`.
        accepted: What routes have answered with 2xx to an `Idempotency-Key`: by key, the parsed
            body.
        requests_by_key: How many requests came with each key, answered or not.
    """

    def __init__(
        self,
        plan: FaultPlan | None = None,
        *,
        answer: vision.Answer | None = None,
        routes: Mapping[str, Callable[[Any], Any]] | None = None,
        item_key: Callable[[Any], object] | None = None,
        latency_s: float = 0.0,
        quota: str | None = None,
        outage_after: int = 0,
        outage_s: float | None = None,
    ) -> None:
        if plan is not None and not isinstance(plan, FaultPlan):
            raise ConfigError(
                f"FaultServer({short(plan)}): give a plan, e.g. FaultPlan.script(['503'])"
            )
        self._fault_handler = FaultHandler(plan or FaultPlan.none(), quota, outage_after, outage_s)
        self._answer = answer or vision.default_answer
        self._routes = dict(routes or {})
        self._item_key = item_key
        self._latency_s = latency_s
        self.accepted: dict[str, Any] = {}
        self.requests_by_key: Counter[str] = Counter()
        self._answers: dict[str, Any] = {}
        self._lock = Lock()
        self._is_closed = False
        self._grpc: GrpcListener | None = None
        self._http = HttpListener(self._respond, self._fault_handler.in_flight, latency_s)
        self.url: str = f"http://127.0.0.1:{self._http.port}"

    @property
    def grpc_endpoint(self) -> str:
        """`127.0.0.1:PORT`, without TLS. Reading it starts the gRPC side."""
        from etlkit.testing.fault_grpc import GrpcListener

        with self._lock:
            if self._grpc is None:
                self._grpc = GrpcListener(self._fault_handler, self._answer, self._latency_s)
            return f"127.0.0.1:{self._grpc.port}"

    @property
    def calls(self) -> int:
        """Calls that arrived over both protocols, answered or not."""
        return self._fault_handler.calls

    @property
    def calls_by_item(self) -> Counter[str]:
        """How many calls had each item: by image address, `sha256:…` of the content, or `item_key`."""
        return self._fault_handler.snapshot(self._fault_handler.calls_by_item)

    @property
    def answers_by_item(self) -> Counter[str]:
        """How often each item was answered without an error."""
        return self._fault_handler.snapshot(self._fault_handler.answers_by_item)

    @property
    def faults(self) -> Counter[str]:
        """Faults that happened, by status (`"429"`), kind, `"quota"` or `"outage"`."""
        return self._fault_handler.snapshot(self._fault_handler.faults)

    @property
    def max_in_flight(self) -> int:
        """The most calls that were in flight at the same time."""
        return self._fault_handler.max_in_flight

    @staticmethod
    def label_of(key: str) -> str:
        """The label that the default answer gives for an item."""
        return vision.label_of(key)

    def go_down(self, seconds: float = float("inf")) -> None:
        """Answer every call with 503 for this many seconds, or until `come_up`."""
        self._fault_handler.go_down(seconds)

    def come_up(self) -> None:
        """End an outage."""
        self._fault_handler.come_up()

    def close(self) -> None:
        """Close all connections and end all threads. Counts stay readable. May be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._grpc is not None:
                self._grpc.close()
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The reply to one HTTP request, with its fault."""
        path, _, query = path.partition("?")
        handler = self._routes.get(path)
        is_vision = handler is None and path.startswith("/v1/") and path.endswith("images:annotate")
        if method not in (_METHODS if handler else {"POST"}) or not (handler or is_vision):
            known = ", ".join(["/v1/images:annotate", *self._routes])
            return _error(404, f"POST to one of: {known}.")
        try:
            if handler is None:
                return self._respond_vision(body)
            return self._route(handler, body, query, headers.get("idempotency-key"))
        except vision.RefusedError as exc:
            return _error(400, str(exc))
        except Exception:
            _logger.exception("the handler for %s failed", path)
            return _error(500, "The test's own handler raised; its traceback is in the log.")

    def _respond_vision(self, body: bytes) -> Reply:
        items = vision.read_items(body)
        decision = self._fault_handler.decide([item.key for item in items])

        def answer() -> Any:
            return {"responses": vision.answers(items, decision, self._answer)} if items else {}

        return _reply(decision, answer)

    def _route(
        self, handler: Callable[[Any], Any], body: bytes, query: str, key: str | None
    ) -> Reply:
        try:
            parsed = json.loads(body) if body else dict(parse_qsl(query)) or None
        except ValueError as exc:
            raise vision.RefusedError("Invalid JSON payload received.") from exc
        item = self._item_key(parsed) if self._item_key else vision.digest_key(body)
        decision = self._fault_handler.decide([str(item)])
        if key is not None:
            self.requests_by_key[key] += 1
        if decision.items:
            status = vision.http_status_of(decision.items[0])
            return _error(status, vision.message_of(status))
        return _reply(decision, lambda: self._ask_once(handler, parsed, key))

    def _ask_once(self, handler: Callable[[Any], Any], parsed: Any, key: str | None) -> Any:
        """The route's answer; the first one again for a key that has come before."""
        if key is None:
            return handler(parsed)
        if key not in self._answers:
            answer = self._answers[key] = handler(parsed)
            if not isinstance(answer, tuple) or 200 <= answer[0] < 300:
                self.accepted[key] = parsed
        return self._answers[key]


def _reply(decision: Decision, answer: Callable[[], Any]) -> Reply:
    fault = decision.call
    if fault.kind == "html":
        return Reply(fault.status, _HTML, content_type="text/html; charset=UTF-8", fault=fault)
    if fault.kind == "status":
        body = vision.error_body(fault.status, vision.message_of(fault.status), fault)
        return Reply(fault.status, body, vision.hint_headers(fault), fault=fault)
    answered = answer()
    status, parsed = answered if isinstance(answered, tuple) else (200, answered)
    return Reply(status, json.dumps(parsed).encode(), fault=fault)


def _error(status: int, message: str) -> Reply:
    return Reply(status, vision.error_body(status, message))
