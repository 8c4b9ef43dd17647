"""Colliding keys: two keys that become one in JSON are refused, because one value would be lost."""

import pyarrow as pa
import pytest

from etlkit import ConfigError, CsvSource, JsonlSource, ParquetSource, RowSchemaError, SourceError
from etlkit.bigquery.http_sink.body import Body
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema
from etlkit.rows.inference import infer_columns

JSON = RowEncoder(parse_schema({"j": "JSON"}))


@pytest.mark.edge_case('`{1: "a", "1": "b"}` in a JSON column', "a returned row", "row error")
@pytest.mark.edge_case('`{None: 1, "null": 2}` in a JSON column', "a returned row", "row error")
@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {True: 1, "true": 2},
        {None: 1, "null": 2},
        {0.5: 1, "0.5": 2},
        [{"deep": [0, ({"x": {1: "a", "1": "b"}},)]}],
    ],
)
def test_a_returned_dict(value):
    """At any depth; the request of an HttpSink refuses it too."""
    with pytest.raises(RowSchemaError, match="keys that are the same in JSON") as caught:
        JSON.encode([{"j": value}])
    assert caught.value.column == "j"
    with pytest.raises(RowSchemaError, match="keys that are the same in JSON"):
        Body(lambda _rows: value, is_batch=False).made_of([{}])


@pytest.mark.edge_case('`{1: "a", 2: "b"}` in a JSON column', "a returned row", "keys become text")
def test_keys_that_stay_apart():
    """As json.dumps writes them."""
    value = {1: "a", 2: "b", None: "c", "x": {True: 0}}
    assert JSON.encode([{"j": value}]).to_pylist() == [
        {"j": '{"1":"a","2":"b","null":"c","x":{"true":0}}'}
    ]


@pytest.mark.edge_case('`{"a": 1, "a": 2}`', "JSON Lines; JSON in CSV and Parquet", "refused")
@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"x": [{"a": 1, "\\u0061": 2}]}'])
def test_a_key_twice_in_a_file(read, file, text):
    """Python would keep the last value, BigQuery the first one."""
    with pytest.raises(SourceError, match=r"jsonl:2: .*the same key twice"):
        read(JsonlSource(file(f'{{"a": 0}}\n{text}\n', "jsonl")))
    cell = text.replace('"', '""')
    with pytest.raises(SourceError, match=r"csv:2: column 'j'.*the same key twice"):
        read(CsvSource(file(f'j\n"{cell}"\n', "csv"), types={"j": "JSON"}))


@pytest.mark.edge_case(
    "columns `a` and `A`", "all files, returned rows", "refused: one for BigQuery"
)
def test_names_that_differ_in_case(read, file):
    """Also if they are in different rows, or in the fields of a STRUCT."""
    with pytest.raises(SourceError, match=r"jsonl:2: .*differs only in case from 'a'"):
        read(JsonlSource(file([{"a": 1}, {"A": 2}], "jsonl")))
    with pytest.raises(RowSchemaError, match="differs only in case"):
        infer_columns([{"a": 1}, {"A": 2}], {})
    with pytest.raises(RowSchemaError, match="differs only in case"):
        RowEncoder(parse_schema({"s": "STRUCT<a INT64>"})).encode([{"s": {"A": 2}}])


@pytest.mark.edge_case("the same column twice", "CSV, Parquet", "refused")
def test_a_column_twice(read, file):
    """Neither of the two is dropped."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    for source in (
        CsvSource(file("a,a\n1,2\n", "csv")),
        ParquetSource(file(table, "parquet")),
        CsvSource([file("a,b\n1,2\n", "csv"), file("a,a\n1,2\n", "csv")]),
    ):
        with pytest.raises(
            (ConfigError, SourceError), match=r"are one column|has the columns a, a"
        ):
            read(source)
