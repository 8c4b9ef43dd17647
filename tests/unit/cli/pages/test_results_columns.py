import pytest

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.pages.results_columns import Given, Meanings, Pair, find_meanings
from etlkit.errors import ConfigError

URI = "gs://photos/cat.jpg"
ANSWER = {"responses": [{"labelAnnotations": [{"description": "Cat", "score": 0.9}]}]}


def result(**columns):
    """A result of one row; a column is its type and its value, or type, value and fields."""
    described, row = [], []
    for name, (kind, value, *fields) in columns.items():
        is_repeated = kind.startswith("ARRAY ")
        described.append(ResultColumn(name, kind.removeprefix("ARRAY "), is_repeated, *fields))
        row.append(value)
    return ResultRows(tuple(described), [tuple(row)], 1)


LONG = {
    "model": ("STRING", "resnet"),
    "uri": ("STRING", URI),
    "label": ("STRING", "cat"),
    "score": ("FLOAT64", 0.9),
    "rank": ("INT64", 1),
}
CORNERS = ("x_min", "y_min", "x_max", "y_max")


def test_a_long_table():
    """One row per answer, with and without boxes."""
    assert find_meanings(result(**LONG)) == Meanings(
        image="uri", model="model", label="label", score="score", rank="rank"
    )
    boxes = dict.fromkeys(CORNERS, ("FLOAT64", 0.1))
    found = find_meanings(result(uri=("STRING", URI), name=("STRING", "Cat"), **boxes))
    assert (found.label, found.box) == ("name", CORNERS)


@pytest.mark.parametrize("value", [ANSWER, '{"responses": [{}]}', {"faceAnnotations": []}])
def test_visions_json(value):
    """An answer of Vision's is known by its form, as JSON, as text, whole or one item of it."""
    found = find_meanings(result(uri=("STRING", URI), response=("JSON", value)))
    assert found == Meanings(image="uri", answers=("response",))


@pytest.mark.parametrize("value", [{"responses": []}, '{"responses": ', '"x"', [1], 3, {"a": 1}])
def test_other_json_is_not_visions(value):
    """Any other JSON is a value like others."""
    found = find_meanings(result(uri=("STRING", URI), response=("JSON", value)))
    assert found == Meanings(image="uri")


def test_columns_side_by_side():
    """Pairs of label and score: of several models, or of several ranks of one."""
    models = find_meanings(
        result(
            uri=("STRING", URI),
            **{"class": ("STRING", "a"), "class_score": ("FLOAT64", 0.1)},
            object=("STRING", "b"),
            object_score=("FLOAT64", 0.2),
        )
    )
    assert models.pairs == (
        Pair("class", "class", "class_score"),
        Pair("object", "object", "object_score"),
    )
    assert models.label is None
    ranks = find_meanings(
        result(
            uri=("STRING", URI), name_1=("STRING", "a"), score_1=("FLOAT64", 0.1),
            label_name_2=("STRING", "b"), label_score_2=("FLOAT64", 0.1),
        )
    )  # fmt: skip
    assert ranks.pairs == (
        Pair("", "name_1", "score_1"),
        Pair("label", "label_name_2", "label_score_2"),
    )


def test_arrays_of_structs():
    """Answers in an array are found; any other array is none, e.g. the metadata of an object table."""
    answers = (ResultColumn("label", "STRING"), ResultColumn("score", "FLOAT64"))
    metadata = (ResultColumn("name", "STRING"), ResultColumn("value", "STRING"))
    pairs = tuple(ResultColumn(name, "STRING") for name in ("model", "other_model", "agree"))
    found = find_meanings(
        result(
            uri=("STRING", URI), labels=("ARRAY STRUCT", [], answers),
            metadata=("ARRAY STRUCT", [], metadata), pairs=("ARRAY STRUCT", [], pairs),
            agreement=("FLOAT64", 0.5),
        )
    )  # fmt: skip
    assert [each.column for each in found.nested] == ["labels"]
    assert found.nested[0].meanings == Meanings(label="label", score="score")
    assert (found.compared, found.agreement) == ("pairs", "agreement")


@pytest.mark.parametrize(
    ("columns", "image"),
    [
        ({"uri": "gs://photos/1"}, "uri"),
        ({"thumb": "a/b/c.PNG"}, "thumb"),
        ({"url": "https://example.com/x.jpg?size=3", "uri": "gs://photos/1"}, "uri"),
        ({"page": "https://example.com/index.html"}, None),
        ({"uri": "no address at all"}, None),
        ({"file": "table.csv"}, "file"),
        ({"text": "see cat.jpg and more"}, None),
        ({"uri": None}, None),
    ],
)
def test_the_column_of_addresses(columns, image):
    """A likely name with addresses, else names of image files."""
    assert find_meanings(result(**{k: ("STRING", v) for k, v in columns.items()})).image == image


def test_without_addresses_no_column_means_anything():
    """A table without pictures is just rows."""
    del (columns := dict(LONG))["uri"]
    assert find_meanings(result(**columns)) == Meanings()


def test_the_user_knows_better():
    """What is given counts, in any case of letters; `none` takes a meaning away."""
    table = result(**LONG, photo=("STRING", URI), vote=("STRING", "x"), sure=("INT64", 1))
    given = Given(
        image="PHOTO", label="vote", score="sure", model="none", box="rank,rank,sure,sure"
    )
    found = find_meanings(table, given)
    assert (found.image, found.label, found.score, found.model) == ("photo", "vote", "sure", None)
    assert found.box == ("rank", "rank", "sure", "sure")
    assert find_meanings(table, Given(image="none")) == Meanings()


def test_a_column_that_is_not_there():
    """The message names the option and what there is."""
    with pytest.raises(
        ConfigError, match=r"--label lable: .* it has model, uri, label, score, rank"
    ):
        find_meanings(result(**LONG), Given(label="lable"))
    with pytest.raises(ConfigError, match=r"box 'a,b': give one column, or four"):
        Given(box="a,b")
