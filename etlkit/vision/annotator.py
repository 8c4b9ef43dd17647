"""The protocol that Vision's clients share, and the form of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from etlkit.errors import RowError
from etlkit.vision.request import ImageRequest


@dataclass(frozen=True, slots=True)
class Annotation:
    """The result for one image.

    Attributes:
        answer: Vision's `AnnotateImageResponse` in proto3 JSON: camelCase, enums by name, defaults
            left out, whole numbers without a decimal point. The same over every protocol. According
            to the API, what is filled in is valid even if `error` is set.
        error: Why the image could not be annotated, or only in part; None = it was annotated.
    """

    answer: dict[str, Any]
    error: RowError | None = None


class ImageAnnotator(Protocol):
    """Annotates images. Each worker has its own; threads do not share it."""

    def annotate(self, requests: Sequence[ImageRequest]) -> list[Annotation]:
        """Annotate images, in as few calls as the API's limits allow.

        Args:
            requests: Any number of images.

        Returns:
            One result per request, in the same order. A bad image does not affect the others.

        Raises:
            ApiError: Calls are refused as a whole: key, permission, configuration.
            RetryableError: The service is down.
            CapReachedError: The job may not make more calls.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def plain(answer: Any) -> Any:
    """Bring the JSON of any server into the form that `Annotation.answer` promises.

    proto3 JSON may leave defaults out or write them, and `1.0` and `1` are the same number.
    Source: https://protobuf.dev/programming-guides/json/
    """
    if isinstance(answer, dict):
        return {
            name: plain(value)
            for name, value in answer.items()
            # An empty message is kept: it says that Vision looked for something.
            if value or isinstance(value, dict)
        }
    if isinstance(answer, list):
        return [plain(value) for value in answer]
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)
    return answer
