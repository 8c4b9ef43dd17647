"""Vision's API for a `FaultServer`: items in requests, answers, and errors with the API's messages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from etlkit.testing.fault_handler import Decision
    from etlkit.testing.fault_plan import Fault

# Source: https://cloud.google.com/vision/quotas (read 2026-11).
MAX_IMAGES: Final = 16
MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024

STATUS_NAMES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES: Final = {
    429: "Quota exceeded for quota metric 'Requests' of service 'vision.googleapis.com'.",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
    504: "Deadline exceeded.",
}
_ITEM_MESSAGES: Final = {
    3: "Bad image data.",
    8: "Resource exhausted.",
    13: "Internal error encountered.",
    14: "The service is currently unavailable.",
}
_URL_MESSAGES: Final = {
    7: "We're not allowed to access the URL on your behalf. Please download the content and pass "
    "it in.",
    14: "We can not access the URL currently. Please download the content and pass it in.",
}
_HTTP_OF_CODE: Final = {3: 400, 5: 404, 7: 403, 8: 429, 13: 500, 14: 503}

_FEATURES: Final = {
    1: "FACE_DETECTION",
    2: "LANDMARK_DETECTION",
    3: "LOGO_DETECTION",
    4: "LABEL_DETECTION",
    5: "TEXT_DETECTION",
    6: "SAFE_SEARCH_DETECTION",
    7: "IMAGE_PROPERTIES",
    9: "CROP_HINTS",
    10: "WEB_DETECTION",
    11: "DOCUMENT_TEXT_DETECTION",
    12: "PRODUCT_SEARCH",
    19: "OBJECT_LOCALIZATION",
}


class RefusedError(Exception):
    """A request that the real API refuses as a whole: 400, INVALID_ARGUMENT."""


@dataclass(frozen=True)
class Item:
    """One image of a call.

    Attributes:
        key: The address, or `sha256:` and the digest of the content.
        uri: `gs://…` or `http(s)://…`; "" = the request had the content.
        content: The image; b"" = it is at `uri`.
        features: What to look for, e.g. `("LABEL_DETECTION",)`.
    """

    key: str
    uri: str
    content: bytes
    features: tuple[str, ...]

    @classmethod
    def of(cls, uri: str, content: bytes, features: Sequence[str | int]) -> Item:
        """An image with its key."""
        names = tuple(_FEATURES.get(f, str(f)) if isinstance(f, int) else f for f in features)
        return cls(uri or digest_key(content), uri, content, names)


Answer = Callable[[Item], dict[str, Any]]


def digest_key(content: bytes) -> str:
    """The key of content that has no address."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def label_of(key: str) -> str:
    """The only right label of an item, made from its key, so that wrong answers are noticed."""
    return "label " + hashlib.sha256(key.encode()).hexdigest()[:12]


def default_answer(item: Item) -> dict[str, Any]:
    """An `AnnotateImageResponse` with `label_of` the item, as a label and as an object."""
    entity = {"mid": "/m/" + label_of(item.key)[-6:], "score": 0.75}
    box = [{}, {"x": 1.0}, {"x": 1.0, "y": 1.0}, {"y": 1.0}]
    answer: dict[str, Any] = {}
    if "LABEL_DETECTION" in item.features:
        label = {**entity, "description": label_of(item.key), "topicality": 0.75}
        answer["labelAnnotations"] = [label]
    if "OBJECT_LOCALIZATION" in item.features:
        found = {**entity, "name": label_of(item.key)}
        answer["localizedObjectAnnotations"] = [
            {**found, "boundingPoly": {"normalizedVertices": box}}
        ]
    return answer


def read_items(body: bytes) -> list[Item]:
    """The images of an `images:annotate` body.

    Raises:
        RefusedError: The body is invalid or over a limit of the API.
    """
    refuse_too_large(len(body))
    try:
        requests = (json.loads(body) if body else {}).get("requests") or []
        items = [_item(request) for request in requests]
    except (ValueError, TypeError, AttributeError, KeyError, binascii.Error) as exc:
        raise RefusedError("Invalid JSON payload received.") from exc
    refuse_too_many(items)
    return items


def _item(request: Mapping[str, Any]) -> Item:
    image = request["image"]
    source = image.get("source", {})
    names = ("imageUri", "gcsImageUri", "image_uri", "gcs_image_uri")
    uri = next((source[name] for name in names if source.get(name)), "")
    content = base64.b64decode(image.get("content", ""), validate=True)
    return Item.of(uri, content, [feature["type"] for feature in request["features"]])


def refuse_too_large(num_bytes: int) -> None:
    """Raise if a request is larger than `MAX_REQUEST_BYTES`."""
    if num_bytes > MAX_REQUEST_BYTES:
        raise RefusedError(f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")


def refuse_too_many(items: Sequence[Item]) -> None:
    """Raise if there are more than `MAX_IMAGES`, or one has no image or no features."""
    if len(items) > MAX_IMAGES:
        raise RefusedError("Too many images per request.")
    if not all((item.uri or item.content) and item.features for item in items):
        raise RefusedError("Request must specify image and features.")


def answers(items: Sequence[Item], decision: Decision, answer: Answer) -> list[dict[str, Any]]:
    """One answer per item, in order. Items that fail have an `error`."""
    return [
        _item_error(item, decision.items[at]) if at in decision.items else answer(item)
        for at, item in enumerate(items)
    ]


def _item_error(item: Item, fault: Fault) -> dict[str, Any]:
    words = _URL_MESSAGES if item.uri.startswith(("http://", "https://")) else {}
    message = words.get(fault.code) or _ITEM_MESSAGES.get(fault.code)
    message = message or f"Error opening file: {item.uri}."
    return {"error": {"code": fault.code, "message": message}}


def http_status_of(fault: Fault) -> int:
    """The HTTP status of an answer whose only item fails."""
    return _HTTP_OF_CODE.get(fault.code, 500)


def message_of(status: int) -> str:
    """The message of a refused call."""
    return _MESSAGES.get(status) or f"The call was refused: {STATUS_NAMES.get(status, status)}."


def error_body(status: int, message: str, fault: Fault | None = None) -> bytes:
    """Google's error body. Source: https://cloud.google.com/apis/design/errors#http_mapping."""
    name = STATUS_NAMES.get(status, "UNKNOWN")
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if fault is not None and fault.retry_info_s is not None:
        type_url = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": type_url, "retryDelay": f"{fault.retry_info_s:.3f}s"}]
    return json.dumps({"error": error}).encode()


def hint_headers(fault: Fault) -> dict[str, str]:
    """`Retry-After`, whose seconds are whole. https://www.rfc-editor.org/rfc/rfc9110#field.retry-after."""
    if fault.retry_after_s is not None:
        return {"Retry-After": str(math.ceil(fault.retry_after_s))}
    if fault.retry_after_date_s is not None:
        at = datetime.now(UTC) + timedelta(seconds=math.ceil(fault.retry_after_date_s))
        return {"Retry-After": format_datetime(at, usegmt=True)}
    return {}
