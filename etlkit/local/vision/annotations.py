"""What was found in an image, in Vision's JSON: proto3 rules, so zeros and empty lists are left out.

Source: https://cloud.google.com/vision/docs/reference/rest/v1/AnnotateImageResponse
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etlkit.local.vision.colors import DominantColor
    from etlkit.local.vision.crops import CropHint
    from etlkit.local.vision.detector import DetectedObject
    from etlkit.local.vision.labeler import Label

# JSON numbers of the real API are float32: about seven digits.
_DIGITS = 7


def label_json(label: Label) -> dict[str, Any]:
    """An `EntityAnnotation`. Vision's topicality is nearly always its score; ours always is."""
    score = round(label.score, _DIGITS)
    return {
        "mid": label.mid,
        "description": label.description,
        "score": score,
        "topicality": score,
    }


def object_json(thing: DetectedObject) -> dict[str, Any]:
    """A `LocalizedObjectAnnotation`."""
    corners = _corners(thing.xmin, thing.ymin, thing.xmax, thing.ymax)
    return {
        "mid": thing.mid,
        "name": thing.name,
        "score": round(thing.score, _DIGITS),
        "boundingPoly": {"normalizedVertices": [vertex_json(x, y) for x, y in corners]},
    }


def properties_json(colors: Sequence[DominantColor]) -> dict[str, Any]:
    """An `ImageProperties`."""
    return {"dominantColors": {"colors": [_color_json(color) for color in colors]}}


def crops_json(hints: Sequence[CropHint]) -> dict[str, Any]:
    """A `CropHintsAnnotation`."""
    return {"cropHints": [_crop_json(hint) for hint in hints]}


def vertex_json(x: float, y: float) -> dict[str, float]:
    """A corner; at the left edge it has no `x`."""
    return _without_zeros({"x": round(x, _DIGITS), "y": round(y, _DIGITS)})


def _color_json(color: DominantColor) -> dict[str, Any]:
    return {
        "color": _without_zeros({"red": color.red, "green": color.green, "blue": color.blue}),
        "score": round(color.score, _DIGITS),
        "pixelFraction": round(color.pixel_fraction, _DIGITS),
    }


def _crop_json(hint: CropHint) -> dict[str, Any]:
    corners = _corners(hint.left, hint.top, hint.right, hint.bottom)
    shares = {
        "confidence": round(hint.confidence, _DIGITS),
        "importanceFraction": round(hint.importance_fraction, _DIGITS),
    }
    vertices = [_without_zeros({"x": x, "y": y}) for x, y in corners]
    return {"boundingPoly": {"vertices": vertices}, **_without_zeros(shares)}


def _corners(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """Clockwise from the top left."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _without_zeros(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value}
