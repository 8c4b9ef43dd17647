from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum

import pytest

from etlkit.errors import RowSchemaError
from etlkit.rows.columns import Column
from etlkit.rows.inference import infer_columns

AWARE = datetime(2026, 1, 2, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)


class Color(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("values", "type_text"),
    [
        ([True], "BOOL"),
        ([1, None, -(2**63)], "INT64"),
        ([2**63], "NUMERIC"),
        ([1, 10**29], "BIGNUMERIC"),
        ([1.5], "FLOAT64"),
        ([1, 2.5], "FLOAT64"),
        (["a", Color.RED], "STRING"),
        ([b"a", bytearray(b"b")], "BYTES"),
        ([Decimal("1.5")], "NUMERIC"),
        ([Decimal("1.5"), 2], "NUMERIC"),
        ([Decimal("1e-10")], "BIGNUMERIC"),
        ([AWARE], "TIMESTAMP"),
        ([NAIVE], "DATETIME"),
        ([date(2026, 1, 2)], "DATE"),
        ([time(1, 2)], "TIME"),
        ([{"a": 1}, None], "JSON"),
        ([["a"], [], None, ("b",)], "ARRAY<STRING>"),
        ([[1, 2.5]], "ARRAY<FLOAT64>"),
        ([[2**63]], "ARRAY<NUMERIC>"),
        ([[AWARE]], "ARRAY<TIMESTAMP>"),
        ([["a", None]], "JSON"),
        ([["a"], [1]], "JSON"),
        ([[{"a": 1}]], "JSON"),
        ([[[1]]], "JSON"),
        ([[], []], "JSON"),
        ([1, "a", {"b": None}, [True]], "JSON"),
        ([True, 1], "JSON"),
        ([None, None], "STRING"),
    ],
)
def test_infer_finds_the_type_of_a_new_key(values, type_text):
    """Each row of the table in the docstring of `infer_columns` is true."""
    rows = [{"c": value} for value in values]
    assert infer_columns(rows, {}) == (Column.parse("c", type_text),)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{1, 2}], "got set, which no column type holds"),
        ([object()], "got object, which"),
        ([[{1}]], "got set, which"),
        ([AWARE, NAIVE], "datetimes with and without a timezone"),
        (
            [date(2026, 1, 2), AWARE],
            r"several types \(datetime\.date, datetime\.datetime\).*value\.isoformat",
        ),
        (["a", b"b"], r"several types \(bytes, str\)"),
        ([1.5, Decimal(1)], r"several types \(decimal\.Decimal, float\)"),
        ([Decimal("NaN")], "not even BIGNUMERIC"),
        ([10**38], "not even BIGNUMERIC"),
    ],
)
def test_infer_refuses_values_no_column_holds(values, message):
    """The error names the column and the types, but no value."""
    with pytest.raises(RowSchemaError, match=message) as caught:
        infer_columns([{"c": value} for value in values], {})
    assert caught.value.column == "c"


def test_infer_keeps_known_columns_and_the_order_of_appearance():
    """A known column keeps its definition or is dropped; new ones are in order of appearance."""
    known = {name: Column(name, "BYTES", "REQUIRED") for name in ("a", "gone")}
    rows = [{"z": 1, "a": "whatever"}, {"b": "x", "z": 2}]
    assert infer_columns(rows, known) == (
        Column("z", "INT64"),
        Column("a", "BYTES", "REQUIRED"),
        Column("b", "STRING"),
    )


def test_infer_of_no_rows_is_no_columns():
    """Without rows there are no columns, not even known ones."""
    assert infer_columns([], {"a": Column("a", "INT64")}) == ()


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([{"uri": 1, "Uri": 2}], {}),
        ([{"uri": 1}, {"Uri": 2}], {}),
        ([{"Uri": 1}], {"uri": "INT64"}),
    ],
)
def test_infer_refuses_keys_that_differ_only_in_case(rows, known):
    """Both spellings are named, whether the other one is a known column or a key."""
    columns = {name: Column(name, kind) for name, kind in known.items()}
    with pytest.raises(RowSchemaError, match="differs only in case from 'uri'") as caught:
        infer_columns(rows, columns)
    assert caught.value.column == "Uri"


def test_infer_refuses_a_key_that_is_no_str():
    """A key that is not a str is refused."""
    with pytest.raises(RowSchemaError, match="a key is a int"):
        infer_columns([{1: "a"}], {})
