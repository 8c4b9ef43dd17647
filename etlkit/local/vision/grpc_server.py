"""The local Vision over gRPC: `google.cloud.vision.v1.ImageAnnotator`, in plain text on loopback.

Messages stay bytes here; `VisionService` reads and writes them.

Source: https://cloud.google.com/vision/docs/reference/rpc/google.cloud.vision.v1
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from etlkit.local.vision.bad_request import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from etlkit.local.vision.service import VisionService

_SERVICE: Final = "/google.cloud.vision.v1.ImageAnnotator/"
_ANSWERED: Final = _SERVICE + "BatchAnnotateImages"

# Above the limit of the API itself, so that a request over that limit is refused with the API's
# message and not with gRPC's.
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

_logger = logging.getLogger(__name__)


async def start_grpc(
    service: VisionService, port: int = 0, *, interceptors: Sequence[Any] = ()
) -> tuple[Any, int]:
    """Start the gRPC server of the local Vision on the running event loop.

    Args:
        service: Answers the calls. The REST app may share it.
        port: On 127.0.0.1; 0 = any free port.
        interceptors: See each call first.

    Returns:
        The `grpc.aio.Server`, which the caller must stop, and its port.
    """
    import grpc

    server = grpc.aio.server(
        handlers=(_handlers(service),),
        interceptors=tuple(interceptors),
        options=(
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # without this a port in use would be shared without an error
        ),
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


def _handlers(service: VisionService) -> grpc.GenericRpcHandler:
    import grpc

    async def annotate(data: bytes, context: Any) -> bytes:
        try:
            return await service.annotate_proto(data)
        except BadRequestError as exc:
            code, message = grpc.StatusCode.INVALID_ARGUMENT, str(exc)
        except Exception:
            _logger.exception("A Vision call failed")
            code, message = grpc.StatusCode.INTERNAL, "Internal error encountered."
        await context.abort(code, message)
        raise AssertionError  # `abort` always raises

    async def refuse(data: bytes, context: Any) -> bytes:
        del data
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "The local Vision has only the method BatchAnnotateImages of "
            "google.cloud.vision.v1.ImageAnnotator.",
        )
        raise AssertionError  # `abort` always raises

    known = grpc.unary_unary_rpc_method_handler(annotate)
    other = grpc.unary_unary_rpc_method_handler(refuse)

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, handler_call_details: Any) -> Any:
            return known if handler_call_details.method == _ANSWERED else other

    return Handlers()
