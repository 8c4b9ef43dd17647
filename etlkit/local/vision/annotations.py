"""Turns what was found in an image into the messages of Vision's answer.

Source: https://cloud.google.com/vision/docs/reference/rest/v1/AnnotateImageResponse
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud.vision_v1 import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from etlkit.local.vision.colors import DominantColor
    from etlkit.local.vision.crop_hints import CropHint
    from etlkit.local.vision.detector import DetectedObject
    from etlkit.local.vision.labeler import Label


def response() -> Any:
    """An empty `AnnotateImageResponse`."""
    return types.AnnotateImageResponse.pb()()


def batch(responses: Iterable[Any]) -> Any:
    """A `BatchAnnotateImagesResponse` of the answers to single images, in order."""
    return types.BatchAnnotateImagesResponse.pb()(responses=responses)


def label_annotation(label: Label) -> Any:
    """An `EntityAnnotation`. Vision's topicality is nearly always its score; ours always is."""
    return types.EntityAnnotation.pb()(
        mid=label.mid, description=label.description, score=label.score, topicality=label.score
    )


def object_annotation(detected: DetectedObject) -> Any:
    """A `LocalizedObjectAnnotation`."""
    corners = _corners(detected.xmin, detected.ymin, detected.xmax, detected.ymax)
    vertices = [types.NormalizedVertex.pb()(x=x, y=y) for x, y in corners]
    return types.LocalizedObjectAnnotation.pb()(
        mid=detected.mid,
        name=detected.name,
        score=detected.score,
        bounding_poly=types.BoundingPoly.pb()(normalized_vertices=vertices),
    )


def image_properties(colors: Sequence[DominantColor]) -> Any:
    """An `ImageProperties`."""
    return types.ImageProperties.pb()(
        dominant_colors=types.DominantColorsAnnotation.pb()(colors=map(_color_info, colors))
    )


def crop_hints_annotation(hints: Sequence[CropHint]) -> Any:
    """A `CropHintsAnnotation`."""
    return types.CropHintsAnnotation.pb()(crop_hints=map(_crop_hint, hints))


def _color_info(color: DominantColor) -> Any:
    info = types.ColorInfo.pb()(score=color.score, pixel_fraction=color.pixel_fraction)
    info.color.SetInParent()  # black has no field but is a color
    info.color.red, info.color.green, info.color.blue = color.red, color.green, color.blue
    return info


def _crop_hint(hint: CropHint) -> Any:
    corners = _corners(hint.left, hint.top, hint.right, hint.bottom)
    vertices = [types.Vertex.pb()(x=int(x), y=int(y)) for x, y in corners]
    return types.CropHint.pb()(
        bounding_poly=types.BoundingPoly.pb()(vertices=vertices),
        confidence=hint.confidence,
        importance_fraction=hint.importance_fraction,
    )


def _corners(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """Clockwise from the top left."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
