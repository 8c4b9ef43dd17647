"""One image in a call, and the features to look for in it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from etlkit.errors import ConfigError

FEATURES: Final = (
    "LABEL_DETECTION",
    "OBJECT_LOCALIZATION",
    "FACE_DETECTION",
    "LANDMARK_DETECTION",
    "LOGO_DETECTION",
    "TEXT_DETECTION",
    "DOCUMENT_TEXT_DETECTION",
    "SAFE_SEARCH_DETECTION",
    "IMAGE_PROPERTIES",
    "CROP_HINTS",
    "WEB_DETECTION",
)
"""Source: https://cloud.google.com/vision/docs/reference/rest/v1/Feature#type"""

_LAT_LNG: Final = {"latitude": float, "longitude": float}
_CONTEXT: Final[Mapping[str, Any]] = {
    "latLongRect": {"minLatLng": _LAT_LNG, "maxLatLng": _LAT_LNG},
    "languageHints": [str],
    "cropHintsParams": {"aspectRatios": [float]},
    "webDetectionParams": {"includeGeoResults": bool},
    "textDetectionParams": {
        "enableTextDetectionConfidenceScore": bool,
        "advancedOcrOptions": [str],
    },
}
"""All except product search: https://cloud.google.com/vision/docs/reference/rest/v1/ImageContext"""

_IMAGE_SCHEMES: Final = ("gs://", "https://", "http://")


@dataclass(frozen=True)
class Feature:
    """One thing to look for.

    Attributes:
        type: One of `FEATURES`, the API's own names.
        max_results: The most annotations; None = the API's default of 10. The API ignores it
            for text and crop hints.
        model: `builtin/stable`, `builtin/latest` or `builtin/weekly`; None = stable.
    """

    type: str
    max_results: int | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        """Raise if the API would refuse the feature, before anything is paid.

        Raises:
            ConfigError: With the names that are allowed.
        """
        if self.type == "PRODUCT_SEARCH":
            raise ConfigError(
                "PRODUCT_SEARCH is not supported: it compares photos with your own product set, "
                "which must first be built with another API. "
                f"Use one of {', '.join(FEATURES)}"
            )
        if self.type not in FEATURES:
            raise ConfigError(f"Feature({self.type!r}): use one of {', '.join(FEATURES)}")
        most = self.max_results
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise ConfigError(
                f"Feature(max_results={most!r}): it must be a whole number, 1 or more"
            )

    def to_json(self) -> dict[str, Any]:
        """The feature as the REST API takes it."""
        given = {"type": self.type, "maxResults": self.max_results, "model": self.model}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """One image and what to look for in it.

    Attributes:
        uri: `gs://…` or `http(s)://…`; None = the image is in `content`.
        content: The image file; None = it is at `uri`.
        features: What to look for; each feature is billed.
        context: Hints, an `ImageContext` in the REST API's JSON; None = no hints.
    """

    features: tuple[Feature, ...]
    uri: str | None = None
    content: bytes | None = field(default=None, repr=False)
    context: Mapping[str, Any] | None = None

    def fault(self) -> str | None:
        """Why this cannot be an image; None = it may be one.

        Vision refuses all images of a call if one of them has no image, so such a request is not sent.
        """
        if self.content is not None:
            return None if self.content else "the image is empty (0 bytes)"
        if not isinstance(self.uri, str) or not self.uri.strip():
            return f"there is no image: the address is {self.uri!r}"
        if not self.uri.startswith(_IMAGE_SCHEMES):
            return (
                f"{self.uri!r} is not the address of an image: it must begin with gs://, https:// "
                "or http://"
            )
        return None

    def to_json(self) -> dict[str, Any]:
        """The request as the REST API takes it."""
        request = self.json_without_content()
        if self.content is not None:
            request["image"] = {"content": b64encode(self.content).decode("ascii")}
        return request

    def json_without_content(self) -> dict[str, Any]:
        """As `to_json`, with an empty string instead of the image file."""
        image: dict[str, Any] = {"source": {"imageUri": self.uri}}
        request = {
            "image": {"content": ""} if self.content is not None else image,
            "features": [feature.to_json() for feature in self.features],
        }
        if self.context:
            request["imageContext"] = dict(self.context)
        return request


def as_features(given: Sequence[Feature | str]) -> tuple[Feature, ...]:
    """Check a list of features. A plain name means the feature with its defaults.

    Raises:
        ConfigError: The list is empty, has a feature twice, or has an unknown name.
    """
    if isinstance(given, str):
        raise ConfigError(f"features is a str; write ({given!r},)")
    if not isinstance(given, Sequence):
        raise ConfigError(f"features is {given!r}; write a tuple, e.g. ({FEATURES[0]!r},)")
    features = tuple(each if isinstance(each, Feature) else Feature(each) for each in given)
    types = [feature.type for feature in features]
    if not types:
        raise ConfigError(f"features is empty: name at least one of {', '.join(FEATURES)}")
    if len(set(types)) < len(types):
        raise ConfigError(f"features has one twice, and it would be billed twice: {types}")
    return features


def check_context(context: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Check the names and types in an image context: with a wrong one, Vision refuses every image.

    Raises:
        ConfigError: With the names that are allowed there.
    """
    if context is None:
        return None
    _check(context, _CONTEXT, "image_context")
    try:
        json.dumps(context, allow_nan=False)
    except ValueError as error:
        raise ConfigError(f"image_context: {error}") from None
    return context


def _check(value: Any, allowed: Any, where: str) -> None:
    if isinstance(allowed, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is a {type(value).__name__}; it must be a dict")
        for name, inner in value.items():
            if name not in allowed:
                raise ConfigError(f"{where} has no {name!r}; it has {', '.join(allowed)}")
            _check(inner, allowed[name], f"{where}.{name}")
    elif isinstance(allowed, list):
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise ConfigError(f"{where} is a {type(value).__name__}; it must be a list")
        for position, inner in enumerate(value):
            _check(inner, allowed[0], f"{where}[{position}]")
    else:
        fits = (int, float) if allowed is float else allowed
        if not isinstance(value, fits) or (isinstance(value, bool) and allowed is not bool):
            raise ConfigError(
                f"{where} is a {type(value).__name__}; it must be a {allowed.__name__}"
            )
