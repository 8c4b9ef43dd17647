"""`ML.ANNOTATE_IMAGE` over a remote model of Cloud Vision, answered by the local Vision.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-annotate-image
"""

from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def vision(local_server, bq):
    """A remote model, and an object table with a cat and a broken image."""
    folder = local_server.local_dir / "buckets" / "annotate"
    folder.mkdir(parents=True)
    (folder / "cat.jpg").write_bytes((ROOT / "photos" / "chelsea.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no image")
    bq.query("""
        CREATE SCHEMA vision;
        CREATE MODEL vision.m REMOTE WITH CONNECTION `us.c`
          OPTIONS(remote_service_type = 'CLOUD_AI_VISION_V1');
        CREATE EXTERNAL TABLE vision.photos WITH CONNECTION us.c
          OPTIONS(object_metadata = 'SIMPLE', uris = ['gs://annotate/*']);
    """).result()
    yield bq
    bq.delete_dataset("vision", delete_contents=True)


def test_each_row_has_its_own_status(vision, run):
    """A good image has JSON in snake case and an empty status; a bad one has only a status."""
    rows = run("""
        SELECT uri, ml_annotate_image_status,
          JSON_VALUE(ml_annotate_image_result, '$.label_annotations[0].description'),
          JSON_VALUE(ml_annotate_image_result, '$.localized_object_annotations[0].name')
        FROM ML.ANNOTATE_IMAGE(MODEL vision.m, TABLE vision.photos,
          STRUCT(['label_detection', 'OBJECT_LOCALIZATION'] AS vision_features))
        ORDER BY uri
    """)
    broken, cat = rows
    assert broken == (
        "gs://annotate/broken.jpg", "INVALID_ARGUMENT: Bad image data.", None, None
    )  # fmt: skip
    assert cat[0:2] == ("gs://annotate/cat.jpg", "")
    assert cat[2:] == ("vertebrate", "Cat")


def test_the_columns(vision):
    """The columns are result and status, then those of the object table."""
    result = vision.query("""
        select * from ml.annotate_image(model vision.m, table vision.photos,
          struct(['label_detection'] as vision_features)) where uri like '%cat%'
    """).result()
    assert [(field.name, field.field_type) for field in result.schema][:3] == [
        ("ml_annotate_image_result", "JSON"),
        ("ml_annotate_image_status", "STRING"),
        ("uri", "STRING"),
    ]
    (row,) = result
    assert row["ml_annotate_image_result"]["label_annotations"][0]["score"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("MODEL vision.m, TABLE vision.photos", "requires at least 3 arguments, found 2"),
        ("MODEL vision.m, TABLE vision.photos, STRUCT([] AS vision_features)", "AS vision"),
        ("MODEL vision.m, TABLE vision.photos, STRUCT(['WEB_DETECTION'] AS vision_features)",
         "WEB_DETECTION; choose from FACE_DETECTION"),
        ("MODEL vision.m, TABLE vision.plain, STRUCT(['label_detection'] AS vision_features)",
         "name of an object table"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused(vision, run, arguments, message):
    """A wrong call is refused before any image is read."""
    run("CREATE TABLE IF NOT EXISTS vision.plain (uri STRING)")
    with pytest.raises(BadRequest, match=message):
        run(f"SELECT * FROM ML.ANNOTATE_IMAGE({arguments})")


def test_remote_models_are_only_for_annotate_image(vision, run):
    """ML.PREDICT does not take a remote model, and models.get names its service."""
    with pytest.raises(BadRequest, match=r"CLOUD_AI_VISION_V1, which ML\.ANNOTATE_IMAGE calls"):
        run("SELECT * FROM ML.PREDICT(MODEL vision.m, (SELECT 1 AS x))")
    info = vision.get_model("vision.m").to_api_repr()["remoteModelInfo"]
    assert info == {"connection": "us.c", "remoteServiceType": "CLOUD_AI_VISION_V1"}
    with pytest.raises(BadRequest, match="supports CLOUD_AI_VISION_V1"):
        run("CREATE MODEL vision.n REMOTE WITH CONNECTION us.c OPTIONS(endpoint = 'x')")
