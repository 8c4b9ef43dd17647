"""Annotates one image, with two small models and with rules over its pixels."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError, ImageError

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

# Numbers of google.rpc.Code.
# Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_INVALID_ARGUMENT = 3
_NOT_FOUND = 5
_PERMISSION_DENIED = 7
_UNIMPLEMENTED = 12

_SUPPORTED = "LABEL_DETECTION, OBJECT_LOCALIZATION, IMAGE_PROPERTIES and CROP_HINTS"


class Annotator:
    """Annotates one image at a time. Many threads may use it at once.

    The models are loaded with the first image, because loading takes half a second and would delay
    the start of the server.
    """

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._models: _Models | None = None
        self._lock = Lock()

    def annotate(self, request: ImageRequest) -> Any:
        """Annotate one image.

        Returns:
            The protobuf message `AnnotateImageResponse`. Its `error` says what is wrong with the
            image, or which feature is not supported here. As with the real API, the other features
            are answered beside the error.
        """
        from etlkit.local.vision import annotations

        response = annotations.response()
        try:
            data = request.content or self._read(request.uri)
            features = _ImageFeatures(data, _decode(data), request, self._loaded_models())
        except ImageError as exc:
            response.error.code, response.error.message = exc.code, exc.message
            return response
        for feature, max_results in request.max_results.items():
            if not features.add(response, feature, max_results):
                response.error.code = _UNIMPLEMENTED
                response.error.message = (
                    f"{feature} is not in the local Vision, which supports {_SUPPORTED}."
                )
        return response

    def _read(self, uri: str) -> bytes:
        """Read an image. The error codes and messages are those of the real API."""
        if uri.startswith(("http://", "https://")):
            # Vision answers this for hosts that forbid access. Its code 14, for hosts that do not
            # respond, would make clients retry, which is useless: there is no network here.
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
            # Observed: 5 for a missing object (cloud-samples-data), 7 for a bucket without access.
            # A missing bucket cannot be told from a bucket without access:
            # https://github.com/googlecodelabs/feedback/issues/691
            code = _NOT_FOUND if self._buckets.has_bucket(uri) else _PERMISSION_DENIED
            raise ImageError(f"Error opening file: {uri}.", code=code) from exc

    def _loaded_models(self) -> _Models:
        with self._lock:
            if self._models is None:
                self._models = _Models()
            return self._models


class _ImageFeatures:
    """Computes the features of one image."""

    def __init__(self, data: bytes, image: Image, request: ImageRequest, models: _Models) -> None:
        self._data, self._image, self._request, self._models = data, image, request, models

    def add(self, response: Any, feature: str, max_results: int) -> bool:
        """Add what a feature asks for to the response; False = it is not supported here."""
        from etlkit.local.vision import annotations

        if feature == "LABEL_DETECTION":
            labels = self._models.labels(self._image)[:max_results]
            response.label_annotations.extend(map(annotations.label_annotation, labels))
        elif feature == "OBJECT_LOCALIZATION":
            detected = map(annotations.object_annotation, self._objects[:max_results])
            response.localized_object_annotations.extend(detected)
        elif feature == "IMAGE_PROPERTIES":
            from etlkit.local.vision.colors import dominant_colors

            properties = annotations.image_properties(dominant_colors(self._image)[:max_results])
            response.image_properties_annotation.CopyFrom(properties)
        elif feature == "CROP_HINTS":
            from etlkit.local.vision.crop_hints import crop_hints
            from etlkit.local.vision.images import upright_size

            size = upright_size(self._data)
            hints = crop_hints(self._objects, size, self._request.aspect_ratios)
            response.crop_hints_annotation.CopyFrom(annotations.crop_hints_annotation(hints))
        else:
            return False
        return True

    @cached_property
    def _objects(self) -> list[DetectedObject]:
        return self._models.objects(self._image)


class _Models:
    """The models for labels and for objects."""

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
    # Check first: reading a pipe would block forever, and a huge file would fill the memory.
    if not path.is_file():
        raise FileNotFoundError(path)
    if path.stat().st_size > MAX_IMAGE_BYTES:
        message = f"Image size exceeds the limit: {MAX_IMAGE_BYTES} bytes."
        raise ImageError(message, code=_INVALID_ARGUMENT)
    return path.read_bytes()
