"""The dominant colors of an image, counted from its pixels without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from PIL import Image

# The size to which images are reduced: enough to tell colors apart, and counted in a millisecond.
_SIDE: Final = 112
_NUM_COLORS: Final = 16

# The weight of gray, where a pure color of the same area has 1.
_GRAY_WEIGHT: Final = 0.2


@dataclass(frozen=True)
class DominantColor:
    """One color of an image.

    Attributes:
        red: 0-255, sRGB.
        green: 0-255, sRGB.
        blue: 0-255, sRGB.
        score: 0.0-1.0; the scores of an image sum to 1. The share of the pixels, in which gray counts
            less than vivid colors. Vision does not document how it computes its own.
        pixel_fraction: The share of the pixels; those of an image sum to 1.
    """

    red: int
    green: int
    blue: int
    score: float
    pixel_fraction: float


def dominant_colors(image: Image.Image) -> list[DominantColor]:
    """The dominant colors of an image, highest score first.

    Args:
        image: Mode RGB, of any size.

    Returns:
        1 to 16 colors.
    """
    small = image.resize((min(_SIDE, image.width), min(_SIDE, image.height)), Image.Resampling.BOX)
    indexed = small.quantize(_NUM_COLORS, Image.Quantize.MEDIANCUT, kmeans=1)
    palette = indexed.getpalette() or []
    colors = [(palette[i], palette[i + 1], palette[i + 2]) for i in range(0, len(palette), 3)]
    counted = zip(indexed.histogram(), colors, strict=False)
    present = [(count, color) for count, color in counted if count]
    weights = [
        count * (_GRAY_WEIGHT + (1 - _GRAY_WEIGHT) * (max(color) - min(color)) / 255)
        for count, color in present
    ]
    num_pixels = small.width * small.height
    found = [
        DominantColor(red, green, blue, weight / sum(weights), count / num_pixels)
        for (count, (red, green, blue)), weight in zip(present, weights, strict=True)
    ]
    return sorted(found, key=lambda color: -color.score)
