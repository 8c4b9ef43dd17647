"""The local Vision over gRPC: `google.cloud.vision.v1.ImageAnnotator`, in plain text on loopback.

Requests are checked and answered by what the REST side uses too; only the coding differs. Messages
stay bytes until the first call: Google's types take a second to import, which the start of the
server would otherwise pay.

Source: https://cloud.google.com/vision/docs/reference/rpc/google.cloud.vision.v1
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from etlkit.local.vision.proto_json import JsonRequestError
from etlkit.local.vision.request import FEATURE_TYPES, image_requests
from etlkit.local.vision.service import refuse_too_large

if TYPE_CHECKING:
    import grpc

    from etlkit.local.vision.service import VisionService

_SERVICE: Final = "/google.cloud.vision.v1.ImageAnnotator/"
_ANSWERED: Final = _SERVICE + "BatchAnnotateImages"

# Above the limit of the API itself, so that a request over that limit is refused in the API's words
# and not in those of the transport.
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

_logger = logging.getLogger(__name__)


async def start_grpc(service: VisionService, port: int = 0) -> tuple[Any, int]:
    """Start the gRPC side of the stand-in on the running event loop.

    Args:
        service: What answers; the REST app may share it.
        port: On 127.0.0.1; 0 = a free one.

    Returns:
        The `grpc.aio.Server`, which the caller stops, and its port.
    """
    import grpc

    server = grpc.aio.server(
        handlers=(_handlers(service),),
        options=(
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # otherwise a taken port would be shared without an error
        ),
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


def _handlers(service: VisionService) -> grpc.GenericRpcHandler:
    import grpc

    async def annotate(data: bytes, context: Any) -> bytes:
        try:
            refuse_too_large(len(data))
            images = image_requests(await to_thread.run_sync(_decode, data))
            answers = await service.annotate(images)
            return await to_thread.run_sync(_encode, answers)
        except JsonRequestError as exc:
            code, message = grpc.StatusCode.INVALID_ARGUMENT, str(exc)
        except Exception:
            _logger.exception("a Vision call failed")
            code, message = grpc.StatusCode.INTERNAL, "Internal error encountered."
        await context.abort(code, message)
        raise AssertionError  # `abort` has raised already

    async def refuse(data: bytes, context: Any) -> bytes:
        del data
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "The local stand-in answers BatchAnnotateImages of "
            "google.cloud.vision.v1.ImageAnnotator, and no other method.",
        )
        raise AssertionError  # `abort` has raised already

    known = grpc.unary_unary_rpc_method_handler(annotate)
    other = grpc.unary_unary_rpc_method_handler(refuse)

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, handler_call_details: Any) -> Any:
            return known if handler_call_details.method == _ANSWERED else other

    return Handlers()


def _decode(data: bytes) -> list[dict[str, Any]]:
    """A `BatchAnnotateImagesRequest` in the form that `image_requests` takes.

    By hand, not over JSON: images would be turned into base64 and back.
    """
    from google.cloud.vision_v1.types import BatchAnnotateImagesRequest
    from google.protobuf.message import DecodeError

    try:
        batch = BatchAnnotateImagesRequest.pb().FromString(data)
    except DecodeError as exc:
        raise JsonRequestError("Request is not a BatchAnnotateImagesRequest.") from exc
    return [_request(request) for request in batch.requests]


def _request(request: Any) -> dict[str, Any]:
    image, source = request.image, request.image.source
    return {
        "image": {
            "content": image.content,
            "source": {"image_uri": source.image_uri, "gcs_image_uri": source.gcs_image_uri},
        },
        "features": [
            {"type": _feature_name(feature), "max_results": feature.max_results}
            for feature in request.features
        ],
        "image_context": {
            "crop_hints_params": {
                "aspect_ratios": list(request.image_context.crop_hints_params.aspect_ratios)
            }
        },
    }


def _feature_name(feature: Any) -> str:
    """The name of a feature's type; a number that has none stays a number, as over REST."""
    number = feature.type_
    return next((name for name, n in FEATURE_TYPES.items() if n == number), str(number))


def _encode(answers: list[dict[str, Any]]) -> bytes:
    from google.cloud.vision_v1.types import BatchAnnotateImagesResponse
    from google.protobuf.json_format import ParseDict

    message = ParseDict({"responses": answers}, BatchAnnotateImagesResponse.pb()())
    return bytes(message.SerializeToString())
