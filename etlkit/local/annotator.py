"""What the local Vision sees in one image: two small models behind Vision's JSON."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError, ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from etlkit.local.buckets import Buckets
    from etlkit.local.classifier import Classifier
    from etlkit.local.detector import DetectedObject, Detector
    from etlkit.local.labeler import Label, Labeler
    from etlkit.local.vision_request import ImageRequest

# Source: https://cloud.google.com/vision/quotas (image file size, read 2026-11).
MAX_IMAGE_BYTES = 20 * 1024 * 1024

# google.rpc.Code
_INVALID_ARGUMENT = 3
_NOT_FOUND = 5
_PERMISSION_DENIED = 7
_UNIMPLEMENTED = 12

# JSON numbers of the real API are float32: about seven digits.
_DIGITS = 7


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
            image = self._decode(request.content or self._read(request.uri))
        except ImageError as exc:
            return {"error": {"code": exc.code, "message": exc.message}}
        models = self._loaded_models()
        answer: dict[str, Any] = {}
        for feature, max_results in request.max_results.items():
            if feature == "LABEL_DETECTION":
                key, found = "labelAnnotations", models.labels(image)
            elif feature == "OBJECT_LOCALIZATION":
                key, found = "localizedObjectAnnotations", models.objects(image)
            else:
                answer["error"] = {
                    "code": _UNIMPLEMENTED,
                    "message": f"{feature} is not in the local stand-in, which answers "
                    "LABEL_DETECTION and OBJECT_LOCALIZATION.",
                }
                continue
            if found:
                answer[key] = found[:max_results]
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

    def _decode(self, data: bytes) -> Image:
        from etlkit.local.images import decode_image

        return decode_image(data, max_bytes=MAX_IMAGE_BYTES)

    def _loaded_models(self) -> _Models:
        with self._lock:
            if self._models is None:
                self._models = _Models()
            return self._models


class _Models:
    """Both models and the words for them, in Vision's JSON."""

    def __init__(self) -> None:
        from etlkit.local.classifier import Classifier
        from etlkit.local.detector import Detector
        from etlkit.local.labeler import Labeler

        self._classifier: Classifier = Classifier()
        self._labeler: Labeler = Labeler()
        self._detector: Detector = Detector()

    def labels(self, image: Image) -> list[dict[str, Any]]:
        probabilities = self._classifier.probabilities(image)
        return [_label_json(label) for label in self._labeler.label(probabilities)]

    def objects(self, image: Image) -> list[dict[str, Any]]:
        return [_object_json(thing) for thing in self._detector.detect(image)]


def _read_file(path: Path) -> bytes:
    # Asked first: a pipe would hold the thread for ever, and a huge file fill the memory.
    if not path.is_file():
        raise FileNotFoundError(path)
    if path.stat().st_size > MAX_IMAGE_BYTES:
        message = f"Image size exceeds the limit: {MAX_IMAGE_BYTES} bytes."
        raise ImageError(message, code=_INVALID_ARGUMENT)
    return path.read_bytes()


def _label_json(label: Label) -> dict[str, Any]:
    """An `EntityAnnotation`. Vision's topicality is nearly always its score; ours always is."""
    score = round(label.score, _DIGITS)
    return {
        "mid": label.mid,
        "description": label.description,
        "score": score,
        "topicality": score,
    }


def _object_json(thing: DetectedObject) -> dict[str, Any]:
    """A `LocalizedObjectAnnotation`; corners clockwise from the top left."""
    corners = [
        (thing.xmin, thing.ymin),
        (thing.xmax, thing.ymin),
        (thing.xmax, thing.ymax),
        (thing.xmin, thing.ymax),
    ]
    return {
        "mid": thing.mid,
        "name": thing.name,
        "score": round(thing.score, _DIGITS),
        "boundingPoly": {"normalizedVertices": [_vertex_json(x, y) for x, y in corners]},
    }


def _vertex_json(x: float, y: float) -> dict[str, float]:
    """proto3 JSON leaves zeros out: a corner at the left edge has no `x`."""
    rounded = {"x": round(x, _DIGITS), "y": round(y, _DIGITS)}
    return {axis: value for axis, value in rounded.items() if value}
