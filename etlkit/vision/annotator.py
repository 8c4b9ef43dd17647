"""What Vision says of one image, and who can be asked: the seam between clients and their users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from etlkit.errors import RowError
from etlkit.vision.request import ImageRequest

TRANSIENT_CODES: Final = {
    4: "DEADLINE_EXCEEDED",
    8: "RESOURCE_EXHAUSTED",
    10: "ABORTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
}
"""Codes of an image's own error that a later try may not meet.
Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What became of one image.

    Attributes:
        answer: Vision's `AnnotateImageResponse` in proto3 JSON: camelCase, enums by name, defaults
            left out, whole numbers without a point. The same over every protocol. What is filled
            in is valid even if `error` is set, says the API.
        error: Why the image could not be annotated, or not in full; None = it was.
    """

    answer: dict[str, Any]
    error: RowError | None = None


class ImageAnnotator(Protocol):
    """Annotates images. One per worker; not shared between threads."""

    def annotate(self, requests: Sequence[ImageRequest]) -> list[Annotation]:
        """Annotate images, in as few calls as the API's limits allow.

        Args:
            requests: Any number of them.

        Returns:
            One outcome per request, in their order. One bad image spoils no other.

        Raises:
            ApiError: The calls as such are refused: key, permission, configuration.
            RetryableError: The service is down.
            CapReachedError: The job may make no more calls.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def plain(answer: Any) -> Any:
    """Bring JSON of any server into the one form that `Annotation.answer` promises.

    proto3 JSON leaves defaults out, but lets a server write them; `1.0` and `1` are one number.
    Source: https://protobuf.dev/programming-guides/json/
    """
    if isinstance(answer, dict):
        return {
            name: plain(value)
            for name, value in answer.items()
            # An empty message is kept: it says that something was looked at.
            if value or isinstance(value, dict)
        }
    if isinstance(answer, list):
        return [plain(value) for value in answer]
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)
    return answer
