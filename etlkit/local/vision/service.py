"""The local Vision behind its two protocols: one set of models, limits and answers for both."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter, to_thread

from etlkit.local.buckets import Buckets
from etlkit.local.vision.annotator import Annotator
from etlkit.local.vision.proto_json import JsonRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from etlkit.local.vision.request import ImageRequest

# Source: https://cloud.google.com/vision/quotas (JSON request object size, read 2026-11). Over gRPC
# the real API says the same of the size of the message.
MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024


class VisionService:
    """Answers packed calls on one event loop, whichever protocol they came over.

    Args:
        buckets_root: `gs://bucket/x` is the file `bucket/x` under it; it need not be there yet.
    """

    def __init__(self, buckets_root: Path) -> None:
        self._annotator = Annotator(Buckets(buckets_root))
        # One image per core: more at once would not be faster, and would hold more decoded images.
        self._limiter = CapacityLimiter(os.cpu_count() or 1)

    async def annotate(self, images: Sequence[ImageRequest]) -> list[dict[str, Any]]:
        """One `AnnotateImageResponse` as JSON for each image, in order."""
        return await asyncio.gather(
            *(
                to_thread.run_sync(self._annotator.annotate, image, limiter=self._limiter)
                for image in images
            )
        )


def refuse_too_large(num_bytes: int) -> None:
    """Refuse a request over `MAX_REQUEST_BYTES`.

    Raises:
        JsonRequestError: It is larger.
    """
    if num_bytes > MAX_REQUEST_BYTES:
        raise JsonRequestError(
            f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes."
        )
