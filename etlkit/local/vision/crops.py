"""Where to crop an image: around the objects that the detector finds in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from etlkit.local.vision.detector import DetectedObject

# Nothing found: the middle of the image is as good a guess as any.
_GUESS: Final = 0.5


@dataclass(frozen=True)
class CropHint:
    """A part of an image worth keeping.

    Attributes:
        left: First column in it, from 0.
        top: First row in it.
        right: Last column in it: of an image 1024 wide at most 1023, as Vision counts.
        bottom: Last row in it.
        confidence: 0.0-1.0: how sure the detector is of its surest object; 0.5 = it found none.
        importance_fraction: 0.0-1.0: the share of the objects' area that the crop keeps.
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

    With a ratio it is the largest part of that shape, moved so that the objects are in its middle;
    without any, the smallest part that holds all objects.

    Args:
        objects: What is in the image; [] = the whole of it counts.
        size: Width and height of the image in pixels.
        aspect_ratios: Width by height of each crop, in order; () = the best crop alone.

    Returns:
        One hint for each ratio, or one.
    """
    salient = _around(objects)
    confidence = max((thing.score for thing in objects), default=_GUESS)
    boxes = [_largest(salient, size, ratio) for ratio in aspect_ratios] or [salient]
    return [_hint(box, salient, size, confidence) for box in boxes]


_Box = tuple[float, float, float, float]


def _around(objects: Sequence[DetectedObject]) -> _Box:
    """Left, top, right and bottom of all objects together, 0.0-1.0."""
    if not objects:
        return 0.0, 0.0, 1.0, 1.0
    return (
        max(0.0, min(thing.xmin for thing in objects)),
        max(0.0, min(thing.ymin for thing in objects)),
        min(1.0, max(thing.xmax for thing in objects)),
        min(1.0, max(thing.ymax for thing in objects)),
    )


def _largest(salient: _Box, size: tuple[int, int], ratio: float) -> _Box:
    width, height = size
    share_x = min(1.0, height * ratio / width)
    share_y = min(1.0, width / ratio / height)
    left = _centred((salient[0] + salient[2]) / 2, share_x)
    top = _centred((salient[1] + salient[3]) / 2, share_y)
    return left, top, left + share_x, top + share_y


def _centred(middle: float, share: float) -> float:
    """Where a part begins that has `middle` in its middle, and stays inside."""
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
