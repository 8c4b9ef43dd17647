"""Nanoseconds: a time that is finer than BigQuery's microseconds is refused, and never cut."""

from datetime import UTC, datetime, time

import pandas as pd
import pyarrow as pa
import pytest

from etlkit import CsvSource, JsonlSource, ParquetSource, RowSchemaError, SourceError
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import parse_schema

TIMES = {
    "TIMESTAMP": "2024-01-31T05:30:00.123456{}Z",
    "DATETIME": "2024-01-31T05:30:00.123456{}",
    "TIME": "05:30:00.123456{}",
}


@pytest.mark.edge_case(
    "`05:30:00.123456789` as TIME, DATETIME or TIMESTAMP",
    "CSV, JSON Lines, Parquet",
    "refused, with its line or row",
)
@pytest.mark.parametrize(("kind", "text"), TIMES.items())
def test_files(read, file, kind, text):
    """Python cuts them silently when it reads a time, so that the text is looked at first."""
    types = {"a": kind}
    fine, finer = text.format(""), text.format("789")
    for write, source, where in (
        (lambda cell: file(f"a\n{cell}\n", "csv"), CsvSource, r"csv:2"),
        (lambda cell: file([{"a": cell}], "jsonl"), JsonlSource, r"jsonl:1"),
        (lambda cell: file(pa.table({"a": [cell]}), "parquet"), ParquetSource, r"parquet.*"),
    ):
        with pytest.raises(SourceError, match=where + r": column 'a'"):
            read(source(write(finer), types=types))
        ((value,),) = (row.values() for row in read(source(write(fine), types=types)).rows)
        assert value.microsecond == 123456


@pytest.mark.edge_case("nanoseconds that are zero", "JSON Lines, Parquet", "taken: nothing is lost")
def test_zeros_are_not_finer(read, file):
    """A program that always writes nine digits can be read."""
    at = datetime(2024, 1, 31, 5, 30, 0, 500_000, tzinfo=UTC)
    lines = file([{"a": "2024-01-31T05:30:00.500000000Z", "t": "05:30:00.000000000"}], "jsonl")
    rows = read(JsonlSource(lines, types={"a": "TIMESTAMP", "t": "TIME"})).rows
    assert rows == [{"a": at, "t": time(5, 30)}]
    table = pa.table({"a": pa.array([at], pa.timestamp("ns", "UTC"))})
    assert read(ParquetSource(file(table, "parquet"))).rows == [{"a": at}]


@pytest.mark.edge_case("`pandas.Timestamp` with nanoseconds", "a returned row", "row error")
def test_rows():
    """Without nanoseconds it is taken for the datetime that it is."""
    encoder = RowEncoder(parse_schema({"a": "TIMESTAMP"}))
    at = pd.Timestamp("2024-01-31T05:30:00.5Z")
    assert encoder.encode([{"a": at}]).to_pylist() == [{"a": at.to_pydatetime()}]
    with pytest.raises(RowSchemaError, match="nanoseconds"):
        encoder.encode([{"a": pd.Timestamp("2024-01-31T05:30:00.123456789Z")}])
