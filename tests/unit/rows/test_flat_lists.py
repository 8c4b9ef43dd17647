"""Lists that are taken apart: what comes back, and what Arrow makes of it, is what was in them."""

import random
from collections import OrderedDict, defaultdict

import pyarrow as pa
import pytest

from etlkit import RowSchemaError
from etlkit.rows.codecs import codec_for
from etlkit.rows.columns import Column
from etlkit.rows.flat_lists import FlatLists, flat_fields

LABELS = Column.parse("labels", "ARRAY<STRUCT<name STRING, score FLOAT64>>")
TAGS = Column.parse("tags", "ARRAY<STRING>")


def taken(column, lists):
    made = FlatLists(flat_fields(column))
    for each in lists:
        assert made.take(each)
    return made


def test_lists_come_back_as_they_were():
    """Also those whose structs lack fields or have them in another order; no list is an empty one."""
    shared = {"name": "a", "score": 1.0}
    lists = [
        [shared, {"score": 0.5, "name": "b"}],
        [],
        None,
        ({"name": None}, {}),
        [OrderedDict(name="c", score=2.0), defaultdict(int, name="d")],
        [shared],
    ]
    expected = [
        [{"name": "a", "score": 1.0}, {"name": "b", "score": 0.5}],
        [],
        [],
        [{"name": None, "score": None}, {"name": None, "score": None}],
        [{"name": "c", "score": 2.0}, {"name": "d", "score": None}],
        [{"name": "a", "score": 1.0}],
    ]
    made = taken(LABELS, lists)
    shared["name"] = "changed later"
    lists[0].clear()
    assert list(made) == expected
    assert [made[i] for i in range(len(made))] == expected
    codec = codec_for(LABELS, "labels")
    assert codec.encode(made).to_pylist() == codec.encode(expected).to_pylist() == expected
    assert codec.encode(made).type == codec.encode(expected).type


@pytest.mark.parametrize("column", [LABELS, TAGS])
def test_rows_are_cut_out_taken_out_and_dropped(column):
    """Whatever the lengths of their lists."""
    chosen = random.Random(3)  # noqa: S311 - the same ones in each run
    codec, number = codec_for(column, column.name), iter(range(10**6))

    def element():
        n = next(number)
        return f"t{n}" if column is TAGS else {"name": f"l{n}", "score": n / 7}

    lists = [[element() for _ in range(chosen.choice([0, 0, 1, 2, 5]))] for _ in range(200)]
    for _ in range(50):
        begin, end = sorted(chosen.choices(range(201), k=2))
        part = taken(column, lists)[begin:end]
        assert list(part) == lists[begin:end]
        assert codec.encode(part).to_pylist() == lists[begin:end]
        gaps = [i for i in range(end - begin) if not lists[begin + i]]
        rest = [each for each in lists[begin:end] if each]
        assert codec.encode(part.without(gaps)).to_pylist() == rest
        left = taken(column, lists)
        left.leaves[0].append("of a row that failed")
        del left[begin:]
        left.append(None)
        assert left.take(lists[0])
        assert list(left) == [*lists[:begin], [], lists[0]]
    assert codec.encode(taken(column, [])).to_pylist() == []


@pytest.mark.parametrize(
    "value", ["text", {"name": "a"}, [None], ["a"], [{"name": "a", "other": 1}], [{1: 2}], 5]
)
def test_what_is_no_list_of_these_structs_is_not_taken(value):
    """The row waits as a dict, and is refused with its number."""
    made = taken(LABELS, [[{"name": "a", "score": 1.0}]])
    assert not made.take(value)
    del made[1:]
    made.append(None)
    assert list(made) == [[{"name": "a", "score": 1.0}], []]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (LABELS, [{"name": 1, "score": 1.0}], "labels.name.*got int"),
        (LABELS, [{"name": "a", "score": "b"}], "labels.score.*got str"),
        (TAGS, ["a", None], "an element of the list is None"),
        (TAGS, [b"a"], "got bytes"),
        (Column.parse("x", "ARRAY<STRUCT<n INT64 NOT NULL>>"), [{"n": None}], "x.n.*NOT NULL"),
    ],
)
def test_values_that_do_not_fit_are_refused_as_in_rows(column, value, message):
    """By the same codec."""
    with pytest.raises(RowSchemaError, match=f"(?s){message}"):
        codec_for(column, column.name).encode(taken(column, [[], value]))


def test_only_lists_of_what_cannot_be_changed_are_taken_apart():
    """Others are copied as a whole, each as deep as it needs."""
    kinds = {
        "ARRAY<INT64>": (),
        "ARRAY<STRUCT<a INT64, b DATE>>": ("a", "b"),
        "INT64": None,
        "STRUCT<a INT64>": None,
        "ARRAY<BYTES>": None,
        "ARRAY<JSON>": None,
        "ARRAY<STRUCT<a INT64, b JSON>>": None,
        "ARRAY<STRUCT<a ARRAY<INT64>>>": None,
        "ARRAY<STRUCT<a STRUCT<b INT64>>>": None,
    }
    assert {kind: flat_fields(Column.parse("x", kind)) for kind in kinds} == kinds


def test_numbers_become_what_the_column_says():
    """An int in a FLOAT64 field, as everywhere."""
    made = codec_for(LABELS, "labels").encode(taken(LABELS, [[{"name": "a", "score": 1}]]))
    assert made.to_pylist() == [[{"name": "a", "score": 1.0}]]
    assert pa.types.is_float64(made.type.value_type.field("score").type)
