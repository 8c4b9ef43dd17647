"""What a call of Vision asks for each of its images.

Source: https://github.com/googleapis/googleapis/blob/master/google/cloud/vision/v1/image_annotator.proto
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from etlkit.local.vision.bad_request import BadRequestError

# Source: https://cloud.google.com/vision/quotas (images per request, read 2026-11).
MAX_IMAGES_PER_REQUEST: Final = 16

# The API's default for features without `maxResults`.
# Source: https://cloud.google.com/vision/docs/reference/rest/v1/Feature
DEFAULT_MAX_RESULTS: Final = 10

# More are ignored. Source: https://cloud.google.com/vision/docs/reference/rest/v1/CropHintsParams
MAX_ASPECT_RATIOS: Final = 16


@dataclass(frozen=True)
class ImageRequest:
    """One image and what to look for in it.

    Attributes:
        content: The image file itself; b"" = it is at `uri`.
        uri: `gs://…` or `http(s)://…`; "" = it is in `content`.
        max_results: The largest number of annotations, by feature type, in the order of the request.
        aspect_ratios: Width divided by height of the wanted crops; () = the best crop.
    """

    content: bytes
    uri: str
    max_results: dict[str, int]
    aspect_ratios: tuple[float, ...] = ()


def image_requests(batch: Any) -> list[ImageRequest]:
    """Check what a batch asks for.

    Args:
        batch: The protobuf message `BatchAnnotateImagesRequest`.

    Returns:
        0 to `MAX_IMAGES_PER_REQUEST` images, in order.

    Raises:
        BadRequestError: The request is refused as a whole.
    """
    if len(batch.requests) > MAX_IMAGES_PER_REQUEST:
        raise BadRequestError("Too many images per request.")
    return [_image_request(request) for request in batch.requests]


def _image_request(request: Any) -> ImageRequest:
    content = request.image.content
    source = request.image.source
    uri = source.image_uri or source.gcs_image_uri
    if not (content or uri) or not request.features:
        # Observed of the real API, also if the other images of the request are in order:
        # https://github.com/GoogleCloudPlatform/golang-samples/issues/794
        raise BadRequestError("Request must specify image and features.")
    if content and uri:
        # Observed, against the documentation, which says that `content` takes precedence:
        # https://github.com/googleapis/google-cloud-dotnet/issues/5467
        raise BadRequestError("Only one of image content and uri should be specified.")
    max_results: dict[str, int] = {}
    for feature in request.features:
        name, most = _feature_name(feature), feature.max_results
        if most < 0:
            raise BadRequestError(f"Feature {name} has a negative max_results: {most}.")
        max_results[name] = max(max_results.get(name, 0), most or DEFAULT_MAX_RESULTS)
    return ImageRequest(content, uri, max_results, _aspect_ratios(request))


def _feature_name(feature: Any) -> str:
    """The name of a feature's type. An unknown number stays a number."""
    enum = feature.DESCRIPTOR.fields_by_name["type_"].enum_type
    value = enum.values_by_number.get(feature.type_)
    return str(feature.type_ if value is None else value.name)


def _aspect_ratios(request: Any) -> tuple[float, ...]:
    ratios = tuple(request.image_context.crop_hints_params.aspect_ratios[:MAX_ASPECT_RATIOS])
    for ratio in ratios:
        if not 0 < ratio < math.inf:
            raise BadRequestError(f"An aspect ratio is above zero; got {ratio:g}.")
    return ratios
