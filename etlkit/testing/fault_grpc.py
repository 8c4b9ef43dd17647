"""The gRPC side of a `FaultServer`: `ImageAnnotator.BatchAnnotateImages` in plain text on loopback."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any, Final, NoReturn

from etlkit.testing.fault_handler import FaultHandler
from etlkit.testing.fault_plan import Fault
from etlkit.testing.fault_vision import (
    STATUS_NAMES,
    Answer,
    Item,
    RefusedError,
    answers,
    message_of,
    refuse_too_large,
    refuse_too_many,
)

METHOD: Final = "/google.cloud.vision.v1.ImageAnnotator/BatchAnnotateImages"

# Above the API's own limit, so that the API's message refuses a large request.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

# How a client reports a broken connection. Breaking it here would also break all other calls on it, and
# the shares of a plan would be wrong.
BROKEN: Final = {
    "disconnect": "Socket closed",
    "reset": "Connection reset by peer",
    "html": "Received http2 header with status: {status}",
}

GRACE_S: Final = 5.0

# A call that hangs, or waits for its latency, holds a thread.
MAX_THREADS: Final = 256


class GrpcListener:
    """Listens on loopback, with a thread for each call in flight."""

    def __init__(self, fault_handler: FaultHandler, answer: Answer, latency_s: float) -> None:
        import grpc

        self._fault_handler, self._answer, self._latency_s = fault_handler, answer, latency_s
        self._lock = Lock()
        self._waiting: set[Event] = set()
        self._is_closing = False
        self._threads = ThreadPoolExecutor(MAX_THREADS, "etlkit-fault-grpc")
        self._server = grpc.server(
            self._threads,
            handlers=(handlers_of(self._call),),
            options=(
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ),
        )
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        """End all calls and threads."""
        # We end the calls first: gRPC would report cancelled calls on stderr, past any logger.
        with self._lock:
            self._is_closing = True
            for over in self._waiting:
                over.set()
        self._server.stop(grace=GRACE_S).wait()
        self._threads.shutdown()

    def _call(self, data: bytes, context: Any) -> bytes:
        with self._fault_handler.in_flight():
            try:
                items = decode(data)
            except RefusedError as exc:
                abort(context, Fault("status", status=400), str(exc))
            decision = self._fault_handler.decide([item.key for item in items])
            fault = decision.call
            self._wait(context, None if fault.kind in {"hang", "drip"} else self._latency_s)
            if fault.kind in BROKEN:
                message = BROKEN[fault.kind].format(status=fault.status)
                abort(context, Fault("status", status=503), message)
            if fault.kind == "status":
                abort(context, fault, message_of(fault.status))
            encoded = encode(answers(items, decision, self._answer))
            return encoded[: len(encoded) // 2] if fault.kind == "truncate" else encoded

    def _wait(self, context: Any, timeout_s: float | None) -> None:
        """Wait, but not longer than the client waits or this server runs."""
        over = Event()
        if not context.add_callback(over.set):
            return  # the client is gone already
        with self._lock:
            self._waiting.add(over)
            if self._is_closing:
                over.set()
        over.wait(timeout_s)
        with self._lock:
            self._waiting.discard(over)
        if self._is_closing:
            abort(context, Fault("status", status=503), BROKEN["disconnect"])


def handlers_of(call: Callable[[bytes, Any], bytes]) -> Any:
    """Leads calls of `METHOD` to a function of the request's bytes and the context."""
    import grpc

    handler = grpc.unary_unary_rpc_method_handler(call)

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, handler_call_details: Any) -> Any:
            return handler if handler_call_details.method == METHOD else None

    return Handlers()


def abort(context: Any, fault: Fault, message: str) -> NoReturn:
    """End the call with an error. All hints become `RetryInfo`, the only form that gRPC has."""
    import grpc

    code = getattr(grpc.StatusCode, STATUS_NAMES.get(fault.status, "UNKNOWN"))
    given = (fault.retry_info_s, fault.retry_after_s, fault.retry_after_date_s)
    hint_s = next((hint for hint in given if hint is not None), None)
    if hint_s is not None:
        context.set_trailing_metadata(_hint(code.value[0], message, hint_s))
    context.abort(code, message)
    raise AssertionError  # `abort` has raised already


def _hint(code: int, message: str, hint_s: float) -> tuple[tuple[str, bytes], ...]:
    from google.protobuf.duration_pb2 import Duration
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    delay = Duration()
    delay.FromNanoseconds(int(hint_s * 1e9))
    info = RetryInfo(retry_delay=delay)
    status = Status(code=code, message=message)
    status.details.add().Pack(info)
    return (
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
        ("grpc-status-details-bin", status.SerializeToString()),
    )


def decode(data: bytes) -> list[Item]:
    """The images of a `BatchAnnotateImagesRequest`.

    Raises:
        RefusedError: It is over a limit of the API.
    """
    from google.cloud.vision_v1.types import BatchAnnotateImagesRequest

    refuse_too_large(len(data))
    batch = BatchAnnotateImagesRequest.pb().FromString(data)
    items = []
    for request in batch.requests:
        source = request.image.source
        uri = source.image_uri or source.gcs_image_uri
        features = [int(feature.type_) for feature in request.features]
        items.append(Item.of(uri, request.image.content, features))
    refuse_too_many(items)
    return items


def encode(responses: list[dict[str, Any]]) -> bytes:
    """A `BatchAnnotateImagesResponse` of answers as JSON."""
    from google.cloud.vision_v1.types import BatchAnnotateImagesResponse
    from google.protobuf.json_format import ParseDict

    message = ParseDict({"responses": responses}, BatchAnnotateImagesResponse.pb()())
    return bytes(message.SerializeToString())
