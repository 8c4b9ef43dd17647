import subprocess
import sys

import pytest

from etlkit import ConfigError, ImageError
from etlkit.testing import FaultPlan, FaultServer, no_sleep, run_transform
from etlkit.vision import Feature, JsonColumn, Long, VisionEtl, Wide

ROWS = [{"uri": f"gs://b/{number}.jpg", "size": number} for number in range(3)]


@pytest.fixture
def vision(monkeypatch):
    """A Vision server on loopback for one test: `vision(answer)`, or with a plan."""
    servers = []

    def start(answer=None, plan=None):
        server = FaultServer(plan, answer=answer)
        servers.append(server)
        monkeypatch.setenv("ETLKIT_VISION_ENDPOINT", server.url)
        monkeypatch.setenv("ETLKIT_VISION_GRPC_ENDPOINT", server.grpc_endpoint)
        return server

    with no_sleep():
        yield start
    for server in servers:
        server.close()


def etl(**attributes):
    return type("Etl", (VisionEtl,), {"features": ("LABEL_DETECTION",), **attributes})


def labels(*pairs):
    found = [{"description": name, "score": score, "mid": f"/m/{name}"} for name, score in pairs]
    return {"labelAnnotations": found} if found else {}


def test_columns_and_units_are_derived():
    """Features are the billing units, only the address is read, and the shape decides the columns."""
    both = etl(features=("LABEL_DETECTION", Feature("FACE_DETECTION", 2)), uri_column="photo")
    assert (both.units_per_row, both.columns, both.output_schema) == (2, ("photo",), None)
    wide = etl(shape=Wide(k=2, prefix="label_"))
    assert wide.output_schema == {
        "uri": "STRING",
        "label_name_1": "STRING",
        "label_score_1": "FLOAT64",
        "label_name_2": "STRING",
        "label_score_2": "FLOAT64",
    }
    assert wide.batch_size == 16


def test_a_subclass_derives_again_and_keeps_explicit_values():
    """Another shape has other columns, but a schema that the user wrote is kept."""
    wide = etl(shape=Wide(k=1))
    narrow = type("Etl", (wide,), {"shape": JsonColumn(), "uri_column": "photo"})
    assert (narrow.columns, narrow.output_schema) == (("photo",), None)
    assert list(type("Etl", (narrow,), {"shape": Wide(k=2)}).output_schema)[0::2] == [
        "photo",
        "score_1",
        "score_2",
    ]
    given = {"uri": "STRING", "size": "INT64", "name_1": "STRING", "score_1": "FLOAT64"}
    mine = etl(shape=Wide(k=1), output_schema=given, columns=("uri", "size"))
    child = type("Etl", (mine,), {"max_concurrency": 2})
    assert (child.output_schema, child.columns) == (given, ("uri", "size"))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"features": ()}, "features is empty"),
        ({"features": ("LABELS",)}, "LABEL_DETECTION"),
        ({"features": None}, "write a tuple"),
        ({"client": "soap"}, "rest, grpc, grpc-rest"),
        ({"region": "asia"}, "eu, us"),
        ({"shape": "long"}, r"JsonColumn\(\), Long\(\) or Wide"),
        ({"shape": Long}, r"JsonColumn\(\), Long\(\) or Wide"),
        ({"image_context": {"hints": []}}, "languageHints"),
        ({"shape": Wide(k=0)}, "1 or more"),
        ({"shape": Wide(), "features": ("LABEL_DETECTION", "FACE_DETECTION")}, "use Long"),
        ({"shape": Long(), "features": ("SAFE_SEARCH_DETECTION",)}, "use JsonColumn"),
        ({"shape": Wide(), "features": ("SAFE_SEARCH_DETECTION",)}, "use JsonColumn"),
    ],
)
def test_a_wrong_description_is_refused_when_the_class_is_made(attributes, message):
    """Before any row is read or paid for."""
    with pytest.raises(ConfigError, match=message):
        etl(**attributes)


@pytest.mark.parametrize("client", ["rest", "grpc", "grpc-rest"])
def test_json_is_the_answer_as_it_is(vision, client):
    """It has the form of REST's answer for one image with every client, and other columns are kept."""
    server = vision(lambda item: labels((item.uri, 0.5)))
    rows = run_transform(etl(client=client), ROWS)
    assert rows == [{**row, "response": {"responses": [labels((row["uri"], 0.5))]}} for row in ROWS]
    assert server.calls == 1
    renamed = run_transform(etl(shape=JsonColumn("vision")), ROWS[:1])
    assert list(renamed[0]) == ["uri", "size", "vision"]


def test_wide_is_filled_up_with_nulls(vision):
    """The best k are side by side; types are known even if a column has only NULLs."""
    vision(lambda item: labels(*[(f"l{n}", 1 - n / 4) for n in range(int(item.uri[-5]))]))
    rows = run_transform(etl(shape=Wide(k=2)), [*ROWS, {"uri": "gs://b/9.jpg", "size": 0}])
    assert [tuple(row.values()) for row in rows] == [
        ("gs://b/0.jpg", None, None, None, None),
        ("gs://b/1.jpg", "l0", 1.0, None, None),
        ("gs://b/2.jpg", "l0", 1.0, "l1", 0.75),
        ("gs://b/9.jpg", "l0", 1.0, "l1", 0.75),
    ]


def test_long_has_a_row_for_each_annotation(vision):
    """Rows are ranked within a feature, and a photo without annotations has no row."""
    box = [{"x": 0.25}, {"x": 0.5}, {"x": 0.5, "y": 1}, {"x": 0.25, "y": 1}]
    thing = {
        "name": "Cat",
        "mid": "/m/cat",
        "score": 1,
        "boundingPoly": {"normalizedVertices": box},
    }

    def answer(item):
        if item.uri.endswith("0.jpg"):
            return {}
        return {**labels(("cat", 0.75), ("pet", 0.5)), "localizedObjectAnnotations": [thing]}

    vision(answer)
    long = etl(shape=Long(), features=("OBJECT_LOCALIZATION", "LABEL_DETECTION"))
    rows = run_transform(long, ROWS[:2])
    where = {"x_min": 0.25, "y_min": 0.0, "x_max": 0.5, "y_max": 1.0}
    assert [tuple(row.values()) for row in rows] == [
        ("gs://b/1.jpg", "OBJECT_LOCALIZATION", 1, "/m/cat", "Cat", 1.0, where),
        ("gs://b/1.jpg", "LABEL_DETECTION", 1, "/m/cat", "cat", 0.75, None),
        ("gs://b/1.jpg", "LABEL_DETECTION", 2, "/m/pet", "pet", 0.5, None),
    ]


@pytest.mark.parametrize(
    ("feature", "answer", "expected"),
    [
        (
            "FACE_DETECTION",
            {"faceAnnotations": [{"detectionConfidence": 0.5, "boundingPoly": {"vertices": [{}]}}]},
            (None, None, 0.5, {"x_min": 0.0, "y_min": 0.0, "x_max": 0.0, "y_max": 0.0}),
        ),
        (
            "WEB_DETECTION",
            {"webDetection": {"webEntities": [{"entityId": "/g/1", "score": 1.5}]}},
            ("/g/1", None, 1.5, None),
        ),
        (
            "CROP_HINTS",
            {"cropHintsAnnotation": {"cropHints": [{"confidence": 0.25}]}},
            (None, None, 0.25, None),
        ),
        (
            "IMAGE_PROPERTIES",
            {
                "imagePropertiesAnnotation": {
                    "dominantColors": {"colors": [{"color": {"red": 255, "blue": 9.6}, "score": 1}]}
                }
            },
            (None, "#ff000a", 1.0, None),
        ),
        (
            "DOCUMENT_TEXT_DETECTION",
            {"textAnnotations": [{"description": "a", "boundingPoly": {"vertices": [{"y": 3}]}}]},
            (None, "a", None, {"x_min": 0.0, "y_min": 3.0, "x_max": 0.0, "y_max": 3.0}),
        ),
        (
            "LANDMARK_DETECTION",
            {"landmarkAnnotations": [{"mid": "/m/1"}]},
            ("/m/1", None, None, None),
        ),
        ("LOGO_DETECTION", {"logoAnnotations": [{"description": "b"}]}, (None, "b", None, None)),
    ],
)
def test_every_feature_with_a_list_is_read(feature, answer, expected):
    """`mid`, `name`, `score` and `box` are found; None = Vision did not give it."""
    asked = (Feature(feature),)
    Long().check(asked)
    (row,) = Long().result({"uri": "u"}, answer, asked)
    assert (row["mid"], row["name"], row["score"], row["box"]) == expected
    assert Long().result({"uri": "u"}, {}, asked) == []


def test_a_partial_answer_is_an_error_unless_kept(vision):
    """By Vision's documentation, what is filled in is valid even if `error` is set."""
    error = {"code": 12, "message": "no faces here"}
    vision(lambda _item: {**labels(("cat", 0.5)), "error": error})
    with pytest.raises(ImageError, match="no faces here"):
        run_transform(etl(), ROWS[:1])
    (row,) = run_transform(etl(keep_partial=True), ROWS[:1])
    assert row["response"]["responses"] == [{**labels(("cat", 0.5)), "error": error}]


def test_an_error_without_annotations_is_never_kept(vision):
    """It contains nothing to keep."""
    plan = FaultPlan.by_item({ROWS[0]["uri"]: ["item_error code=3"]})
    vision(plan=plan)
    assert len(run_transform(etl(keep_partial=True), ROWS, on_row_error="skip")) == 2


def test_it_costs_no_import_of_google():
    """Defining a transform does not take the seconds that importing a client takes."""
    code = (
        "import sys; before = set(sys.modules); import etlkit.vision;"
        "print([m for m in set(sys.modules) - before if m.startswith('google.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
