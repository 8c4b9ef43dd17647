"""The gateway for Vision over gRPC: as the one for HTTP, in front of the local Vision or a fake."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

from etlkit.testing.fake_http import FakeRequest
from etlkit.testing.fault_grpc import (
    BROKEN,
    GRACE_S,
    MAX_MESSAGE_BYTES,
    MAX_THREADS,
    METHOD,
    abort,
    decode,
    encode,
    handlers_of,
)
from etlkit.testing.fault_plan import Fault
from etlkit.testing.fault_vision import Item, RefusedError, message_of
from etlkit.testing.proving.answers import Fake
from etlkit.testing.proving.bill import LOST_KINDS, Bill
from etlkit.testing.proving.gateway import LEAST_ANSWER_S

_UPSTREAM_S: Final = 60.0
_PASSED_ON: Final = frozenset({"authorization", "x-goog-api-key"})


class VisionGateway:
    """Listens on loopback, without TLS. Use it in a `with` block.

    Args:
        upstream: `host:port` of the Vision behind it, on this machine.
        bill: Counts, and decides what happens to each call.
        fake: Answers instead of the Vision behind; None = that one does.

    Attributes:
        address: `host:port`.
    """

    def __init__(self, upstream: str, bill: Bill, fake: Fake | None) -> None:
        import grpc

        self._bill, self._fake = bill, fake
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(upstream, options=options)
        self._ask = self._channel.unary_unary(METHOD)
        self._threads = ThreadPoolExecutor(MAX_THREADS, "etlkit-prove-vision")
        self._server = grpc.server(
            self._threads,
            handlers=(handlers_of(self._call),),
            options=(
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ),
        )
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self.address: str = f"127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=GRACE_S).wait()
        self._threads.shutdown()
        self._channel.close()

    def _call(self, data: bytes, context: Any) -> bytes:
        import grpc

        try:
            items = decode(data)
        except RefusedError as error:
            abort(context, Fault("status", status=400), str(error))
        arrival = self._bill.arrive([f"{item.key} {' '.join(item.features)}" for item in items])
        fault = arrival.fault
        if fault.kind in {"status", "html"}:
            status = Fault.parse("503") if fault.kind == "html" else fault
            abort(context, status, message_of(status.status))
        try:
            answer = self._answer(data, items, context)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        self._bill.paid(arrival)
        time.sleep(max(arrival.delay_s, LEAST_ANSWER_S))
        if fault.kind == "truncate":
            return answer[: len(answer) // 2]
        if fault.kind in LOST_KINDS:
            abort(context, Fault("status", status=503), BROKEN["reset"])
        return answer

    def _answer(self, data: bytes, items: list[Item], context: Any) -> bytes:
        if self._fake is None:
            metadata = [each for each in context.invocation_metadata() if each[0] in _PASSED_ON]
            answered: bytes = self._ask(data, timeout=_UPSTREAM_S, metadata=metadata)
            return answered
        body = _rest_body(items)
        path = "/v1/images:annotate"
        return encode(self._fake(FakeRequest("POST", path, {}, {}, body))["responses"])


def _rest_body(items: list[Item]) -> bytes:
    """The request as REST has it, which is what a fake is written for."""
    import base64
    import json

    requests: list[dict[str, Any]] = []
    for item in items:
        image: dict[str, Any] = {"source": {"imageUri": item.uri}}
        if not item.uri:
            image = {"content": base64.b64encode(item.content).decode()}
        features = [{"type": feature} for feature in item.features]
        requests.append({"image": image, "features": features})
    return json.dumps({"requests": requests}).encode()
