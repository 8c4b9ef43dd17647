"""What `images:annotate` is asked, read by the rules of proto3 JSON.

Known are exactly the fields of `BatchAnnotateImagesRequest`; what goes beyond them is refused in
the words of the real API, so that a misspelt field fails here and not first in production.

Source: https://github.com/googleapis/googleapis/blob/master/google/cloud/vision/v1/image_annotator.proto
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etlkit.local.vision.proto_json import (
    Enum,
    JsonRequestError,
    Message,
    Repeated,
    Scalar,
    read_message,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Source: https://cloud.google.com/vision/quotas (images per request, read 2026-11).
MAX_IMAGES_PER_REQUEST = 16

# An API default, for features without `maxResults`.
# Source: https://cloud.google.com/vision/docs/reference/rest/v1/Feature
DEFAULT_MAX_RESULTS = 10

# More are ignored. Source: https://cloud.google.com/vision/docs/reference/rest/v1/CropHintsParams
MAX_ASPECT_RATIOS = 16

_PACKAGE = "google.cloud.vision.v1."

FEATURE_TYPES = {
    "TYPE_UNSPECIFIED": 0,
    "FACE_DETECTION": 1,
    "LANDMARK_DETECTION": 2,
    "LOGO_DETECTION": 3,
    "LABEL_DETECTION": 4,
    "TEXT_DETECTION": 5,
    "SAFE_SEARCH_DETECTION": 6,
    "IMAGE_PROPERTIES": 7,
    "CROP_HINTS": 9,
    "WEB_DETECTION": 10,
    "DOCUMENT_TEXT_DETECTION": 11,
    "PRODUCT_SEARCH": 12,
    "OBJECT_LOCALIZATION": 19,
}

_LAT_LNG = Message(
    "google.type.LatLng", {"latitude": Scalar("double"), "longitude": Scalar("double")}
)
_VERTEX = Message(_PACKAGE + "Vertex", {"x": Scalar("int32"), "y": Scalar("int32")})
_NORMALIZED_VERTEX = Message(
    _PACKAGE + "NormalizedVertex", {"x": Scalar("float"), "y": Scalar("float")}
)
_BOUNDING_POLY = Message(
    _PACKAGE + "BoundingPoly",
    {"vertices": Repeated(_VERTEX), "normalized_vertices": Repeated(_NORMALIZED_VERTEX)},
)
_IMAGE_CONTEXT = Message(
    _PACKAGE + "ImageContext",
    {
        "lat_long_rect": Message(
            _PACKAGE + "LatLongRect", {"min_lat_lng": _LAT_LNG, "max_lat_lng": _LAT_LNG}
        ),
        "language_hints": Repeated(Scalar("string")),
        "crop_hints_params": Message(
            _PACKAGE + "CropHintsParams", {"aspect_ratios": Repeated(Scalar("float"))}
        ),
        "product_search_params": Message(
            _PACKAGE + "ProductSearchParams",
            {
                "bounding_poly": _BOUNDING_POLY,
                "product_set": Scalar("string"),
                "product_categories": Repeated(Scalar("string")),
                "filter": Scalar("string"),
            },
        ),
        "web_detection_params": Message(
            _PACKAGE + "WebDetectionParams", {"include_geo_results": Scalar("bool")}
        ),
        "text_detection_params": Message(
            _PACKAGE + "TextDetectionParams",
            {
                "enable_text_detection_confidence_score": Scalar("bool"),
                "advanced_ocr_options": Repeated(Scalar("string")),
            },
        ),
    },
)
_IMAGE = Message(
    _PACKAGE + "Image",
    {
        "content": Scalar("bytes"),
        "source": Message(
            _PACKAGE + "ImageSource",
            {"gcs_image_uri": Scalar("string"), "image_uri": Scalar("string")},
        ),
    },
)
_FEATURE = Message(
    _PACKAGE + "Feature",
    {
        "type": Enum(_PACKAGE + "Feature.Type", FEATURE_TYPES),
        "max_results": Scalar("int32"),
        "model": Scalar("string"),
    },
)
_BATCH = Message(
    _PACKAGE + "BatchAnnotateImagesRequest",
    {
        "requests": Repeated(
            Message(
                _PACKAGE + "AnnotateImageRequest",
                {"image": _IMAGE, "features": Repeated(_FEATURE), "image_context": _IMAGE_CONTEXT},
            )
        ),
        "parent": Scalar("string"),
        "labels": Scalar("map"),
    },
)


@dataclass(frozen=True)
class ImageRequest:
    """One image and what to look for in it.

    Attributes:
        content: The image file itself; b"" = it is at `uri`.
        uri: `gs://…` or `http(s)://…`; "" = it is in `content`.
        max_results: How many annotations at most, by feature type, in the order asked.
        aspect_ratios: Width by height of the crops to hint at; () = the best crop.
    """

    content: bytes
    uri: str
    max_results: dict[str, int]
    aspect_ratios: tuple[float, ...] = ()


def parse_request(body: bytes) -> list[ImageRequest]:
    """Read a `BatchAnnotateImagesRequest`.

    Args:
        body: JSON; an empty body is an empty message.

    Returns:
        0 to `MAX_IMAGES_PER_REQUEST` images, in order.

    Raises:
        JsonRequestError: The request as a whole is refused; no image was looked at.
    """
    return image_requests(read_message(_BATCH, _load(body)).get("requests", []))


def image_requests(requests: Sequence[Mapping[str, Any]]) -> list[ImageRequest]:
    """Check what a batch asks for, whichever protocol it came over.

    Args:
        requests: `AnnotateImageRequest`s as dicts of proto names; `content` is bytes, a feature's
            `type` its name.

    Raises:
        JsonRequestError: As `parse_request`.
    """
    if len(requests) > MAX_IMAGES_PER_REQUEST:
        raise JsonRequestError("Too many images per request.")
    return [_image_request(request) for request in requests]


def _load(body: bytes) -> Any:
    if not body.strip():
        return {}
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        # json's own message has the position and none of the content.
        raise JsonRequestError(f"Invalid JSON payload received. {exc}") from exc


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"Unexpected token: {name}")


def _image_request(request: Mapping[str, Any]) -> ImageRequest:
    image = request.get("image", {})
    source = image.get("source", {})
    content = image.get("content", b"")
    uri = source.get("image_uri") or source.get("gcs_image_uri", "")
    features = request.get("features", [])
    if not (content or uri) or not features:
        # Observed of the real API, also where the other images of the request are in order:
        # https://github.com/GoogleCloudPlatform/golang-samples/issues/794
        raise JsonRequestError("Request must specify image and features.")
    if content and uri:
        # Observed, against the documentation, by which `content` comes first:
        # https://github.com/googleapis/google-cloud-dotnet/issues/5467
        raise JsonRequestError("Only one of image content and uri should be specified.")
    max_results: dict[str, int] = {}
    for feature in features:
        kind, most = feature.get("type", "TYPE_UNSPECIFIED"), feature.get("max_results", 0)
        if most < 0:
            raise JsonRequestError(f"Feature {kind} has a negative max_results: {most}.")
        max_results[kind] = max(max_results.get(kind, 0), most or DEFAULT_MAX_RESULTS)
    return ImageRequest(content, uri, max_results, _aspect_ratios(request))


def _aspect_ratios(request: Mapping[str, Any]) -> tuple[float, ...]:
    params = request.get("image_context", {}).get("crop_hints_params", {})
    ratios = params.get("aspect_ratios", [])[:MAX_ASPECT_RATIOS]
    for ratio in ratios:
        if not 0 < ratio < math.inf:
            raise JsonRequestError(f"An aspect ratio is above zero; got {ratio:g}.")
    return tuple(ratios)
