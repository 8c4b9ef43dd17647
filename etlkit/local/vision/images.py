"""Decodes image files to upright RGB pixels. No byte of them is trusted."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from etlkit.errors import ImageError

# google.rpc.Code.INVALID_ARGUMENT, Vision's code for an image that it cannot read.
# Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
BAD_IMAGE_CODE = 3

# What Vision reads, without PDF and RAW. By default Pillow would also pass PostScript to a
# Ghostscript on the PATH.
# Source: https://cloud.google.com/vision/docs/supported-files
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "ICO", "TIFF")

# Vision's limit for OCR, applied here to every feature: it limits the memory of a decoded image.
# Source: https://cloud.google.com/vision/docs/supported-files (75 M pixels, width x height).
MAX_PIXELS = 75_000_000

# The models use at most 300 x 300 pixels. So a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size,
# but not below this side, in a fraction of the time and the memory.
_SMALLEST_SIDE = 600

_ORIENTATION_TAG = 0x0112

# EXIF orientations that swap width and height.
_SIDEWAYS = frozenset({5, 6, 7, 8})


def decode_image(data: bytes, *, max_bytes: int) -> Image.Image:
    """Decode an image file and apply its EXIF orientation.

    A large JPEG is returned at a fraction of its size, with the same proportions.

    Args:
        data: The whole file.
        max_bytes: The largest file that is accepted.

    Returns:
        The first frame, mode RGB, at most `MAX_PIXELS` pixels.

    Raises:
        ImageError: Not an image, incomplete, of an unsupported format, or too large. `code` is
            `BAD_IMAGE_CODE`.
    """
    if len(data) > max_bytes:
        raise ImageError(
            f"Image size exceeds the limit: {len(data)} bytes, at most {max_bytes}.",
            code=BAD_IMAGE_CODE,
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            num_pixels = image.width * image.height
            if num_pixels <= MAX_PIXELS:
                image.draft("RGB", (_SMALLEST_SIDE, _SMALLEST_SIDE))
                return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as exc:  # Pillow's decoders raise many types for hostile bytes
        raise ImageError("Bad image data.", code=BAD_IMAGE_CODE) from exc
    raise ImageError(
        f"Image size exceeds the limit: {num_pixels} pixels, at most {MAX_PIXELS}.",
        code=BAD_IMAGE_CODE,
    )


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of an image file that `decode_image` accepts, once upright."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS:
            return image.height, image.width
        return image.width, image.height
