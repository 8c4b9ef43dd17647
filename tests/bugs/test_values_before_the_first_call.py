"""Before the first call: a file is read to its end before anything is paid, and a bad value is found.

The message has the file, the row or line, and the column.
"""

from datetime import date

import pyarrow as pa
import pytest

from etlkit import CsvSource, EtlBase, JsonlSource, ParquetSource, SourceError, TransferJob, run_job
from etlkit.testing import MemorySink

NUM_ROWS = 5_000


def utf8(*texts):
    """A column of text that is only said to be text."""
    lengths = [0]
    for text in texts:
        lengths.append(lengths[-1] + len(text))
    offsets = pa.array(lengths, pa.int32()).buffers()[1]
    return pa.StringArray.from_buffers(len(texts), offsets, pa.py_buffer(b"".join(texts)))


def in_64_bits(value, kind):
    return pa.array([value], pa.int64()).view(kind)


DAY_US = 24 * 60 * 60 * 1_000_000
BAD = {
    "a list with NULL": (pa.array([[1, None]]), {}),
    "a list with NULL in a struct": (pa.array([{"x": [1, None]}]), {}),
    "bytes that are no UTF-8": (utf8(b"a\xff"), {}),
    "bytes that are no UTF-8, in a list": (
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), utf8(b"a\xff")),
        {},
    ),
    "a timestamp after the year 9999": (in_64_bits(2**62, pa.timestamp("us", "UTC")), {}),
    "a timestamp before the year 1": (in_64_bits(-(2**62), pa.timestamp("us")), {}),
    "a timestamp in seconds beyond 64 bits": (in_64_bits(2**62, pa.timestamp("ms")), {}),
    "a date after the year 9999": (pa.array([2**30], pa.int32()).view(pa.date32()), {}),
    "a time of 25 hours": (in_64_bits(DAY_US + 1, pa.time64("us")), {}),
    "nanoseconds": (in_64_bits(1, pa.timestamp("ns")), {}),
    "text that is no JSON": (pa.array(["{"]), {"bad": "JSON"}),
    "text that is not JSON for BigQuery": (pa.array(["[18446744073709551616]"]), {"bad": "JSON"}),
    "NULL in a required column": (pa.array([None], pa.int64()), {"bad": "INT64 NOT NULL"}),
    "NULL in a required field": (
        pa.array([{"x": None}], pa.struct([("x", pa.int64())])),
        {"bad": "STRUCT<x INT64 NOT NULL>"},
    ),
}


class Paid(EtlBase):
    """Counts its rows: each of them would be a call that is paid for."""

    calls = 0

    def transform_row(self, row):
        type(self).calls += 1
        return row


def run(source):
    """Run a job that passes its rows through."""
    Paid.calls = 0
    return run_job(TransferJob(source=source, transform=Paid, sink=MemorySink()))


@pytest.mark.edge_case(
    "a list with NULL", "Parquet", "refused, with row and column, before any call"
)
@pytest.mark.edge_case("a timestamp after the year 9999", "Parquet", "refused, as above")
@pytest.mark.edge_case("text that is no UTF-8", "Parquet", "refused, as above")
@pytest.mark.edge_case("text that is no JSON in a JSON column", "Parquet", "refused, as above")
@pytest.mark.edge_case(
    "NULL in a column that is declared NOT NULL", "all files", "refused, as above"
)
@pytest.mark.parametrize(("value", "types"), BAD.values(), ids=BAD)
def test_parquet(file, value, types):
    """The last of thousands of rows is looked at before the first is transformed."""
    rest = pa.nulls(NUM_ROWS - 1, value.type)
    if "NOT NULL" in str(types):
        rest = pa.repeat(
            pa.scalar({"x": 1} if "STRUCT" in str(types) else 1, value.type), len(rest)
        )
    table = pa.table({"n": range(NUM_ROWS), "bad": pa.chunked_array([rest, value])})
    source = ParquetSource(file(table, "parquet"), types=types)
    with pytest.raises(SourceError, match=rf"1\.parquet, row {NUM_ROWS}: column 'bad' is "):
        run(source)
    assert Paid.calls == 0


@pytest.mark.parametrize(
    ("ending", "source", "types", "bad"),
    [
        ("csv", CsvSource, {"a": "DATE"}, "0000-01-01"),
        ("csv", CsvSource, {"a": "TIMESTAMP"}, "9999-12-31 23:59:59-12:00"),
        ("csv", CsvSource, {"a": "TIMESTAMP"}, "0001-01-01 00:00:00+12:00"),
        ("csv", CsvSource, {"a": "DATE NOT NULL"}, ""),
        ("jsonl", JsonlSource, {"a": "DATE"}, '"0000-01-01"'),
        ("jsonl", JsonlSource, {"a": "TIMESTAMP"}, '"9999-12-31T23:59:59-12:00"'),
        ("jsonl", JsonlSource, {"a": "DATE NOT NULL"}, "null"),
        ("jsonl", JsonlSource, {"a": "ARRAY<DATE>"}, "[null]"),
        ("jsonl", JsonlSource, {"a": "STRING"}, '"\\ud800"'),
    ],
)
def test_text_files(file, ending, source, types, bad):
    """CSV and JSON Lines are refused with the line."""
    if ending == "csv":
        text = "a,b\n" + "2024-01-31,x\n" * NUM_ROWS + f"{bad},x\n"
        if "TIMESTAMP" in types["a"]:
            text = text.replace("2024-01-31", "2024-01-31 00:00:00")
        line = NUM_ROWS + 2
    else:
        good = '["2024-01-31"]' if "ARRAY" in types["a"] else '"2024-01-31"'
        text = f'{{"a": {good}}}\n' * NUM_ROWS + f'{{"a": {bad}}}\n'
        line = NUM_ROWS + 1
    with pytest.raises(SourceError, match=rf"{ending}:{line}: column 'a'"):
        run(source(file(text, ending), types=types))
    assert Paid.calls == 0


def test_good_files_run(file):
    """The same values, where they are in range, go all the way."""
    days = pa.array([date.min, date.max, None])
    table = pa.table({"d": days, "t": days.cast(pa.timestamp("us")), "l": [[1], [], None]})
    assert run(ParquetSource(file(table, "parquet"))).written == Paid.calls == 3
