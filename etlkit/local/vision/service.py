"""The local Vision behind its two protocols: one set of models, limits and answers for both.

Google's message types take 0.3 s to import, so they are imported with the first call and do not
delay the start of the server.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter, to_thread

from etlkit.local.buckets import Buckets
from etlkit.local.vision.annotator import Annotator
from etlkit.local.vision.bad_request import BadRequestError
from etlkit.local.vision.request import image_requests

if TYPE_CHECKING:
    from pathlib import Path

# Source: https://cloud.google.com/vision/quotas (JSON request object size, read 2026-11). Over gRPC
# the real API applies the same limit to the size of the message.
MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024


class VisionService:
    """Answers calls of many images on one event loop, over REST and gRPC.

    Args:
        buckets_root: `gs://bucket/x` is the file `bucket/x` in this folder, which need not exist yet.
    """

    def __init__(self, buckets_root: Path) -> None:
        self._annotator = Annotator(Buckets(buckets_root))
        # One image per core: more at once would not be faster, and would hold more decoded images.
        self._limiter = CapacityLimiter(os.cpu_count() or 1)

    async def annotate_json(self, body: bytes) -> str:
        """Answer the body of an `images:annotate` request.

        Raises:
            BadRequestError: The request is refused as a whole.
        """
        responses = await self._annotate(await to_thread.run_sync(_read_json, body))
        return await to_thread.run_sync(_to_json, responses)

    async def annotate_proto(self, data: bytes) -> bytes:
        """Answer a serialized `BatchAnnotateImagesRequest`.

        Raises:
            BadRequestError: The request is refused as a whole.
        """
        refuse_too_large(len(data))
        responses = await self._annotate(await to_thread.run_sync(_read_proto, data))
        return await to_thread.run_sync(_to_proto, responses)

    async def _annotate(self, batch: Any) -> list[Any]:
        """One `AnnotateImageResponse` for each image, in order."""
        return await asyncio.gather(
            *(
                to_thread.run_sync(self._annotator.annotate, image, limiter=self._limiter)
                for image in image_requests(batch)
            )
        )


def refuse_too_large(num_bytes: int) -> None:
    """Raise if a request is larger than `MAX_REQUEST_BYTES`.

    Raises:
        BadRequestError: It is larger.
    """
    if num_bytes > MAX_REQUEST_BYTES:
        raise BadRequestError(f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")


def _read_json(body: bytes) -> Any:
    from etlkit.local.vision.request_json import read_batch

    return read_batch(body)


def _to_json(responses: list[Any]) -> str:
    from google.protobuf.json_format import MessageToJson

    from etlkit.local.vision import annotations

    return MessageToJson(annotations.batch(responses), indent=None)


def _read_proto(data: bytes) -> Any:
    from google.cloud.vision_v1.types import BatchAnnotateImagesRequest
    from google.protobuf.message import DecodeError

    try:
        return BatchAnnotateImagesRequest.pb().FromString(data)
    except DecodeError as exc:
        raise BadRequestError("Request is not a BatchAnnotateImagesRequest.") from exc


def _to_proto(responses: list[Any]) -> bytes:
    from etlkit.local.vision import annotations

    return bytes(annotations.batch(responses).SerializeToString())
