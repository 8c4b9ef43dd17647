"""The forms of an output row: the answer as JSON, a row per annotation, or a column per rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from etlkit.api.transform import RowResult
from etlkit.errors import ConfigError
from etlkit.rows.row import Row
from etlkit.vision.request import Feature

_BOX: Final = "STRUCT<x_min FLOAT64, y_min FLOAT64, x_max FLOAT64, y_max FLOAT64>"


class Shape(Protocol):
    """Turns a source row and Vision's answer into output rows."""

    def check(self, features: Sequence[Feature]) -> None:
        """Raise if the features do not fit the shape.

        Raises:
            ConfigError: With the features that fit.
        """
        ...

    def schema(self) -> Mapping[str, str] | None:
        """The columns it adds, as in `EtlBase.output_schema`, without the image's address.

        None = the target also gets the source's columns, and types are inferred.
        """
        ...

    def result(self, row: Row, answer: Mapping[str, Any], features: Sequence[Feature]) -> RowResult:
        """The result of `transform_row`.

        Args:
            row: The source row; it may be changed and returned.
            answer: `Annotation.answer`.
            features: What Vision looked for.
        """
        ...


@dataclass(frozen=True)
class JsonColumn:
    """One column with the whole answer, in the form of an answer to `images:annotate`.

    That is `{"responses": [{"labelAnnotations": […]}]}`: SQL reads `$.responses[0].labelAnnotations`.

    Attributes:
        column: The column's name.
    """

    column: str = "response"

    def check(self, _features: Sequence[Feature]) -> None:
        """Every feature fits."""

    def schema(self) -> None:
        """None: source columns stay."""

    def result(self, row: Row, answer: Mapping[str, Any], _features: Sequence[Feature]) -> Row:
        """The row with one more column."""
        row[self.column] = {"responses": [answer]}
        return row


@dataclass(frozen=True)
class Long:
    """One row per annotation: address, `feature`, `rank`, `mid`, `name`, `score`, `box`.

    `rank` counts from 1 within a feature, best first, in Vision's order. `box` is the annotation's
    place in the image; NULL = the whole image. Boxes of objects are fractions of width and height
    (0.0 to 1.0), others are in pixels. An image without annotations gives no row and counts as skipped.
    """

    def check(self, features: Sequence[Feature]) -> None:
        """Every feature with a list of annotations fits."""
        for feature in features:
            _list_of(feature)

    def schema(self) -> Mapping[str, str]:
        """Six columns beside the address."""
        return {
            "feature": "STRING",
            "rank": "INT64",
            "mid": "STRING",
            "name": "STRING",
            "score": "FLOAT64",
            "box": _BOX,
        }

    def result(self, row: Row, answer: Mapping[str, Any], features: Sequence[Feature]) -> list[Row]:
        """One row per annotation."""
        return [
            {**row, **found}
            for feature in features
            for found in _annotations(feature.type, _list_of(feature)(answer))
        ]


@dataclass(frozen=True)
class Wide:
    """The best `k` annotations side by side: `name_1`, `score_1`, …; NULL where there are fewer.

    Attributes:
        k: How many annotations.
        prefix: Put before each column's name, e.g. `label_` for `label_name_1`.
    """

    k: int = 5
    prefix: str = ""

    def check(self, features: Sequence[Feature]) -> None:
        """One feature with a list of annotations fits."""
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise ConfigError(f"Wide(k={self.k!r}): it must be a whole number, 1 or more")
        if len(features) != 1:
            raise ConfigError(f"Wide is for one feature, and there are {len(features)}; use Long")
        _list_of(features[0])

    def schema(self) -> Mapping[str, str]:
        """Two columns per rank."""
        return {
            f"{self.prefix}{name}_{rank}": kind
            for rank in range(1, self.k + 1)
            for name, kind in (("name", "STRING"), ("score", "FLOAT64"))
        }

    def result(self, row: Row, answer: Mapping[str, Any], features: Sequence[Feature]) -> Row:
        """The row with `2 * k` more columns."""
        found_in = _list_of(features[0])(answer)[: self.k]
        best: list[Row] = list(_annotations(features[0].type, found_in))
        best += [{"name": None, "score": None}] * (self.k - len(best))
        for rank, found in enumerate(best, 1):
            row[f"{self.prefix}name_{rank}"] = found["name"]
            row[f"{self.prefix}score_{rank}"] = found["score"]
        return row


def check_shape(shape: Any) -> None:
    """Raise if `shape` is not a shape instance.

    Raises:
        ConfigError: With examples.
    """
    if isinstance(shape, type) or not callable(getattr(shape, "result", None)):
        raise ConfigError(f"shape {shape!r}: use JsonColumn(), Long() or Wide(k=5)")


def _list_at(*path: str) -> Callable[[Mapping[str, Any]], list[Any]]:
    *way, last = path

    def find(answer: Mapping[str, Any]) -> list[Any]:
        for name in way:
            answer = answer.get(name, {})
        found = answer.get(last, [])
        return found if isinstance(found, list) else []

    return find


_LISTS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Any]]]] = {
    "LABEL_DETECTION": _list_at("labelAnnotations"),
    "OBJECT_LOCALIZATION": _list_at("localizedObjectAnnotations"),
    "FACE_DETECTION": _list_at("faceAnnotations"),
    "LANDMARK_DETECTION": _list_at("landmarkAnnotations"),
    "LOGO_DETECTION": _list_at("logoAnnotations"),
    "TEXT_DETECTION": _list_at("textAnnotations"),
    "DOCUMENT_TEXT_DETECTION": _list_at("textAnnotations"),
    "CROP_HINTS": _list_at("cropHintsAnnotation", "cropHints"),
    "WEB_DETECTION": _list_at("webDetection", "webEntities"),
    "IMAGE_PROPERTIES": _list_at("imagePropertiesAnnotation", "dominantColors", "colors"),
}
"""Source: https://cloud.google.com/vision/docs/reference/rest/v1/AnnotateImageResponse"""


def _list_of(feature: Feature) -> Callable[[Mapping[str, Any]], list[Any]]:
    if feature.type not in _LISTS:
        raise ConfigError(
            f"{feature.type} has no list of annotations: use JsonColumn for it. The shapes Long and "
            f"Wide are for {', '.join(_LISTS)}"
        )
    return _LISTS[feature.type]


def read_answer(answer: Mapping[str, Any]) -> list[Row]:
    """All annotations of an answer whose features are not known.

    Args:
        answer: One item of `responses` of `images:annotate`, e.g. `{"labelAnnotations": […]}`.

    Returns:
        A row per annotation, as `Long` gives it, without the image's address. Text is one feature,
        whichever way Vision was asked for it.
    """
    return [
        found
        for feature, find in _LISTS.items()
        if feature != "DOCUMENT_TEXT_DETECTION"  # the same list as TEXT_DETECTION
        for found in _annotations(feature, find(answer))
    ]


def _annotations(feature: str, found: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for rank, annotation in enumerate(found, 1):
        yield {"feature": feature, "rank": rank, **_read(feature, annotation)}


def _read(feature: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """`mid`, `name`, `score` and `box` of one annotation; None = Vision did not give it."""
    name = found.get("name") or found.get("description")
    if feature == "IMAGE_PROPERTIES":
        name = _hex(found.get("color", {}))
    score = found.get("score", found.get("detectionConfidence", found.get("confidence")))
    return {
        "mid": found.get("mid") or found.get("entityId"),
        "name": name,
        "score": None if score is None else float(score),
        "box": _box(found.get("boundingPoly", {})),
    }


def _box(poly: Mapping[str, Any]) -> dict[str, float] | None:
    """The upright box around a polygon. proto3 JSON leaves out coordinates that are 0."""
    corners = poly.get("normalizedVertices") or poly.get("vertices")
    if not corners:
        return None
    xs = [float(corner.get("x", 0)) for corner in corners]
    ys = [float(corner.get("y", 0)) for corner in corners]
    return {"x_min": min(xs), "y_min": min(ys), "x_max": max(xs), "y_max": max(ys)}


def _hex(color: Mapping[str, Any]) -> str:
    """`#rrggbb`."""
    return "#" + "".join(f"{round(color.get(part, 0)):02x}" for part in ("red", "green", "blue"))
