"""Suggests how to crop an image: around the objects that the detector finds in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from etlkit.local.vision.detector import DetectedObject

# The confidence if no object was found: the middle of the image is only a guess.
_CONFIDENCE_WITHOUT_OBJECTS: Final = 0.5


@dataclass(frozen=True)
class CropHint:
    """A suggested crop.

    Attributes:
        left: The first column of pixels, from 0.
        top: The first row of pixels, from 0.
        right: The last column; at most 1023 in an image that is 1024 wide, as in Vision.
        bottom: The last row.
        confidence: 0.0-1.0: the highest score of an object; 0.5 = there are no objects.
        importance_fraction: 0.0-1.0: the share of the objects' area that is in the crop.
    """

    left: int
    top: int
    right: int
    bottom: int
    confidence: float
    importance_fraction: float


def crop_hints(
    objects: Sequence[DetectedObject], size: tuple[int, int], aspect_ratios: Sequence[float]
) -> list[CropHint]:
    """The best crop for each aspect ratio.

    For a ratio it is the largest crop of that shape, with the objects as near to its middle as
    possible. Without ratios it is the smallest crop that has all objects.

    Args:
        objects: The objects in the image; [] = the whole image counts as one.
        size: Width and height of the image in pixels.
        aspect_ratios: Width divided by height of each crop; () = only the best crop.

    Returns:
        One hint for each ratio, in order; without ratios one.
    """
    salient = _around(objects)
    confidence = max((each.score for each in objects), default=_CONFIDENCE_WITHOUT_OBJECTS)
    boxes = [_largest(salient, size, ratio) for ratio in aspect_ratios] or [salient]
    return [_hint(box, salient, size, confidence) for box in boxes]


_Box = tuple[float, float, float, float]


def _around(objects: Sequence[DetectedObject]) -> _Box:
    """The box around all objects: left, top, right and bottom in 0.0-1.0."""
    if not objects:
        return 0.0, 0.0, 1.0, 1.0
    return (
        max(0.0, min(each.xmin for each in objects)),
        max(0.0, min(each.ymin for each in objects)),
        min(1.0, max(each.xmax for each in objects)),
        min(1.0, max(each.ymax for each in objects)),
    )


def _largest(salient: _Box, size: tuple[int, int], ratio: float) -> _Box:
    width, height = size
    share_x = min(1.0, height * ratio / width)
    share_y = min(1.0, width / ratio / height)
    left = _centered((salient[0] + salient[2]) / 2, share_x)
    top = _centered((salient[1] + salient[3]) / 2, share_y)
    return left, top, left + share_x, top + share_y


def _centered(middle: float, share: float) -> float:
    """The start of an interval of length `share` around `middle` that stays within 0.0-1.0."""
    return min(max(0.0, middle - share / 2), 1.0 - share)


def _hint(box: _Box, salient: _Box, size: tuple[int, int], confidence: float) -> CropHint:
    kept = _area(
        (
            max(box[0], salient[0]),
            max(box[1], salient[1]),
            min(box[2], salient[2]),
            min(box[3], salient[3]),
        )
    )
    width, height = size
    left = min(round(box[0] * width), width - 1)
    top = min(round(box[1] * height), height - 1)
    return CropHint(
        left=left,
        top=top,
        right=max(left, round(box[2] * width) - 1),
        bottom=max(top, round(box[3] * height) - 1),
        confidence=confidence,
        importance_fraction=kept / area if (area := _area(salient)) else 1.0,
    )


def _area(box: _Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
