"""What BigQuery's image functions do to pixels: decode, resize, convert colors and number types.

With these conventions a query and a direct call of a model agree to the last bit:

- A decoded image is 8-bit RGB. Its EXIF orientation is not applied. Its values are n / 255.
- An image whose values are all n / 255 is resized as 8-bit pixels, however it was made.
- Resizing is Pillow's BILINEAR.
- Colors are converted by the formulas of TensorFlow's `tf.image`.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from etlkit.errors import ImageError
from etlkit.local.image_memory import MAX_PIXELS, decoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-decode-image
MAX_FILE_BYTES: Final = 10_000_000
FORMATS: Final = ("JPEG", "PNG", "BMP")
MAX_STRUCT_BYTES: Final = 60_000_000
_VALUE_BYTES: Final = 8

# google.rpc.Code.INVALID_ARGUMENT
_BAD_IMAGE_CODE: Final = 3

_UNIT_64: Final = np.arange(256) / 255.0
_UNIT_32: Final = _UNIT_64.astype(np.float32)
_EIGHT_BIT_TOLERANCE: Final = 1e-5

_GRAY: Final = np.array([0.2989, 0.5870, 0.1140])
_YIQ: Final = np.array(
    [
        [0.299, 0.59590059, 0.2115],
        [0.587, -0.27455667, -0.52273617],
        [0.114, -0.32134392, 0.31119955],
    ]
)
_YUV: Final = np.array(
    [
        [0.299, -0.14714119, 0.61497538],
        [0.587, -0.28886916, -0.51496512],
        [0.114, 0.43601035, -0.10001026],
    ]
)
COLOR_SPACES: Final = ("HSV", "GRAYSCALE", "YIQ", "YUV")


class Picture:
    """One image.

    Args:
        content: Pillow's RGB image, or an array of shape (height, width, channels). 8-bit numbers n
            mean n / 255, unless `is_integer`.
        is_integer: True = SQL sees INT64 values in 0-255, False = FLOAT64 values in 0-1.
    """

    def __init__(self, content: Image.Image | NDArray[Any], *, is_integer: bool = False) -> None:
        self.is_integer = is_integer
        self._content = content

    @property
    def pixels(self) -> NDArray[Any]:
        """The array of shape (height, width, channels)."""
        if isinstance(self._content, Image.Image):
            self._content = np.asarray(self._content)
        pixels: NDArray[Any] = self._content
        return pixels

    @property
    def image(self) -> Image.Image | None:
        """The picture as Pillow's image, without a copy of the pixels; None = it is not 8-bit RGB."""
        if isinstance(self._content, Image.Image):
            return self._content
        is_rgb = self._content.dtype == np.uint8 and self._content.shape[2] == 3
        return Image.fromarray(self._content) if is_rgb else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        if isinstance(self._content, Image.Image):
            return (self._content.height, self._content.width, 3)
        height, width, channels = self._content.shape
        return (height, width, channels)

    def values(self) -> NDArray[Any]:
        """The values that SQL sees: int64 or float64, in the shape of `pixels`."""
        values: NDArray[Any]
        if self.is_integer:
            values = self.pixels.astype(np.int64)
        elif self.pixels.dtype == np.uint8:
            values = _UNIT_64[self.pixels]
        else:
            values = self.pixels.astype(np.float64)
        return values

    def tensor(self, dtype: str) -> NDArray[Any]:
        """The values that a model takes, as numpy's `dtype`."""
        if not self.is_integer and self.pixels.dtype == np.uint8:
            values: NDArray[Any] = _UNIT_32[self.pixels]
        else:
            values = self.pixels
        return values.astype(dtype, copy=False)


def from_values(sizes: NDArray[np.int64], values: NDArray[Any]) -> Picture:
    """Make a picture from the sizes and values of a STRUCT.

    Raises:
        ImageError: There are not three sizes, or their product is not the number of values.
    """
    if len(sizes) != 3 or math.prod(int(size) for size in sizes) != len(values):
        raise _error(
            "An image must have the sizes [height, width, channels] and one value for each element; "
            f"it has the sizes {[int(size) for size in sizes]} and {len(values)} values"
        )
    shaped = values.reshape([int(size) for size in sizes])
    if shaped.dtype.kind in "iu":
        if shaped.size and (shaped.min() < 0 or shaped.max() > 255):
            raise _error("The INT64 values of an image must be in 0-255")
        return Picture(shaped.astype(np.uint8), is_integer=True)
    scaled = shaped * 255.0
    whole = np.rint(scaled)
    is_whole = bool(np.all(np.abs(scaled - whole) < _EIGHT_BIT_TOLERANCE))
    if is_whole and whole.size and whole.min() >= 0 and whole.max() <= 255:
        return Picture(whole.astype(np.uint8))
    return Picture(shaped)


def decode(data: bytes) -> Picture:
    """Decode a JPEG, PNG or BMP file to RGB, at most 60 MB as a STRUCT.

    Raises:
        ImageError: Not such a file, cut short, or above 10,000,000 bytes.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _error(f"The image has {len(data)} bytes; at most {MAX_FILE_BYTES} can be decoded")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            num_pixels = image.width * image.height
        if num_pixels <= MAX_PIXELS:
            with decoding(num_pixels):
                return _decoded(data)
    except Exception as exc:  # Pillow's decoders raise many types for hostile bytes
        raise _error("The data is not a JPEG, PNG or BMP image, or is damaged") from exc
    raise _error(f"The image has {num_pixels} pixels; at most {MAX_PIXELS} can be decoded")


def _decoded(data: bytes) -> Picture:
    """The picture. On return, nothing else holds the pixels of a larger one."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.load()
        # `convert` copies an image that is RGB already.
        return _bounded(image.convert("RGB") if image.mode != "RGB" else image)


def resize(picture: Picture, height: int, width: int, *, keep_ratio: bool = False) -> Picture:
    """Stretch to a size, or scale to the largest size within it that keeps the proportions.

    Raises:
        ImageError: A size is not positive.
    """
    if height < 1 or width < 1:
        raise _error(f"The target size must be positive; it is {height} x {width}")
    old_height, old_width, channels = picture.shape
    if keep_ratio:
        scale = min(height / old_height, width / old_width)
        height = max(1, round(old_height * scale))
        width = max(1, round(old_width * scale))
    if (old_height, old_width) == (height, width):
        return picture
    image = picture.image
    if image is not None:
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return Picture(resized, is_integer=picture.is_integer)
    planes = [_resized_plane(picture.pixels[:, :, c], (width, height)) for c in range(channels)]
    return Picture(np.stack(planes, axis=2), is_integer=picture.is_integer)


def convert_color_space(picture: Picture, space: str) -> Picture:
    """Convert from RGB to HSV, GRAYSCALE, YIQ or YUV. The result has floating-point values.

    Raises:
        ImageError: The color space is unknown, or the image does not have three channels.
    """
    if space.upper() not in COLOR_SPACES:
        raise _error(f"{space!r} is not a color space; choose one of {', '.join(COLOR_SPACES)}")
    if picture.shape[2] != 3:
        raise _error(f"An RGB image has 3 channels; this one has {picture.shape[2]}")
    rgb = picture.values() / 255.0 if picture.is_integer else picture.values()
    match space.upper():
        case "GRAYSCALE":
            return Picture((rgb @ _GRAY)[:, :, np.newaxis])
        case "YIQ":
            return Picture(rgb @ _YIQ)
        case "YUV":
            return Picture(rgb @ _YUV)
    return Picture(_hsv(rgb))


def convert_type(picture: Picture) -> Picture:
    """Convert floating-point values in 0-1 to integers in 0-255."""
    if picture.is_integer or picture.pixels.dtype == np.uint8:
        return Picture(picture.pixels, is_integer=True)
    # Like tf.image.convert_image_dtype with saturation: each integer gets an equal share of 0-1.
    whole = np.clip(np.trunc(picture.pixels * 255.5), 0, 255)
    return Picture(whole.astype(np.uint8), is_integer=True)


def _bounded(image: Image.Image) -> Picture:
    """Scale down an image that is too large for a STRUCT."""
    most = MAX_STRUCT_BYTES // (_VALUE_BYTES * 3)
    num_pixels = image.width * image.height
    if num_pixels <= most:
        return Picture(image)
    scale = math.sqrt(most / num_pixels)
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return Picture(image.resize(size, Image.Resampling.BILINEAR))


def _resized_plane(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    eight_bit = plane.dtype == np.uint8
    image = Image.fromarray(np.ascontiguousarray(plane if eight_bit else plane.astype(np.float32)))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _hsv(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = rgb.max(axis=2)
    spread = value - rgb.min(axis=2)
    divisor = np.where(spread > 0, spread, 1.0) * 6.0
    hue = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(value == green, (blue - red) / divisor + 1 / 3, (red - green) / divisor + 2 / 3),
    )
    hue = np.where(spread > 0, hue, 0.0)
    saturation = np.where(value > 0, spread / np.where(value > 0, value, 1.0), 0.0)
    return np.stack([hue + (hue < 0), saturation, value], axis=2)


def _error(message: str) -> ImageError:
    return ImageError(message, code=_BAD_IMAGE_CODE)
