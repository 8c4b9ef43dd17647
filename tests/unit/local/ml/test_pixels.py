import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etlkit.errors import ImageError
from etlkit.local.ml import pixels
from etlkit.local.ml.pixels import Picture

PHOTOS = Path(__file__).parents[4] / "photos"
COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [51, 102, 204]]], np.uint8)


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(array, mode=None):
    return encoded(Image.fromarray(array, mode))


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_decoded_image_has_the_files_values_over_255(kind):
    """The sizes are height, width and channels; the values are FLOAT64 from 0 to 1."""
    picture = pixels.decode(encoded(Image.fromarray(COLORS), kind))
    assert picture.pixels.shape == (2, 2, 3)
    assert picture.values().dtype == np.float64
    assert np.array_equal(picture.values(), COLORS / 255)


def test_a_jpeg_is_decoded_in_full():
    """Large photos are decoded in full: the pixels are those of any decoder."""
    file = PHOTOS / "chelsea.jpg"
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(pixels.decode(file.read_bytes()).pixels, expected)


def test_gray_and_transparent_images_come_as_rgb():
    """Every image is decoded to three channels."""
    gray = encoded(Image.new("L", (3, 2), 51))
    clear = encoded(Image.new("RGBA", (3, 2), (51, 51, 51, 7)))
    for data in (gray, clear):
        assert np.array_equal(pixels.decode(data).pixels, np.full((2, 3, 3), 51))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded(Image.new("RGB", (8, 8)), "GIF"),
        (PHOTOS / "coffee.jpg").read_bytes()[:5000],
        b"%!PS-Adobe-3.0",
    ],
    ids=["empty", "text", "gif", "cut short", "postscript"],
)
def test_only_complete_jpeg_png_and_bmp_files_are_decoded(data):
    """Damaged files and other formats raise ImageError."""
    with pytest.raises(ImageError, match="not a JPEG, PNG or BMP image, or is damaged"):
        pixels.decode(data)


def test_files_above_ten_million_bytes_are_refused():
    """Files above BigQuery's limit are refused."""
    with pytest.raises(ImageError, match="at most 10000000"):
        pixels.decode(b"\0" * 10_000_001)


def test_a_huge_image_is_scaled_to_60_mb():
    """An image that is too large for a STRUCT is scaled down with the same proportions."""
    picture = pixels.decode(encoded(Image.new("RGB", (4000, 3000), (9, 9, 9))))
    height, width, _ = picture.pixels.shape
    assert 0.99 * 60_000_000 < picture.pixels.size * 8 <= 60_000_000
    assert width / height == pytest.approx(4 / 3, abs=0.01)


def test_resizing_is_pillows_bilinear():
    """Resizing gives the same pixels as a script that calls the model directly."""
    picture = pixels.decode((PHOTOS / "coffee.jpg").read_bytes())
    with Image.open(PHOTOS / "coffee.jpg") as image:
        expected = image.convert("RGB").resize((50, 40), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels.resize(picture, 40, 50).pixels, np.asarray(expected))


def test_resizing_values_from_sql_is_the_same():
    """FLOAT64 values of a table give the same pixels as the file."""
    picture = pixels.decode((PHOTOS / "coffee.jpg").read_bytes())
    sizes = np.array(picture.pixels.shape)
    again = pixels.from_values(sizes, picture.values().reshape(-1))
    assert np.array_equal(
        pixels.resize(again, 30, 30).values(), pixels.resize(picture, 30, 30).values()
    )


@pytest.mark.parametrize(
    ("target", "size"),
    [((10, 10), (5, 10)), ((100, 100), (50, 100)), ((3, 100), (3, 6)), ((1, 1), (1, 1))],
)
def test_keeping_the_ratio_gives_the_largest_that_fits(target, size):
    """With `preserve_aspect_ratio` neither side is longer than requested."""
    picture = Picture(np.zeros((20, 40, 3), np.uint8))
    assert pixels.resize(picture, *target, keep_ratio=True).pixels.shape[:2] == size


def test_float_and_one_channel_images_are_resized():
    """A color-converted image can be resized."""
    gray = pixels.convert_color_space(Picture(COLORS), "GRAYSCALE")
    assert pixels.resize(gray, 1, 1).values() == pytest.approx(gray.values().mean(), abs=1e-6)


def test_a_size_of_zero_is_refused():
    """A size of zero is refused."""
    with pytest.raises(ImageError, match="must be positive"):
        pixels.resize(Picture(COLORS), 0, 5)


def test_gray_is_the_weighted_sum_of_the_colors():
    """GRAYSCALE is 0.2989 red + 0.587 green + 0.114 blue, in one channel."""
    gray = pixels.convert_color_space(Picture(COLORS), "grayscale").values()
    assert gray.shape == (2, 2, 1)
    assert gray.reshape(-1)[:3] == pytest.approx([0.2989, 0.5870, 0.1140])


def test_hue_saturation_value():
    """The hues of red, green and blue are 0, 1/3 and 2/3."""
    hsv = pixels.convert_color_space(Picture(COLORS), "HSV").values().reshape(-1, 3)
    assert hsv[:3] == pytest.approx(np.array([[0, 1, 1], [1 / 3, 1, 1], [2 / 3, 1, 1]]))
    assert hsv[3] == pytest.approx([0.6111, 0.75, 0.8], abs=1e-4)


@pytest.mark.parametrize(
    ("space", "red"), [("YIQ", [0.299, 0.596, 0.212]), ("YUV", [0.299, -0.147, 0.615])]
)
def test_brightness_and_chrominance(space, red):
    """The first channel is the brightness, and the others are zero for gray."""
    converted = pixels.convert_color_space(Picture(COLORS), space).values()
    assert converted[0, 0] == pytest.approx(red, abs=1e-3)
    gray = pixels.convert_color_space(Picture(np.full((1, 1, 3), 128, np.uint8)), space)
    assert gray.values()[0, 0] == pytest.approx([128 / 255, 0, 0], abs=1e-4)


@pytest.mark.parametrize("space", ["RGB", "", "CMYK"])
def test_other_color_spaces_are_refused(space):
    """The message lists the known color spaces."""
    with pytest.raises(ImageError, match="HSV, GRAYSCALE, YIQ, YUV"):
        pixels.convert_color_space(Picture(COLORS), space)


def test_only_rgb_is_converted():
    """An image with one channel cannot be color-converted."""
    with pytest.raises(ImageError, match="has 1"):
        pixels.convert_color_space(Picture(COLORS[:, :, :1]), "HSV")


def test_integers_are_those_of_the_file():
    """ML.CONVERT_IMAGE_TYPE of a decoded image gives back its bytes."""
    whole = pixels.convert_type(pixels.decode(png(COLORS)))
    assert whole.values().dtype == np.int64
    assert np.array_equal(whole.values(), COLORS)


def test_floats_become_integers():
    """0-1 is spread evenly over 0-255, and values outside are clipped."""
    picture = Picture(np.array([[[-0.2, 0.0, 0.5], [0.997, 1.0, 1.5]]]))
    assert pixels.convert_type(picture).values().reshape(-1).tolist() == [0, 0, 127, 254, 255, 255]


@pytest.mark.parametrize(
    ("sizes", "values", "message"),
    [
        ([1, 2], [0.0, 0.0], "must have the sizes"),
        ([1, 1, 3], [0.0], "1 values"),
        ([1, 1, 3], [0, 1, 256], "must be in 0-255"),
    ],
)
def test_a_struct_that_is_not_an_image_is_refused(sizes, values, message):
    """An image whose sizes and values do not match is refused."""
    with pytest.raises(ImageError, match=message):
        pixels.from_values(np.array(sizes), np.array(values))
