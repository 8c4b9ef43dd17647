"""Which colours an image is made of, counted from its pixels: no model, and no judgement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from PIL import Image

# Enough to tell colours apart, few enough to count in a millisecond.
_SIDE: Final = 112
_NUM_COLORS: Final = 16

# How much a grey counts beside a pure colour of the same area.
_GREY_WEIGHT: Final = 0.2


@dataclass(frozen=True)
class DominantColor:
    """One colour of an image.

    Attributes:
        red: 0-255, as `green` and `blue`; sRGB.
        green: As `red`.
        blue: As `red`.
        score: 0.0-1.0, all of an image sum to 1: the share of pixels, where greys weigh less than
            vivid colours. Vision does not say how it comes to its own.
        pixel_fraction: Share of the pixels, all of an image sum to 1.
    """

    red: int
    green: int
    blue: int
    score: float
    pixel_fraction: float


def dominant_colors(image: Image.Image) -> list[DominantColor]:
    """The colours of an image, highest score first.

    Args:
        image: Mode RGB, of any size.

    Returns:
        1 to 16 colours.
    """
    small = image.resize((min(_SIDE, image.width), min(_SIDE, image.height)), Image.Resampling.BOX)
    indexed = small.quantize(_NUM_COLORS, Image.Quantize.MEDIANCUT, kmeans=1)
    palette = indexed.getpalette() or []
    colors = [(palette[i], palette[i + 1], palette[i + 2]) for i in range(0, len(palette), 3)]
    counted = zip(indexed.histogram(), colors, strict=False)
    present = [(count, color) for count, color in counted if count]
    weights = [
        count * (_GREY_WEIGHT + (1 - _GREY_WEIGHT) * (max(color) - min(color)) / 255)
        for count, color in present
    ]
    num_pixels = small.width * small.height
    found = [
        DominantColor(red, green, blue, weight / sum(weights), count / num_pixels)
        for (count, (red, green, blue)), weight in zip(present, weights, strict=True)
    ]
    return sorted(found, key=lambda color: -color.score)
