"""Several files: the types of a source's columns hold the values of all its files without loss.

They are found in the heads of all files. Files that have no such type are refused, both by name.
"""

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from etlkit import ConfigError, CsvSource, JsonlSource, ParquetSource, SourceError

AT = datetime(2024, 1, 31, 5, 30)  # noqa: DTZ001 - a DATETIME has no zone


def column(values, kind=None):
    return pa.table({"a": pa.array(values, kind)})


TOGETHER = {
    "NULL, then integers": (column([None]), column([2]), "INT64", [None, 2]),
    "NULL, then a list": (column([None]), column([[2]]), "ARRAY<INT64>", [[], [2]]),
    "integers, then floats": (column([1]), column([2.5]), "FLOAT64", [1.0, 2.5]),
    "integers, then decimals": (
        column([1]),
        column([Decimal("2.5")]),
        "NUMERIC",
        [Decimal(1), Decimal("2.5")],
    ),
    "decimals of two sizes": (
        column([Decimal("1e-20")]),
        column([Decimal("2.5")]),
        "BIGNUMERIC",
        [Decimal("1e-20"), Decimal("2.5")],
    ),
    "widths and encodings": (
        column([1], pa.int8()),
        column([2], pa.int64()).set_column(0, "a", pa.array([2]).dictionary_encode()),
        "INT64",
        [1, 2],
    ),
    "a field more": (
        column([{"x": 1}]),
        column([{"x": 1, "y": 2}]),
        "STRUCT<`x` INT64, `y` INT64>",
        [{"x": 1, "y": None}, {"x": 1, "y": 2}],
    ),
    "a field less, deep inside": (
        column([[{"x": [{"y": 1, "z": "s"}]}]]),
        column([[{"x": [{"y": 1.5}]}]]),
        "ARRAY<STRUCT<`x` ARRAY<STRUCT<`y` FLOAT64, `z` STRING>>>>",
        [[{"x": [{"y": 1.0, "z": "s"}]}], [{"x": [{"y": 1.5, "z": None}]}]],
    ),
    "fixed and free length": (
        column([b"ab"], pa.binary(2)),
        column([b"abc"]),
        "BYTES",
        [b"ab", b"abc"],
    ),
}


@pytest.mark.edge_case("all NULL, then integers", "several Parquet files", "INT64")
@pytest.mark.edge_case("integers, then floats", "several Parquet files", "FLOAT64, if it is exact")
@pytest.mark.edge_case("`{x}`, then `{x, y}`", "several Parquet files", "STRUCT with x and y")
@pytest.mark.parametrize(("one", "two", "kind", "values"), TOGETHER.values(), ids=TOGETHER)
def test_parquet_is_widened(read, file, one, two, kind, values):
    """In either order of the files."""
    paths = [file(one, "parquet"), file(two, "parquet")]
    types, _, rows = read(ParquetSource(paths))
    assert (types, [row["a"] for row in rows]) == ({"a": kind}, values)
    types, _, rows = read(ParquetSource(paths[::-1]))
    assert [row["a"] for row in rows] == values[::-1]


APART = {
    "a number and text": (column([1]), column(["007"])),
    "a date and a time": (column([date(2024, 1, 1)]), column([AT])),
    "with and without a zone": (
        column([AT], pa.timestamp("us")),
        column([AT], pa.timestamp("us", "UTC")),
    ),
    "a float and a decimal": (column([0.5]), column([Decimal("0.5")])),
    "a value and a list": (column([1]), column([[1]])),
    "text and bytes": (column(["x"]), column([b"x"])),
    "fields of two kinds": (column([{"x": 1}]), column([{"x": "1"}])),
}


@pytest.mark.edge_case(
    "integers, then the text `007`", "several Parquet files", "refused, with both files"
)
@pytest.mark.edge_case(
    "dates, then timestamps", "several Parquet files", "refused, with both files"
)
@pytest.mark.parametrize(("one", "two"), APART.values(), ids=APART)
def test_parquet_without_a_common_type_is_refused(read, file, one, two):
    """A file between them changes nothing, and a declared type settles it."""
    paths = [file(one, "parquet"), file(one, "parquet"), file(two, "parquet")]
    message = r"column 'a' is \S.* in \S*1\.parquet and .* in \S*3\.parquet.*types={'a': …}"
    with pytest.raises(SourceError, match=message):
        read(ParquetSource(paths))


def test_a_declared_type_settles_it(read, file):
    """Text keeps what was written; a number keeps its value."""
    paths = [file(column([1]), "parquet"), file(column(["007"]), "parquet")]
    rows = read(ParquetSource(paths, types={"a": "STRING"})).rows
    assert [row["a"] for row in rows] == ["1", "007"]


def test_a_value_that_the_common_type_would_round_is_refused(read, file):
    """The common type of integers and floats is FLOAT64, but not for every integer."""
    paths = [file(column([2**53 + 1]), "parquet"), file(column([0.5]), "parquet")]
    with pytest.raises(SourceError, match=r"1\.parquet, row 1: column 'a' is int64.*FLOAT64"):
        read(ParquetSource(paths))


@pytest.mark.edge_case("`7`, then `007`", "several CSV files", "STRING: each cell as it stands")
@pytest.mark.edge_case("empty cells, then numbers", "several CSV files", "the numbers' type")
@pytest.mark.edge_case("dates, then times", "several CSV files", "STRING")
@pytest.mark.parametrize(
    ("one", "two", "kind", "values"),
    [
        ("7", "007", "STRING", ["7", "007"]),
        ("", "2", "INT64", [None, 2]),
        ("1", "2.5", "FLOAT64", [1.0, 2.5]),
        ("2024-01-31", "2024-01-31 05:30:00", "STRING", ["2024-01-31", "2024-01-31 05:30:00"]),
        ("true", "1", "STRING", ["true", "1"]),
        ("1234567890123456789", "0.5", "STRING", ["1234567890123456789", "0.5"]),
    ],
)
@pytest.mark.parametrize("header", [True, False])
def test_csv(read, file, one, two, kind, values, header):
    """As if all rows were in one file; the columns may stand in another order."""
    if header:
        paths = [file(f"a,b\n{one},x\n", "csv"), file(f"b,a\ny,{two}\n", "csv")]
    else:
        paths = [file(f"{one},x\n", "csv"), file(f"{two},y\n", "csv")]
    types, _, rows = read(CsvSource(paths, header=header))
    assert next(iter(types.values())) == kind
    assert [list(row.values()) for row in rows] == [[values[0], "x"], [values[1], "y"]]
    assert (
        list(read(CsvSource(paths[::-1], header=header)).types.values())[-1 if header else 0]
        == kind
    )


@pytest.mark.edge_case('`7`, then `"007"`', "several JSON Lines files", "JSON, which holds both")
@pytest.mark.edge_case("all null, then integers", "several JSON Lines files", "INT64")
@pytest.mark.edge_case(
    "a key that only the second file has", "several JSON Lines files", "a column; NULL before"
)
@pytest.mark.parametrize(
    ("one", "two", "kind", "values"),
    [
        (7, "007", "JSON", [7, "007"]),
        (None, 2, "INT64", [None, 2]),
        (1, 2.5, "FLOAT64", [1.0, 2.5]),
        (2**70, 2, "NUMERIC", [Decimal(2**70), Decimal(2)]),
        (2**70, 0.5, "BIGNUMERIC", [Decimal(2**70), Decimal("0.5")]),
        ([1], [2.5], "ARRAY<FLOAT64>", [[1.0], [2.5]]),
        ([], [2.5], "ARRAY<FLOAT64>", [[], [2.5]]),
        ([], None, "JSON", [[], None]),
        ([], 2, "JSON", [[], 2]),
        ([1], 2, "JSON", [[1], 2]),
        ({"x": 1}, {"x": 1, "y": 2}, "JSON", [{"x": 1}, {"x": 1, "y": 2}]),
        (True, 1, "JSON", [True, 1]),
    ],
)
def test_json_lines(read, file, one, two, kind, values):
    """By the rules for new columns, as if all rows were in one file."""
    paths = [file([{"a": one}], "jsonl"), file([{"a": two, "late": True}], "jsonl")]
    types, _, rows = read(JsonlSource(paths))
    assert types == {"a": kind, "late": "BOOL"}
    assert rows == [{"a": values[0], "late": None}, {"a": values[1], "late": True}]
    assert read(JsonlSource(paths[::-1])).types["a"] == kind


@pytest.mark.edge_case(
    "other columns in the second file", "several CSV or Parquet files", "refused"
)
def test_other_columns_are_refused_with_both_files(read, file):
    """It is found before any file is read to its end."""
    message = r"2\.{0} has the columns a, c, but the first file, \S*1\.{0}, has a, b"
    with pytest.raises(SourceError, match=message.format("csv")):
        read(CsvSource([file("a,b\n1,2\n", "csv"), file("a,c\n1,2\n", "csv")]), frozen=False)
    one, two = pa.table({"a": [1], "b": [2]}), pa.table({"a": [1], "c": [2]})
    with pytest.raises(SourceError, match=r"4\.parquet has the columns a, c.*3\.parquet, has a, b"):
        read(ParquetSource([file(one, "parquet"), file(two, "parquet")]), frozen=False)


@pytest.mark.edge_case("an empty file among others", "several CSV files", "no rows; others decide")
def test_an_empty_file_decides_nothing(read, file):
    """Also if it is the first one."""
    paths = [file("", "csv"), file("a\n1\n", "csv"), file("", "csv")]
    assert read(CsvSource(paths)).rows == [{"a": 1}]
    with pytest.raises(SourceError, match=r"1\.csv is empty"):
        read(CsvSource(paths[:1]))


def test_a_preview_looks_only_at_files_that_it_reads(read, file):
    """Files behind the last row are not opened: they may be large, and far away."""
    for source, name in ((CsvSource, "csv"), (JsonlSource, "jsonl"), (ParquetSource, "parquet")):
        good = {"csv": "a\n1\n2\n", "jsonl": [{"a": 1}, {"a": 2}], "parquet": column([1, 2])}
        paths = [file(good[name], name), "/missing/" + name]
        paths[1] = file(b"\xff not a file of this kind", name)
        assert read(source(paths), limit=2, frozen=False).rows == [{"a": 1}, {"a": 2}]
        with pytest.raises((SourceError, ConfigError)):
            read(source(paths), limit=3, frozen=False)
