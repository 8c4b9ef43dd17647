"""Lengths and digits of parameterized types: read, written, and checked row by row."""

from decimal import Decimal

import pyarrow as pa
import pytest

from etlkit import ConfigError, RowSchemaError
from etlkit.bigquery.schema_fields import from_schema_fields, to_schema_fields
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.casts import conform
from etlkit.rows.columns import Column, arrow_schema

D = Decimal


@pytest.mark.parametrize(
    ("text", "fits", "misfit", "message"),
    [
        ("STRING(3)", "日本語", "abcd", "got 4 characters, but the column holds 3"),
        ("BYTES(3)", b"abc", "日本".encode(), "got 6 bytes, but the column holds 3"),
        ("NUMERIC(5, 2)", D("999.99"), D("1000"), "more than 3 digits before the point"),
        ("NUMERIC(5, 2)", D("-1.50"), D("1.005"), "more than 2 digits after the point"),
        ("NUMERIC(3)", 999, D("0.5"), "more than 0 digits after the point"),
        ("BIGNUMERIC(30, 2)", D(10) ** 27, D(10) ** 28, "more than 28 digits before the point"),
        ("NUMERIC(38, 9)", D("9" * 29 + ".999999999"), "x", "expected NUMERIC"),
        (
            "BIGNUMERIC(40, 3)",
            D("-" + "9" * 37 + ".999"),
            D(10) ** 37,
            "more than 37 digits before",
        ),
        ("ARRAY<STRING(2)>", ["ab", "c"], ["ab", "abc"], "got 3 characters"),
        ("STRUCT<a STRING(2)>", {"a": "ab"}, {"a": "abc"}, "column 'c.a': got 3 characters"),
    ],
)
def test_a_value_beyond_its_parameters_is_that_rows_error(text, fits, misfit, message):
    """The good rows are encoded; the bad one is named by position, column and limit."""
    encoder = RowEncoder([Column.parse("c", text)])
    encoder.encode([{"c": fits}, {"c": None}])
    with pytest.raises(RowSchemaError, match=message) as caught:
        encoder.encode([{"c": fits}, {"c": misfit}])
    assert caught.value.index == 1
    assert list(encoder.bad_rows([{"c": misfit}, {"c": fits}])) == [0]


@pytest.mark.parametrize("text", ["STRING(3)", "BYTES(3)", "NUMERIC(5, 2)", "BIGNUMERIC(5, 2)"])
def test_a_batch_of_nulls_fits(text):
    """NULL has no length and no digits."""
    array = RowEncoder([Column.parse("c", text)]).encode([{"c": None}, {"c": None}]).column(0)
    assert array.null_count == 2


def test_a_value_that_was_not_touched_is_checked_too():
    """The array of the source is reused, and its values must fit the target's column."""
    source = (Column("c", "STRING"),)
    batch = pa.RecordBatch.from_pydict({"c": ["ab", "abcd"]}, arrow_schema(source))
    decoded = RowDecoder(source).decode(batch)
    with pytest.raises(RowSchemaError, match="got 4 characters") as caught:
        RowEncoder([Column.parse("c", "STRING(3)")]).encode(decoded.rows, decoded)
    assert caught.value.index == 1


@pytest.mark.parametrize(
    "text", ["STRING(0)", "NUMERIC(40)", "NUMERIC(5, 10)", "NUMERIC(2, 3)", "BIGNUMERIC(39)"]
)
def test_parameters_that_bigquery_does_not_have(text):
    """They are refused when the column is described."""
    with pytest.raises(ConfigError, match="BigQuery has no"):
        Column.parse("c", text)


@pytest.mark.parametrize("text", ["STRING(3)", "BYTES(9)", "NUMERIC(5)", "BIGNUMERIC(5, 2)"])
def test_parameters_reach_ddl_and_rest_and_come_back(text):
    """A table that is made has them, and a table that is there tells them."""
    column = Column.parse("c", f"STRUCT<a {text} NOT NULL>")
    assert column.definition == f"`c` STRUCT<`a` {text} NOT NULL>"
    assert column.parameterized_ddl == f"STRUCT<`a` {text}>"
    assert from_schema_fields(to_schema_fields([column])) == (column,)


def test_a_column_takes_over_what_the_target_demands():
    """NOT NULL, length and digits, also of fields; a column of another type stays as it is."""
    target = Column.parse("c", "STRUCT<a STRING(3), b INT64> NOT NULL")
    rows = Column.parse("c", "STRUCT<a STRING, b INT64>")
    assert rows.limited_by(target) == target
    assert Column("c", "INT64").limited_by(target) == Column("c", "INT64")


def test_a_null_list_becomes_an_empty_one():
    """BigQuery's arrays are never NULL; the lists beside it keep their values."""
    columns = (Column.parse("c", "ARRAY<INT64>"),)
    batch = pa.RecordBatch.from_pydict({"c": [[1], None, [2, 3], [], None]})
    sliced = conform(batch.slice(1), columns)
    assert sliced.column("c").to_pylist() == [[], [2, 3], [], []]
    assert sliced.column("c").null_count == 0


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, {"a": [10**30]}])
def test_json_integers_beyond_64_bits(value):
    """The Write API stores no such number."""
    with pytest.raises(RowSchemaError, match="BigQuery's JSON does not hold"):
        RowEncoder([Column("c", "JSON")]).encode([{"c": value}])


@pytest.mark.parametrize("at", range(20))
def test_a_large_integer_is_found_wherever_it_stands(at):
    """The quick look at every sixth character misses none."""
    with pytest.raises(RowSchemaError, match="BigQuery's JSON does not hold"):
        RowEncoder([Column("c", "JSON")]).encode([{"c": {"x" * at: 2**64, "y": 1}}])


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_json_that_is_nested_too_deep():
    """500 levels are stored, one more is that row's error."""
    encoder = RowEncoder([Column("c", "JSON")])
    assert encoder.encode([{"c": nested(500)}]).num_rows == 1
    with pytest.raises(RowSchemaError, match="at most 500 levels"):
        encoder.encode([{"c": nested(501)}])


@pytest.mark.parametrize(
    "value",
    [
        2**64 - 1,
        -(2**63),
        0.1234567890123456789,
        1e300,
        "9" * 30,
        {"9" * 30: "[" * 600},
        [[]] * 600,
    ],
)
def test_json_that_only_looks_too_large(value):
    """Long digits in a text or a float, and brackets in a text or side by side, are no fault."""
    assert RowEncoder([Column("c", "JSON")]).encode([{"c": value}]).num_rows == 1
