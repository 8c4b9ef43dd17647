import math
from decimal import Decimal

import pytest

from etlkit.bigquery.result_rows import ResultColumn, ResultRows
from etlkit.cli.pages.results_answers import (
    MAX_ANSWERS,
    Answer,
    compare,
    in_fractions,
    read_box,
    read_pictures,
)
from etlkit.cli.pages.results_columns import Meanings, Nested, Pair

LONG = Meanings(image="uri", model="model", label="label", score="score", rank="rank")
NAMES = ("model", "uri", "label", "score", "rank")


def pictures(rows, meanings=LONG, names=NAMES):
    columns = tuple(ResultColumn(name, "STRING") for name in names)
    return read_pictures(ResultRows(columns, rows, len(rows)), meanings, model="model")


def test_answers_are_side_by_side():
    """Rows of a picture come together by model, the best answer first, whatever their order."""
    found = pictures(
        [
            ("b", "gs://p/1", "dog", 0.2, 2),
            ("a", "gs://p/2", "car", 0.5, 1),
            ("b", "gs://p/1", "cat", 0.1, 1),
            ("a", "gs://p/1", "tabby", Decimal("0.9"), None),
            ("a", "gs://p/1", None, None, None),
        ]
    )
    assert [picture.address for picture in found.pictures] == ["gs://p/1", "gs://p/2"]
    assert found.models == ["b", "a"]
    answers = found.pictures[0].answers
    assert [answer.label for answer in answers["b"]] == ["cat", "dog"]
    assert answers["a"] == [Answer("a", "tabby", 0.9)]


def test_rows_that_say_nothing():
    """A row without an address counts; a picture about which nobody says anything stays."""
    found = pictures(
        [(None, "gs://p/1", None, None, None), ("a", None, "x", 1, 1), ("a", " ", "x", 1, 1)]
    )
    assert found.num_without_address == 2
    assert [picture.answers for picture in found.pictures] == [{}]
    assert (found.pictures[0].agreement, found.models) == (None, [])


def test_each_model_keeps_its_best_answers():
    """A table may have a thousand scores for a picture; the page says how many it leaves out."""
    rows = [("a", "gs://p/1", f"l{i}", i / 1000, None) for i in range(1000)]
    (picture,) = pictures(rows).pictures
    assert [answer.label for answer in picture.answers["a"]][:2] == ["l999", "l998"]
    assert (len(picture.answers["a"]), picture.num_left_out) == (MAX_ANSWERS, 1000 - MAX_ANSWERS)


@pytest.mark.parametrize("score", [None, "much", math.nan, math.inf])
def test_scores_that_are_none(score):
    """What is not a number is no score."""
    (picture,) = pictures([("a", "gs://p/1", "x", score, 1)]).pictures
    assert picture.answers["a"][0].score is None


def test_visions_json_has_an_answer_for_each_feature():
    """Labels and objects of one answer are two models, which never share a label by accident."""
    response = {
        "labelAnnotations": [{"description": "Feline", "score": 0.8}],
        "localizedObjectAnnotations": [
            {
                "name": "Cat",
                "score": 0.7,
                "boundingPoly": {"normalizedVertices": [{}, {"x": 0.5}, {"x": 0.5, "y": 0.25}]},
            }
        ],
    }
    meanings = Meanings(image="uri", answers=("response",))
    found = pictures([("gs://p/1", {"responses": [response]})], meanings, ("uri", "response"))
    assert found.pictures[0].answers == {
        "label detection": [Answer("label detection", "Feline", 0.8, 1)],
        "object localization": [
            Answer("object localization", "Cat", 0.7, 1, (0.0, 0.0, 0.5, 0.25))
        ],
    }
    wrong = {"responses": [{"labelAnnotations": ["x"], "faceAnnotations": [{"boundingPoly": 3}]}]}
    found = pictures([("gs://p/1", wrong)], meanings, ("uri", "response"))
    assert found.pictures[0].answers == {}


def test_pairs_and_arrays():
    """Columns side by side and arrays of structs give the same answers as rows."""
    nested = Nested("objects", Meanings(label="name", score="score", box=("box",)))
    meanings = Meanings(
        image="uri", nested=(nested,), pairs=(Pair("", "name_1", "score_1"), Pair("x", "n", "s"))
    )
    box = {"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4}
    row = ("gs://p/1", "tea", 0.5, None, None, [{"name": "Cup", "score": 0.6, "box": box}, None])
    (picture,) = pictures(
        [row], meanings, ("uri", "name_1", "score_1", "n", "s", "objects")
    ).pictures
    assert picture.answers == {
        "model": [Answer("model", "tea", 0.5, 1)],
        "objects": [Answer("objects", "Cup", 0.6, None, (0.1, 0.2, 0.3, 0.4))],
    }


@pytest.mark.parametrize(
    ("values", "box"),
    [
        ([0.1, 0.2, 0.3, 0.4], (0.1, 0.2, 0.3, 0.4)),
        ([Decimal("0.1"), "0.2", 3, 4], (0.1, 0.2, 3, 4)),
        (["0.100 0.200 0.300 0.400"], (0.1, 0.2, 0.3, 0.4)),
        (["[10, 20, 30, 40]"], (10, 20, 30, 40)),
        ([[1, 2, 3, 4]], (1, 2, 3, 4)),
        ([{"left": 1, "top": 2, "right": 3, "bottom": 4}], (1, 2, 3, 4)),
        (['{"x1": 1, "y1": 2, "x2": 3, "y2": 4}'], (1, 2, 3, 4)),
        ([{"boundingPoly": {"vertices": [{"x": 5, "y": 6}, {"x": 7, "y": 9}]}}], (5, 6, 7, 9)),
        ([[{"x": 0.5}, {"y": 0.5}]], (0, 0, 0.5, 0.5)),
        ([0.3, 0.2, 0.1, 0.4], None),
        ([None, 0.2, 0.3, 0.4], None),
        ([math.nan, 0.2, 0.3, 0.4], None),
        ([None], None),
        (["left of the door"], None),
        ([{"boundingPoly": "x"}], None),
        ([{"vertices": "x"}], None),
        ([[1, 2]], None),
        ([True], None),
        ([], None),
    ],
)
def test_boxes(values, box):
    """Boxes are read in every usual form; what is none is none."""
    assert read_box(values) == box


def test_boxes_become_fractions():
    """Pixels are divided by the picture's size; what hangs over its edge is cut."""
    assert in_fractions((10, 20, 50, 100), 100, 200) == (0.1, 0.1, 0.5, 0.5)
    assert in_fractions((-0.1, 0.5, 1.1, 0.75), 100, 200) == (0, 0.5, 1, 0.75)
    assert in_fractions((200, 20, 300, 30), 100, 100) is None


def answers(**labels):
    return {
        model: [Answer(model, label, score) for label, score in found]
        for model, found in labels.items()
    }


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ([("Egyptian cat", 0.9)], [("Cat", 0.8)], True),
        ([("cat", 0.9)], [("CAT ", 0.8)], True),
        ([("cat house", 0.9)], [("cat", 0.8)], False),
        ([("dog", 0.9)], [("cat", 0.8)], False),
        ([("dog", 0.9), ("cat", 0.02)], [("cat", 0.8)], True),
        ([("dog", 0.9), ("cat", 0.002)], [("cat", 0.8)], False),
        ([(f"dog {i}", 0.9) for i in "12345"] + [("cat", 0.8)], [("cat", 0.8)], False),
        ([("cat", None)], [("cat", None)], True),
    ],
)
def test_two_models(one, other, agree):
    """Models agree if their best labels have a term in common: a label or its last word."""
    assert compare(answers(b=one, a=other)) == {("a", "b"): agree}


def test_a_model_without_an_answer_is_not_compared():
    """Neither is one that only guesses, nor an empty label."""
    assert compare(answers(a=[("cat", 0.9)], b=[], c=[("cat", 0.001)], d=[(" ", 0.9)])) == {}


def test_agreement_of_pictures_and_of_pairs():
    """A picture's agreement is the share of its pairs; a pair's is counted over the pictures."""
    found = pictures(
        [
            ("a", "gs://p/1", "cat", 0.9, 1),
            ("b", "gs://p/1", "tiger cat", 0.9, 1),
            ("c", "gs://p/1", "dog", 0.9, 1),
            ("a", "gs://p/2", "cat", 0.9, 1),
            ("b", "gs://p/2", "dog", 0.9, 1),
        ]
    )
    assert [picture.agreement for picture in found.pictures] == [1 / 3, 0]
    assert found.agreement == {("a", "b"): (1, 2), ("a", "c"): (0, 1), ("b", "c"): (0, 1)}


def test_what_the_table_says_about_agreement_counts():
    """A table may know better, e.g. that a tabby is a cat."""
    meanings = Meanings(image="uri", agreement="agreement", compared="pairs")
    pairs = [{"model": "b", "other_model": "a", "agree": True, "terms": ["cat"]}]
    rows = [("gs://p/1", 0.25, pairs), ("gs://p/1", 0.75, pairs), ("gs://p/2", None, None)]
    found = pictures(rows, meanings, ("uri", "agreement", "pairs"))
    assert [picture.agreement for picture in found.pictures] == [0.25, None]
    assert found.agreement == {("a", "b"): (1, 1)}
