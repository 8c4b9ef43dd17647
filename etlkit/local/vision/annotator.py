"""What the local Vision sees in one image: two small models, and what pixels say."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError, ImageError
from etlkit.local.vision.annotations import crops_json, label_json, object_json, properties_json

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from etlkit.local.buckets import Buckets
    from etlkit.local.vision.classifier import Classifier
    from etlkit.local.vision.detector import DetectedObject, Detector
    from etlkit.local.vision.labeler import Label, Labeler
    from etlkit.local.vision.request import ImageRequest

# Source: https://cloud.google.com/vision/quotas (image file size, read 2026-11).
MAX_IMAGE_BYTES = 20 * 1024 * 1024

# google.rpc.Code
_INVALID_ARGUMENT = 3
_NOT_FOUND = 5
_PERMISSION_DENIED = 7
_UNIMPLEMENTED = 12

_ANSWERED = "LABEL_DETECTION, OBJECT_LOCALIZATION, IMAGE_PROPERTIES and CROP_HINTS"


class Annotator:
    """Answers one image at a time; safe to call from many threads.

    The models are loaded with the first image, not with the server: that takes half a second.
    """

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._models: _Models | None = None
        self._lock = Lock()

    def annotate(self, request: ImageRequest) -> dict[str, Any]:
        """One `AnnotateImageResponse` as JSON.

        A fault of the image, or a feature that is not answered here, is in its `error`; what could
        be answered stands beside it, as with the real API.
        """
        try:
            data = request.content or self._read(request.uri)
            image = _decode(data)
        except ImageError as exc:
            return {"error": {"code": exc.code, "message": exc.message}}
        look = _Look(data, image, request, self._loaded_models())
        answer: dict[str, Any] = {}
        for feature, max_results in request.max_results.items():
            found = look.for_feature(feature, max_results)
            if found is None:
                answer["error"] = {
                    "code": _UNIMPLEMENTED,
                    "message": f"{feature} is not in the local stand-in, which answers {_ANSWERED}.",
                }
            else:
                answer |= {key: value for key, value in found.items() if value}
        return answer

    def _read(self, uri: str) -> bytes:
        """The image's bytes; the codes and words of the faults are the real API's."""
        if uri.startswith(("http://", "https://")):
            # Vision says so of hosts that forbid it. Its code 14 is for hosts that do not answer
            # just now, and clients would try again: in vain, for the stand-in uses no network.
            raise ImageError(
                "We're not allowed to access the URL on your behalf. Please download the content "
                "and pass it in.",
                code=_PERMISSION_DENIED,
            )
        try:
            path = self._buckets.path(uri)
        except ConfigError as exc:
            message = f"Invalid GCS path specified: {uri}"
            raise ImageError(message, code=_INVALID_ARGUMENT) from exc
        try:
            return _read_file(path)
        except OSError as exc:
            # Observed: 5 for an object that is missing (cloud-samples-data), 7 for a bucket that
            # one may not look into, and another's bucket looks no different from none at all:
            # https://github.com/googlecodelabs/feedback/issues/691
            code = _NOT_FOUND if self._buckets.has_bucket(uri) else _PERMISSION_DENIED
            raise ImageError(f"Error opening file: {uri}.", code=code) from exc

    def _loaded_models(self) -> _Models:
        with self._lock:
            if self._models is None:
                self._models = _Models()
            return self._models


class _Look:
    """One image while its features are answered."""

    def __init__(self, data: bytes, image: Image, request: ImageRequest, models: _Models) -> None:
        self._data, self._image, self._request, self._models = data, image, request, models

    def for_feature(self, feature: str, max_results: int) -> dict[str, Any] | None:
        """The part of the answer that a feature asks for; None = it is not answered here."""
        if feature == "LABEL_DETECTION":
            labels = self._models.labels(self._image)[:max_results]
            return {"labelAnnotations": [label_json(label) for label in labels]}
        if feature == "OBJECT_LOCALIZATION":
            things = self._objects[:max_results]
            return {"localizedObjectAnnotations": [object_json(thing) for thing in things]}
        if feature == "IMAGE_PROPERTIES":
            from etlkit.local.vision.colors import dominant_colors

            colors = dominant_colors(self._image)[:max_results]
            return {"imagePropertiesAnnotation": properties_json(colors)}
        if feature == "CROP_HINTS":
            from etlkit.local.vision.crops import crop_hints
            from etlkit.local.vision.images import upright_size

            size = upright_size(self._data)
            hints = crop_hints(self._objects, size, self._request.aspect_ratios)
            return {"cropHintsAnnotation": crops_json(hints)}
        return None

    @cached_property
    def _objects(self) -> list[DetectedObject]:
        return self._models.objects(self._image)


class _Models:
    """Both models and the words for them."""

    def __init__(self) -> None:
        from etlkit.local.vision.classifier import Classifier
        from etlkit.local.vision.detector import Detector
        from etlkit.local.vision.labeler import Labeler

        self._classifier: Classifier = Classifier()
        self._labeler: Labeler = Labeler()
        self._detector: Detector = Detector()

    def labels(self, image: Image) -> list[Label]:
        return self._labeler.label(self._classifier.probabilities(image))

    def objects(self, image: Image) -> list[DetectedObject]:
        return self._detector.detect(image)


def _decode(data: bytes) -> Image:
    from etlkit.local.vision.images import decode_image

    return decode_image(data, max_bytes=MAX_IMAGE_BYTES)


def _read_file(path: Path) -> bytes:
    # Asked first: a pipe would hold the thread for ever, and a huge file fill the memory.
    if not path.is_file():
        raise FileNotFoundError(path)
    if path.stat().st_size > MAX_IMAGE_BYTES:
        message = f"Image size exceeds the limit: {MAX_IMAGE_BYTES} bytes."
        raise ImageError(message, code=_INVALID_ARGUMENT)
    return path.read_bytes()
