import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etlkit import ConfigError, ParquetSource, SourceError


@pytest.fixture
def write(tmp_path):
    """Write a table and return its path."""

    def call(table, name="a.parquet"):
        pq.write_table(table, tmp_path / name)
        return str(tmp_path / name)

    return call


AT = datetime(2024, 1, 31, 12, tzinfo=UTC)
COLUMNS = {
    "i8": (pa.array([1, None], pa.int8()), "INT64", 1),
    "u64": (pa.array([2**64 - 1, None], pa.uint64()), "NUMERIC", Decimal(2**64 - 1)),
    "f32": (pa.array([0.5, None], pa.float32()), "FLOAT64", 0.5),
    "b": (pa.array([True, None]), "BOOL", True),
    "s": (pa.array(["x", None], pa.large_string()), "STRING", "x"),
    "dict": (pa.array(["x", None]).dictionary_encode(), "STRING", "x"),
    "by": (pa.array([b"12", None], pa.binary(2)), "BYTES", b"12"),
    "d": (pa.array([date(2024, 2, 29), None]), "DATE", date(2024, 2, 29)),
    "t": (pa.array([time(12), None], pa.time32("ms")), "TIME", time(12)),
    "ts": (pa.array([AT, None], pa.timestamp("ns", "Asia/Tokyo")), "TIMESTAMP", AT),
    "dt": (pa.array([AT, None], pa.timestamp("ms")), "DATETIME", AT.replace(tzinfo=None)),
    "n": (pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)), "NUMERIC", Decimal("1.5")),
    "bn": (
        pa.array([Decimal("1e-20"), None], pa.decimal128(30, 20)),
        "BIGNUMERIC",
        Decimal("1e-20"),
    ),
    "null": (pa.nulls(2), "STRING", None),
}


def test_types_are_kept(read, write):
    """Each Arrow type becomes a BigQuery type, and NULL stays NULL."""
    table = pa.table({name: array for name, (array, _, _) in COLUMNS.items()})
    types, _, rows = read(ParquetSource(write(table)))
    assert types == {name: kind for name, (_, kind, _) in COLUMNS.items()}
    assert rows[0] == {name: value for name, (_, _, value) in COLUMNS.items()}
    assert rows[1] == dict.fromkeys(COLUMNS)


def test_nested_columns(read, write):
    """Lists become ARRAY and structs become STRUCT, at any depth."""
    value = [{"at": AT, "tags": ["a", "b"]}]
    kind = pa.list_(pa.struct([("at", pa.timestamp("ms", "UTC")), ("tags", pa.list_(pa.string()))]))
    types, _, rows = read(ParquetSource(write(pa.table({"x": pa.array([value, None], kind)}))))
    assert types == {"x": "ARRAY<STRUCT<`at` TIMESTAMP, `tags` ARRAY<STRING>>>"}
    assert [row["x"] for row in rows] == [value, []]


def test_declared_types_cast(read, write):
    """Declared types cast without loss, or the file is refused."""
    path = write(pa.table({"j": ['{"a": 1}'], "f": [1.5]}))
    types, _, rows = read(ParquetSource(path, types={"j": "JSON"}))
    assert (types["j"], rows[0]["j"]) == ("JSON", {"a": 1})
    with pytest.raises(
        SourceError, match=r"a\.parquet, row 1: column 'f' is double, .* fit INT64 without"
    ):
        read(ParquetSource(path, types={"f": "INT64"}))
    with pytest.raises(ConfigError, match=r"types has 'z', but .* has only j, f"):
        read(ParquetSource(path, types={"z": "INT64"}))


def test_finer_times_are_not_cut(read, write):
    """Nanoseconds, which BigQuery cannot hold, are an error that says so."""
    path = write(pa.table({"ts": pa.array([1], pa.timestamp("ns"))}))
    with pytest.raises(SourceError, match=r"column 'ts' is timestamp\[ns\].* without loss"):
        read(ParquetSource(path))


@pytest.mark.parametrize(
    ("array", "way_out"),
    [
        (pa.array([1], pa.duration("s")), "set one with types={'x': 'STRING'}"),
        (pa.array([[[1]]], pa.list_(pa.list_(pa.int64()))), "write it as a text of JSON"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "write it as a text of JSON"),
    ],
)
def test_unsupported_types_are_refused(read, write, array, way_out):
    """The message names the column that BigQuery cannot hold, with its type and what does help."""
    path = write(pa.table({"x": array}))
    message = rf"column 'x' is .*, which no BigQuery type holds; {re.escape(way_out)}"
    with pytest.raises(ConfigError, match=message):
        read(ParquetSource(path))
    if "types=" in way_out:
        assert len(read(ParquetSource(path, types={"x": "STRING"})).rows) == 1


def test_files_of_a_source_have_the_same_columns(read, write):
    """Files may differ in order and integer width, but not in columns."""
    one = write(pa.table({"a": pa.array([1], pa.int64()), "b": ["x"]}))
    two = write(pa.table({"b": ["y"], "a": pa.array([2], pa.int16())}), "b.parquet")
    assert read(ParquetSource([one, two])).rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    three = write(pa.table({"a": [1]}), "c.parquet")
    with pytest.raises(SourceError, match=r"c\.parquet has the columns a, but the first file"):
        read(ParquetSource([one, three]))


def test_files_that_are_not_parquet(read, tmp_path):
    """The message names the file."""
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(SourceError, match=r"a\.parquet is not a complete Parquet file"):
        read(ParquetSource(str(path)))
