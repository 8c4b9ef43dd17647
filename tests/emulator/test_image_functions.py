"""The image functions by themselves, anywhere in a query.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-decode-image
"""

import base64
import io

import numpy as np
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from PIL import Image

PIXELS = np.array([[[255, 0, 0], [0, 51, 0]], [[0, 0, 102], [9, 9, 9]], [[1, 2, 3], [4, 5, 6]]])


def png(pixels=PIXELS):
    """A PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


FILE = f"FROM_BASE64('{base64.b64encode(png()).decode()}')"
DECODE = f"ML.DECODE_IMAGE({FILE})"


@pytest.fixture
def select(run):
    """Compute an expression and return its sizes and values."""

    def value(expression):
        ((found,),) = run(f"SELECT {expression}")
        return None if found is None else [*found.values()]

    return value


def test_decode(select):
    """A decoded image has sizes (height, width, channels) and values from 0 to 1."""
    sizes, values = select(DECODE)
    assert sizes == [3, 2, 3]
    assert values == (PIXELS.reshape(-1) / 255).tolist()


def test_the_file_as_a_query_parameter(run):
    """BYTES parameters may have any byte, in scripts too."""
    image = bigquery.ScalarQueryParameter("image", "BYTES", png())
    images = bigquery.ArrayQueryParameter("images", "BYTES", [png(), b"\0\xff"])
    for before in ("", "DECLARE x INT64; "):
        sql = f"{before}SELECT ML.CONVERT_IMAGE_TYPE(ML.DECODE_IMAGE(@image)), @image, @images"
        ((whole, same, all_),) = run(sql, query_parameters=[image, images])
        assert [*whole.values()] == [[3, 2, 3], PIXELS.reshape(-1).tolist()]
        assert (same, all_) == (png(), [png(), b"\0\xff"])


def test_null_is_null(select):
    """NULL gives NULL."""
    assert select("ML.DECODE_IMAGE(CAST(NULL AS BYTES))") is None
    assert select("ML.CONVERT_IMAGE_TYPE(ML.DECODE_IMAGE(CAST(NULL AS BYTES)))") is None


def test_resize(select):
    """Images are resized to a size or to what fits into it; function names ignore case."""
    assert select(f"ml.resize_image({DECODE}, 6, 4, FALSE)")[0] == [6, 4, 3]
    assert select(f"ML.RESIZE_IMAGE({DECODE}, 6, 100, TRUE)")[0] == [6, 4, 3]
    assert select(f"ML.RESIZE_IMAGE({DECODE}, 3, 2, FALSE)") == select(DECODE)


def test_convert(select):
    """GRAYSCALE has one channel, and the integers of an image are those of its file."""
    sizes, values = select(f"ML.CONVERT_COLOR_SPACE({DECODE}, 'GRAYSCALE')")
    assert sizes == [3, 2, 1]
    assert values[0] == pytest.approx(0.2989)
    assert select(f"ML.CONVERT_IMAGE_TYPE({DECODE})") == [[3, 2, 3], PIXELS.reshape(-1).tolist()]
    small = f"ML.RESIZE_IMAGE(ML.CONVERT_IMAGE_TYPE({DECODE}), 1, 1, FALSE)"
    assert all(isinstance(each, int) for each in select(small)[1])


def test_an_image_is_kept_in_a_table(dataset, run, bq):
    """An image stored in a table has two ARRAYs and can be used as before."""
    run(f"CREATE TABLE {dataset}.t AS SELECT {DECODE} AS image")
    (field,) = bq.get_table(f"{dataset}.t").schema
    assert [(each.field_type, each.mode) for each in field.fields] == [
        ("INTEGER", "REPEATED"),
        ("FLOAT", "REPEATED"),
    ]
    sql = f"SELECT ML.CONVERT_IMAGE_TYPE(image) FROM {dataset}.t WHERE image IS NOT NULL"
    ((whole,),) = run(sql)
    assert [*whole.values()] == [[3, 2, 3], PIXELS.reshape(-1).tolist()]


def test_the_data_of_an_object_table(dataset, run, local_server):
    """`data` works with its qualifier, in WHERE and beside other columns; errors have the address."""
    folder = local_server.local_dir / "buckets" / f"images-{dataset.replace('_', '-')}"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png())
    uris = f"['gs://{folder.name}/*']"
    run(f"CREATE EXTERNAL TABLE {dataset}.o WITH CONNECTION us.c "
        f"OPTIONS(object_metadata='SIMPLE', uris={uris})")  # fmt: skip
    decoded = run(f"SELECT size, ML.DECODE_IMAGE(DATA) FROM {dataset}.o")
    assert next(iter(decoded[0][1].values())) == [3, 2, 3]
    assert run(f"SELECT ML.DECODE_IMAGE(p.data) FROM {dataset}.o AS p")[0][0] == decoded[0][1]
    assert run(f"SELECT 1 FROM {dataset}.o WHERE ML.DECODE_IMAGE(data) IS NOT NULL") == [(1,)]
    (folder / "b.png").write_bytes(png()[:50])
    with pytest.raises(BadRequest, match=rf"image of gs://{folder.name}/b\.png cannot be read"):
        run(f"SELECT ML.DECODE_IMAGE(data) FROM {dataset}.o")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("ML.DECODE_IMAGE()", "requires at least 1 argument, found 0"),
        ("ML.DECODE_IMAGE('text')", "No matching signature for function ML.DECODE_IMAGE"),
        (f"ML.DECODE_IMAGE({FILE[:61]}'))", "not a JPEG, PNG or BMP image, or is damaged"),
        (f"ML.RESIZE_IMAGE({DECODE}, 2, 2)", "requires at least 4 arguments, found 3"),
        (f"ML.RESIZE_IMAGE({DECODE}, 0, 2, FALSE)", "must be positive"),
        (f"ML.RESIZE_IMAGE({FILE}, 2, 2, FALSE)", "No matching signature for function ML.RESIZE"),
        (f"ML.CONVERT_COLOR_SPACE({DECODE}, 'CMYK')", "HSV, GRAYSCALE, YIQ, YUV"),
        (f"ML.CONVERT_COLOR_SPACE(ML.CONVERT_COLOR_SPACE({DECODE}, 'GRAYSCALE'), 'HSV')", "has 1"),
        ("ML.CONVERT_IMAGE_TYPE(1)", "No matching signature for function ML.CONVERT_IMAGE_TYPE"),
    ],
)
def test_wrong_arguments_are_refused(select, expression, message):
    """A wrong call is 400, with BigQuery's message where it is known."""
    with pytest.raises(BadRequest, match=message):
        select(expression)
