"""Decodes image files to upright RGB pixels. No byte of them is trusted."""

from __future__ import annotations

import io

from PIL import Image

from etlkit.errors import ImageError
from etlkit.local.image_memory import MAX_PIXELS, decoding

# google.rpc.Code.INVALID_ARGUMENT, Vision's code for an image that it cannot read.
# Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
BAD_IMAGE_CODE = 3

# What Vision reads, without PDF and RAW. By default Pillow would also pass PostScript to a
# Ghostscript on the PATH.
# Source: https://cloud.google.com/vision/docs/supported-files
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "ICO", "TIFF")

# The models use at most 300 x 300 pixels. So a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size,
# but not below this side, in a fraction of the time and the memory.
_SMALLEST_SIDE = 600

# Images of other formats are decoded whole. Larger ones are made smaller before anything else.
_LARGE_PIXELS = 16_000_000

_ORIENTATION_TAG = 0x0112

_STRIP_ROWS = 64

# How the orientations are undone.
# Source: https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf (4.6.4, Orientation)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# EXIF orientations that swap width and height.
_SIDEWAYS = frozenset({5, 6, 7, 8})


def decode_image(data: bytes, *, max_bytes: int) -> Image.Image:
    """Decode an image file and apply its EXIF orientation.

    A large image is returned at a fraction of its size, with the same proportions.

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
            with decoding(num_pixels):
                return _decoded(data)
    except Exception as exc:  # Pillow's decoders raise many types for hostile bytes
        raise ImageError("Bad image data.", code=BAD_IMAGE_CODE) from exc
    raise ImageError(
        f"Image size exceeds the limit: {num_pixels} pixels, at most {MAX_PIXELS}.",
        code=BAD_IMAGE_CODE,
    )


def _decoded(data: bytes) -> Image.Image:
    """The upright image. On return, nothing else holds its pixels."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.draft("RGB", (_SMALLEST_SIDE, _SMALLEST_SIDE))
        return _upright(_smaller(image), image.getexif())


def _smaller(image: Image.Image) -> Image.Image:
    """A large image at a fraction of its size. Only one copy of all of its pixels is made."""
    if image.width * image.height <= _LARGE_PIXELS:
        return image
    factor = max(2, min(image.size) // _SMALLEST_SIDE)
    if image.mode in {"RGB", "L"}:
        return image.reduce(factor)
    # Other modes are not reduced, or not well. In strips, so that not all is converted at once.
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    height = factor * _STRIP_ROWS
    for top in range(0, image.height, height):
        strip = image.crop((0, top, image.width, min(top + height, image.height)))
        small.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return small


def _upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    """The image in mode RGB, turned as its EXIF orientation says."""
    turn = _TURNS.get(exif.get(_ORIENTATION_TAG, 0))
    turned = image if turn is None else image.transpose(turn)
    return turned.convert("RGB")


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of an image file that `decode_image` accepts, once upright."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS:
            return image.height, image.width
        return image.width, image.height
