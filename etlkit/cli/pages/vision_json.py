"""Vision's JSON in a column: the answer of `images:annotate`, or one item of its `responses`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from etlkit.rows.row import Row
from etlkit.vision.output_shapes import read_answer

_KEYS: Final = frozenset(
    {
        "labelAnnotations",
        "localizedObjectAnnotations",
        "faceAnnotations",
        "landmarkAnnotations",
        "logoAnnotations",
        "textAnnotations",
        "cropHintsAnnotation",
        "webDetection",
        "imagePropertiesAnnotation",
        "safeSearchAnnotation",
    }
)
"""Source: https://cloud.google.com/vision/docs/reference/rest/v1/AnnotateImageResponse"""


def is_vision_answer(value: Any) -> bool:
    """Whether a value is an answer of Vision's, as a dict or as JSON text."""
    return _answer(value) is not None


def read_annotations(value: Any) -> list[Row]:
    """The annotations in a value; [] = it has none, or is not an answer of Vision's.

    Returns:
        Rows with `feature`, `rank`, `name`, `score` and `box`, see `etlkit.vision.Long`.
    """
    answer = _answer(value)
    if answer is None:
        return []
    try:
        return read_answer(answer)
    except (AttributeError, TypeError, ValueError):
        return []  # JSON that only looks like Vision's


def _answer(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return None
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, Mapping):
        return None
    responses = value.get("responses")
    if isinstance(responses, list) and responses and isinstance(responses[0], Mapping):
        return responses[0]
    return value if _KEYS & value.keys() else None
