"""How many images fit into one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from etlkit.vision.request import ImageRequest

T = TypeVar("T")

MAX_IMAGES: Final = 16
"""Source: https://cloud.google.com/vision/quotas (images per request)"""

MAX_CALL_BYTES: Final = 10 * 1024 * 1024
"""Source: https://cloud.google.com/vision/quotas (JSON request object size, 10 MB). The API refuses a
larger one: `Request payload size exceeds the limit: 10485760 bytes.`"""

MAX_IMAGE_BYTES: Final = 20 * 1024 * 1024
"""Source: https://cloud.google.com/vision/quotas (image file size)"""

_FRAME_BYTES: Final = len('{"requests": []}')
_SEPARATOR_BYTES: Final = len(", ")
_PROTO_FRAME_BYTES: Final = 32
"""Tags and lengths of one image's nested messages: 6 of them, at most 5 bytes each."""


def json_bytes(request: ImageRequest) -> int:
    """Bytes that an image takes in a JSON body. Base64 makes 4 bytes of 3."""
    text = json.dumps(request.json_without_content(), ensure_ascii=False)
    return len(text.encode()) + base64_bytes(request.content) + _SEPARATOR_BYTES


def indented_json_bytes(request: ImageRequest) -> int:
    """As `json_bytes`, for Google's REST transport, which indents the JSON that it sends."""
    text = json.dumps({"requests": [request.json_without_content()]}, ensure_ascii=True, indent=2)
    return len(text) + base64_bytes(request.content) + _SEPARATOR_BYTES


def proto_bytes(request: ImageRequest) -> int:
    """The most bytes that an image takes in a gRPC message: the file itself, and no names."""
    text = json.dumps(request.json_without_content(), ensure_ascii=False)
    return len(text.encode()) + len(request.content or b"") + _PROTO_FRAME_BYTES


def base64_bytes(content: bytes | None) -> int:
    """Length of `content` in base64."""
    return 0 if content is None else (len(content) + 2) // 3 * 4


def fits(size: int) -> bool:
    """Whether an image of this size can be sent at all."""
    return size + _FRAME_BYTES <= MAX_CALL_BYTES


def packs(items: Sequence[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Divide items into calls, in order: as many in each as the limits allow.

    Args:
        items: Each fits into a call by itself.
        size_of: Bytes of an item.
    """
    pack: list[T] = []
    used = _FRAME_BYTES
    for item in items:
        size = size_of(item)
        if pack and (len(pack) == MAX_IMAGES or used + size > MAX_CALL_BYTES):
            yield pack
            pack, used = [], _FRAME_BYTES
        pack.append(item)
        used += size
    if pack:
        yield pack
