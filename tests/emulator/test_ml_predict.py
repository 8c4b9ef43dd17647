"""ML.PREDICT in every place of a query: the rows are those of the model called directly.

What real BigQuery does:
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict
"""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery
from PIL import Image

from etlkit.local.buckets import Buckets
from tests import onnx_bytes

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "photos"
NUMBERS = {1: -3.0, 2: 0.5, 3: 2.0, 4: 40.0}
MODELS = {
    "mean": onnx_bytes.mean_color(),
    "any_size": onnx_bytes.mean_color("h", "w"),
    "one": onnx_bytes.mean_color(batch=1),
    "whole": onnx_bytes.mean_of_bytes(),
    "pytorch": onnx_bytes.channels_first(),
    "line": onnx_bytes.line(),
    "total": onnx_bytes.total(),
}


def thumbnail(name):
    """A small PNG of a photo: 9 x 6 pixels."""
    stream = io.BytesIO()
    with Image.open(PHOTOS / f"{name}.jpg") as photo:
        photo.convert("RGB").resize((9, 6)).save(stream, "PNG")
    return stream.getvalue()


FILES = {f"gs://predict/{name}.png": thumbnail(name) for name in ("chelsea", "coffee", "rocket")}


def called_directly(model, **inputs):
    session = onnxruntime.InferenceSession(MODELS[model], providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0][0].tolist()


def decoded(data, size=(2, 2)):
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32)[np.newaxis] / np.float32(255)


MEANS = {uri: called_directly("mean", image=decoded(data)) for uri, data in FILES.items()}
LINES = {id_: called_directly("line", x=np.float32([x])) for id_, x in NUMBERS.items()}


def again_and_again(x, times):
    for _ in range(times):
        x = called_directly("line", x=np.float32([x]))
    return x


@pytest.fixture(scope="module")
def world(local_server, bq):
    """Photos, numbers and models in the dataset `ml`."""
    root = local_server.local_dir / "buckets"
    for uri, data in FILES.items():
        path = Buckets(root).path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "predict-models").mkdir(exist_ok=True)
    for name, data in MODELS.items():
        (root / "predict-models" / f"{name}.onnx").write_bytes(data)
    numbers = ", ".join(f"STRUCT({id_} AS id, {x} AS x)" for id_, x in NUMBERS.items())
    models = "\n".join(
        f"CREATE MODEL ml.{name} OPTIONS(model_type='ONNX', "
        f"model_path='gs://predict-models/{name}.onnx');"
        for name in MODELS
    )
    bq.query(f"""
        CREATE SCHEMA ml;
        CREATE EXTERNAL TABLE ml.photos WITH CONNECTION us.c
          OPTIONS(object_metadata='SIMPLE', uris=['gs://predict/*']);
        CREATE TABLE ml.files AS SELECT uri, data AS photo FROM ml.photos;
        CREATE TABLE ml.numbers AS SELECT * FROM UNNEST([{numbers}]);
        CREATE TABLE ml.kept (uri STRING, red FLOAT64);
        {models}
    """).result()
    yield bq
    bq.delete_dataset("ml", delete_contents=True)


@pytest.fixture
def rows(world, run):
    """Run a query and return its rows in the order of their first column."""

    def sorted_rows(sql, **options):
        return sorted(run(sql, **options), key=lambda row: str(row[0]))

    return sorted_rows


DECODED = "SELECT uri, ML.DECODE_IMAGE(data) AS image FROM ml.photos"
P = f"ML.PREDICT(MODEL ml.mean, ({DECODED}))"
L = "ML.PREDICT(MODEL ml.line, TABLE ml.numbers)"

# Each gives (uri, mean) for all photos.
PHOTO_QUERIES = [
    f"SELECT uri, mean FROM {P}",
    f"SELECT uri, mean FROM {P}".lower(),
    f"SELECT p.uri, p.mean FROM {P} AS p",
    f"SELECT p.uri, p.mean FROM {P} p WHERE TRUE",
    f"SELECT uri, * EXCEPT (image, uri) FROM {P}",
    f"SELECT uri, mean FROM (SELECT * FROM (SELECT * FROM {P}))",
    f"SELECT uri, mean FROM {P} ORDER BY mean[OFFSET(0)] DESC, uri",
    f"SELECT uri, mean FROM {P} QUALIFY ROW_NUMBER() OVER (PARTITION BY uri ORDER BY uri) = 1",
    f"WITH t AS (SELECT * FROM {P}) SELECT uri, mean FROM t",
    f"WITH t AS (SELECT * FROM {P}) SELECT a.uri, b.mean FROM t AS a JOIN t AS b USING (uri)",
    f"WITH i AS ({DECODED}) SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, TABLE i)",
    f"WITH i AS ({DECODED}) SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, (SELECT * FROM i))",
    (
        f"WITH i AS ({DECODED}), j AS (SELECT image, uri FROM i WHERE uri != '') "
        "SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, TABLE j)"
    ),
    (
        f"WITH i AS ({DECODED}) SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, TABLE i) "
        "JOIN i USING (uri)"
    ),
    f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, (WITH i AS ({DECODED}) SELECT * FROM i))",
    f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, ({DECODED}), STRUCT(0.5 AS threshold))",
    f"SELECT uri, mean FROM ML.PREDICT(MODEL `ml.mean`, ({DECODED} ORDER BY uri LIMIT 10))",
    f"SELECT uri, mean FROM ML.PREDICT(MODEL local.ml.mean, ({DECODED}))",
    f"SELECT uri, mean FROM ML . PREDICT ( MODEL `local`.`ml`.`mean` , ( {DECODED} ) )",
    f"SELECT uri, mean # ML.PREDICT(\nFROM /* MODEL x, */ {P} -- (SELECT",
    f"SELECT uri, mean FROM {P} WHERE uri != 'ML.PREDICT(MODEL a.b, (SELECT \"1\"))'",
    (
        f"SELECT uri, mean FROM {P} WHERE uri LIKE '%e%a.png' UNION ALL "
        f"SELECT uri, mean FROM {P} WHERE uri NOT LIKE '%e%a.png'"
    ),
    (
        f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, ({DECODED} WHERE uri LIKE '%chelsea%' "
        f"UNION ALL {DECODED} WHERE uri NOT LIKE '%chelsea%'))"
    ),
    (
        "SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, "
        "(SELECT uri, ML.DECODE_IMAGE(photo) AS image FROM ml.files))"
    ),
    (
        "SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, (SELECT p.uri, ML.DECODE_IMAGE(p.data) "
        "AS image FROM ml.photos AS p JOIN ml.numbers AS n ON n.id = 1))"
    ),
    (
        "SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, (SELECT uri, "
        "ML.RESIZE_IMAGE(ML.DECODE_IMAGE(data), 2, 2, FALSE) AS image FROM ml.photos))"
    ),
    (
        "SELECT uri, mean FROM ML.PREDICT(MODEL ml.any_size, (SELECT uri, "
        "ML.RESIZE_IMAGE(ML.DECODE_IMAGE(data), 2, 2, FALSE) AS image FROM ml.photos))"
    ),
    f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.one, ({DECODED}))",
    f"SELECT o.uri, p.mean FROM ml.photos AS o, {P} AS p WHERE o.uri = p.uri",
    f"SELECT o.uri, p.mean FROM ml.photos AS o LEFT JOIN {P} AS p ON o.uri = p.uri",
    (
        f"SELECT uri, ARRAY_AGG(value ORDER BY place) FROM {P}, UNNEST(mean) AS value "
        "WITH OFFSET AS place GROUP BY uri"
    ),
    f"SELECT uri, ARRAY(SELECT v FROM UNNEST(mean) AS v WITH OFFSET o ORDER BY o) FROM {P}",
    f"SELECT uri, (SELECT mean FROM {P} AS p WHERE p.uri = o.uri) FROM ml.photos AS o",
    f"SELECT uri, mean FROM {P} WHERE uri IN (SELECT uri FROM {P} WHERE mean[OFFSET(1)] > 0)",
    f"CREATE TEMP TABLE t AS SELECT uri, mean FROM {P}; SELECT * FROM t",
    f"EXECUTE IMMEDIATE 'SELECT uri, mean FROM {P}'",
]

PHOTO_QUERIES += [
    (
        f"CREATE OR REPLACE VIEW ml.decoded AS {DECODED}; "
        f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, {input_})"
    )
    for input_ in ("TABLE ml.decoded", "(SELECT * FROM ml.decoded)")
]

# Each gives (id, y) for all numbers.
NUMBER_QUERIES = [
    f"SELECT id, y FROM {L}",
    "SELECT id, y FROM ML.PREDICT(MODEL ml.line, (SELECT id, CAST(x AS NUMERIC) AS X FROM ml.numbers))",
    f"SELECT id, y FROM {L} WHERE is_big UNION ALL SELECT id, y FROM {L} WHERE NOT is_big",
    f"SELECT l.id, IF(l.is_big, l.y, l.y) FROM ml.numbers AS n INNER JOIN {L} AS l USING (id)",
    f"SELECT id, MAX(y) FROM {L} GROUP BY id HAVING MAX(y) IS NOT NULL",
    f"SELECT id, SUM(y) OVER (PARTITION BY id) FROM {L}",
    (
        "BEGIN DECLARE most INT64 DEFAULT 4; SELECT id, y FROM ML.PREDICT(MODEL ml.line, "
        "(SELECT * FROM ml.numbers WHERE id <= most)); END"
    ),
    f"CREATE OR REPLACE TABLE ml.made AS SELECT id, y FROM {L}; SELECT id, y FROM ml.made",
    (
        f"CREATE OR REPLACE TABLE ml.made (id INT64, y FLOAT64); "
        f"INSERT INTO ml.made SELECT id, y FROM {L}; SELECT id, y FROM ml.made"
    ),
    (
        "CREATE OR REPLACE TABLE ml.made AS SELECT id, 0.0 AS y FROM ml.numbers; "
        f"MERGE ml.made AS m USING (SELECT id, y FROM {L}) AS l ON m.id = l.id "
        "WHEN MATCHED THEN UPDATE SET y = l.y; SELECT id, y FROM ml.made"
    ),
    (
        "CREATE OR REPLACE TABLE ml.made AS SELECT id, 0.0 AS y FROM ml.numbers; "
        f"UPDATE ml.made AS m SET y = l.y FROM {L} AS l WHERE m.id = l.id; SELECT id, y FROM ml.made"
    ),
    f"CREATE OR REPLACE VIEW ml.seen AS SELECT id, y FROM {L}; SELECT id, y FROM ml.seen",
    f"SELECT id, y FROM ML.PREDICT(MODEL ml.line, (SELECT * EXCEPT (y, is_big) FROM {L}))",
    (
        "SELECT id, y FROM ML.PREDICT(MODEL ml.line, (SELECT * FROM UNNEST([STRUCT(1 AS id, "
        "-3.0 AS x), STRUCT(2, 0.5), STRUCT(3, 2.0), STRUCT(4, 40.0)])))"
    ),
]


@pytest.mark.parametrize("sql", PHOTO_QUERIES)
def test_photos_in_every_place_of_a_query(rows, sql):
    """The model gets the photos that the query decodes."""
    answered = rows(sql)
    assert [uri for uri, _ in answered] == list(MEANS)
    assert np.array([mean for _, mean in answered]) == pytest.approx(np.array([*MEANS.values()]))


@pytest.mark.parametrize("sql", NUMBER_QUERIES)
def test_numbers_in_every_place_of_a_query(rows, sql):
    """Columns of numbers work as inputs as photos do."""
    assert dict(rows(sql)) == pytest.approx(LINES)


def test_there_are_fifty_queries():
    """At least fifty different queries are compared with a direct call of the model."""
    assert len({*PHOTO_QUERIES, *NUMBER_QUERIES}) >= 50


@pytest.mark.parametrize("depth", [2, 3])
def test_predictions_of_predictions(rows, depth):
    """The output of one model can be the input of the next."""
    sql = "SELECT id, x FROM ml.numbers"
    for _ in range(depth):
        sql = f"SELECT id, y AS x FROM ML.PREDICT(MODEL ml.line, ({sql}))"
    expected = {id_: again_and_again(x, depth) for id_, x in NUMBERS.items()}
    assert dict(rows(sql)) == pytest.approx(expected)


def test_two_models_in_one_query(rows):
    """The outputs of two models can be joined."""
    joined = f"SELECT uri, mean[OFFSET(0)] + y FROM {P} JOIN {L} ON id = 2"
    expected = {uri: mean[0] + LINES[2] for uri, mean in MEANS.items()}
    assert dict(rows(joined)) == pytest.approx(expected)


def test_query_parameters_in_the_input(rows):
    """Named and positional parameters work inside and around the function."""
    named = bigquery.ScalarQueryParameter("low", "FLOAT64", 1.0)
    sql = "SELECT id, y FROM ML.PREDICT(MODEL ml.line, (SELECT * FROM ml.numbers WHERE x > {}))"
    assert rows(sql.format("@low"), query_parameters=[named]) == [(3, LINES[3]), (4, LINES[4])]
    unnamed = [bigquery.ScalarQueryParameter(None, "FLOAT64", value) for value in (1.0, 20.0)]
    assert rows(sql.format("?") + " WHERE y > ?", query_parameters=unnamed) == [(4, LINES[4])]


def test_outputs_come_first_then_the_input(world):
    """The outputs come first, then the columns of the query with the decoded image."""
    result = world.query(f"SELECT * FROM {P} ORDER BY uri").result()
    assert [field.name for field in result.schema] == ["mean", "uri", "image"]
    first = next(iter(result))
    sizes, values = first["image"].values()
    assert sizes == [6, 9, 3]
    with Image.open(io.BytesIO(FILES["gs://predict/chelsea.png"])) as image:
        assert values == (np.asarray(image).reshape(-1) / 255).tolist()


def test_a_picture_that_is_only_passed_on_is_decoded_once(rows):
    """A query that reads the image column gets the result of its image functions."""
    small = "ML.RESIZE_IMAGE(ML.DECODE_IMAGE(photo), 3, 5, TRUE)"
    sql = f"SELECT uri, {small} AS image FROM ml.files"
    assert rows(f"SELECT uri, image FROM ML.PREDICT(MODEL ml.mean, ({sql}))") == rows(sql)
    assert rows(sql) == rows(f"SELECT uri, {small} FROM ml.files")


def test_arrays_and_plain_values(rows):
    """A tensor of rank 2 takes an ARRAY; one of width 1 takes a plain number too."""
    sql = "SELECT * FROM ML.PREDICT(MODEL ml.total, (SELECT [1, 2, 3, 4] AS v, {} AS w))"
    assert rows(sql.format("0.5"))[0][0] == pytest.approx([10.5])
    assert rows(sql.format("[0.5]"))[0][0] == pytest.approx([10.5])


def test_integers_for_a_uint8_input(rows):
    """A uint8 input takes the result of ML.CONVERT_IMAGE_TYPE."""
    image = "ML.CONVERT_IMAGE_TYPE(ML.DECODE_IMAGE(data))"
    inputs = f"SELECT uri, {image} AS image FROM ml.photos"
    sql = f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.whole, ({inputs}))"
    for (uri, mean), expected in zip(rows(sql), MEANS.values(), strict=True):
        assert mean == pytest.approx([255 * each for each in expected], rel=1e-5), uri


def test_more_rows_than_fit_in_one_call(rows):
    """Thousands of rows go through the model in several calls; none is lost or mixed up."""
    sql = """
        SELECT COUNT(*), COUNTIF(y != 2 * x + 1), SUM(x)
        FROM ML.PREDICT(MODEL ml.line, (SELECT n AS x FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS n))
    """
    assert rows(sql) == [(5000, 0, 5000 * 5001 // 2)]


@pytest.mark.parametrize("rows_of", ["({})", "(SELECT * FROM ({}))", "TABLE many"])
def test_photos_for_a_model_are_not_all_in_memory(world, rows, local_server, rows_of):
    """200 photos of a megapixel run, although they would take 4.8 GB as STRUCTs."""
    path = local_server.local_dir / "buckets" / "predict-large" / "large.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (1000, 1000), (51, 102, 153)).save(path)
    many = (
        "SELECT uri, ML.DECODE_IMAGE(data) AS image "
        "FROM ml.large CROSS JOIN UNNEST(GENERATE_ARRAY(1, 200))"
    )
    answered = rows(f"""
        CREATE OR REPLACE EXTERNAL TABLE ml.large WITH CONNECTION us.c
          OPTIONS(object_metadata = 'SIMPLE', uris = ['gs://predict-large/*']);
        WITH many AS ({many})
        SELECT COUNT(*), MIN(mean[OFFSET(0)]), MAX(mean[OFFSET(2)])
        FROM ML.PREDICT(MODEL ml.mean, {rows_of.format(many)})
    """)
    assert answered == [(200, pytest.approx(0.2), pytest.approx(0.6))]


def test_an_empty_input_gives_no_rows(rows):
    """An empty input gives an empty output with the right columns."""
    assert rows(f"SELECT * FROM ML.PREDICT(MODEL ml.mean, ({DECODED} WHERE FALSE))") == []


def test_a_dry_run_reads_no_photo(world):
    """A dry run returns the columns and checks the types; it reads no photo."""
    config = bigquery.QueryJobConfig(dry_run=True)
    sql = "SELECT mean FROM ML.PREDICT(MODEL ml.mean, (SELECT ML.DECODE_IMAGE(b'x') AS image))"
    (field,) = world.query(sql, job_config=config).schema
    assert (field.name, field.field_type, field.mode) == ("mean", "FLOAT", "REPEATED")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("SELECT uri, ML.DECODE_IMAGE(data) AS input_1 FROM ml.photos", "column 'image' is not found"),
        ("SELECT uri FROM ml.photos", r"The model wants image \(float32, shape \[\?, 2, 2, 3\]\)"),
        ("SELECT data AS image FROM ml.photos", "it is BYTES, and the model wants an image"),
        ("SELECT uri AS image FROM ml.photos", "it is STRING, and the model wants an image"),
        ("SELECT ML.DECODE_IMAGE(uri) AS image FROM ml.photos", "Argument types: STRING"),
        ("SELECT 1.5 AS image", "it is FLOAT64"),
        ("SELECT [1.5] AS image", "has 1 elements, and the model wants image"),
        ("SELECT ML.CONVERT_COLOR_SPACE(ML.DECODE_IMAGE(data), 'GRAYSCALE') AS image FROM ml.photos",
         r"shape \[6, 9, 1\]"),
        ("SELECT ML.DECODE_IMAGE(CAST(NULL AS BYTES)) AS image", "NULL"),
    ],
)  # fmt: skip
def test_an_input_that_does_not_fit_is_refused(world, run, inputs, message):
    """The message has the column with its type or shape, and what the model takes."""
    with pytest.raises(BadRequest, match=message):
        run(f"SELECT * FROM ML.PREDICT(MODEL ml.mean, ({inputs}))")


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ("line", "SELECT 'one' AS x", "it is STRING, and the model wants FLOAT64"),
        ("line", "SELECT [1.0] AS x", "it is ARRAY<FLOAT64>"),
        ("line", "SELECT CAST(NULL AS FLOAT64) AS x", "'x' is NULL"),
        ("total", "SELECT [1.0, 2.0] AS v, 1.0 AS w", "has 2 elements"),
        ("total", "SELECT [1.0, 2.0, 3.0, 4.0] AS v", "column 'w' is not found"),
        ("whole", DECODED, "ML.CONVERT_IMAGE_TYPE"),
        ("pytorch", DECODED, "batch x height x width x channels"),
    ],
)
def test_numbers_that_do_not_fit(world, run, model, inputs, message):
    """A column of numbers that does not fit is refused with its type or shape."""
    with pytest.raises(BadRequest, match=message):
        run(f"SELECT * FROM ML.PREDICT(MODEL ml.{model}, ({inputs}))")


def test_a_missing_model_is_404(world, run):
    """A missing model is 404, with its full name."""
    with pytest.raises(NotFound, match=r"Not found: Model local:ml.gone"):
        run("SELECT * FROM ML.PREDICT(MODEL ml.gone, (SELECT 1 AS x))")
    with pytest.raises(NotFound, match="Dataset local:gone"):
        run("SELECT * FROM ML.PREDICT(MODEL gone.m, (SELECT 1 AS x))")


def test_a_damaged_photo_is_named(world, run, local_server):
    """The error has the address of the photo; a query that filters the photo out works."""
    path = local_server.local_dir / "buckets" / "predict" / "damaged.png"
    path.write_bytes(FILES["gs://predict/coffee.png"][:60])
    try:
        with pytest.raises(BadRequest, match=r"image of gs://predict/damaged\.png cannot be read"):
            run(f"SELECT uri FROM {P} WHERE mean[OFFSET(0)] >= 0")
        without = f"{DECODED} WHERE uri NOT LIKE '%damaged%'"
        assert len(run(f"SELECT uri, mean FROM ML.PREDICT(MODEL ml.mean, ({without}))")) == 3
    finally:
        path.unlink()


def test_a_damaged_photo_of_a_bytes_column_is_named_by_its_uri(world, run):
    """If the query has a column `uri`, the message has its value."""
    inputs = "SELECT 'photo 7' AS uri, ML.DECODE_IMAGE(b'x') AS image"
    with pytest.raises(BadRequest, match="image of photo 7 cannot be read"):
        run(f"SELECT mean FROM ML.PREDICT(MODEL ml.mean, ({inputs}))")


def test_the_best_class_of_five_photos(world, rows, local_server):
    """The TensorFlow model gives the same answer in SQL as when it is called directly."""
    buckets = Buckets(local_server.local_dir / "buckets")
    folder = ROOT / "etlkit" / "local" / "models" / "savedmodel_resnet_stand_in"
    buckets.put(sorted(folder.iterdir()), "gs://predict-resnet/", recursive=True)
    files = sorted(PHOTOS.glob("*.jpg"))
    buckets.put(files, "gs://predict-five/")
    world.query("""
        CREATE MODEL ml.resnet
          OPTIONS(model_type = 'TENSORFLOW', model_path = 'gs://predict-resnet/*');
        CREATE EXTERNAL TABLE ml.five WITH CONNECTION us.c
          OPTIONS(object_metadata = 'SIMPLE', uris = ['gs://predict-five/*']);
    """).result()
    model = openvino.compile_model(folder, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = {
        f"gs://predict-five/{file.name}": model(decoded(file.read_bytes(), (224, 224)))[0][0]
        for file in files
    }
    answered = rows("""
        SELECT uri, activation_49 FROM ML.PREDICT(MODEL ml.resnet,
          (SELECT uri, ML.DECODE_IMAGE(data) AS input_1 FROM ml.five))
    """)
    assert [uri for uri, _ in answered] == list(expected)
    for uri, scores in answered:
        assert int(np.argmax(scores)) == int(expected[uri].argmax())
        assert scores == pytest.approx(expected[uri].tolist(), abs=1e-5)
