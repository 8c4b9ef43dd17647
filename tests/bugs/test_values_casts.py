"""Casts of Parquet: a type in `types` is given to a column only if no value changes by it.

Otherwise the file is refused, with row and column, as CSV and JSON Lines are.
"""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from etlkit import ParquetSource, SourceError
from etlkit.rows.casts import MisfitError, cast
from etlkit.rows.columns import Column

AT = datetime(2024, 1, 31, 5, 30)  # noqa: DTZ001 - a DATETIME has no zone
MIDNIGHT = datetime(2024, 1, 31)  # noqa: DTZ001 - as above
ZONED = pa.timestamp("us", "Asia/Tokyo")


def array(values, kind=None):
    return pa.array(values, kind)


LOST = {
    "time of day": (array([MIDNIGHT, AT], pa.timestamp("us")), "DATE", 2),
    "day": (array([AT], pa.timestamp("us")), "TIME", None),
    "zone": (array([AT], ZONED), "DATETIME", None),
    "zone and time": (array([AT], ZONED), "DATE", None),
    "digits of a double": (array([0.5, 0.12345678912345]), "NUMERIC", 2),
    "fraction": (array([1.0, 1.5]), "INT64", 2),
    "fraction of a decimal": (array([Decimal("1.0"), Decimal("1.5")]), "INT64", 2),
    "digits of a decimal": (array([Decimal("12345678901234567.12")]), "FLOAT64", 1),
    "digits of an integer": (array([1, 2**53 + 1]), "FLOAT64", 2),
    "all but one bit": (array([1, 2]), "BOOL", 2),
    "unit of time": (array([1_700_000_000]), "TIMESTAMP", None),
    "meaning of a time": (array([AT], pa.timestamp("ms")), "INT64", None),
    "field": (array([{"x": 1, "y": 2}]), "STRUCT<x INT64>", None),
    "field in a list": (array([[{"x": 1, "y": 2}]]), "ARRAY<STRUCT<x INT64>>", None),
    "digits in a struct": (array([{"x": 0.5}, {"x": 1e-12}]), "STRUCT<x NUMERIC>", 2),
    "digits in a list": (array([[0.5], [0.5, 1e-12]]), "ARRAY<NUMERIC>", 2),
    "text that is no number": (array(["7", "seven"]), "INT64", 2),
    "text with too many digits": (array(["1.5", "12345678901234567.12"]), "FLOAT64", 2),
    "bytes that are no text": (array([b"x", b"\xff"]), "STRING", 2),
}


@pytest.mark.edge_case("timestamp 05:30 as DATE", "Parquet", "refused, with row and column")
@pytest.mark.edge_case("double `0.12345678912345` as NUMERIC", "Parquet", "refused: 9 digits")
@pytest.mark.edge_case("STRUCT with a field that the type lacks", "Parquet", "refused")
@pytest.mark.edge_case("timestamp with a zone as DATETIME or DATE", "Parquet", "refused")
@pytest.mark.edge_case("integer `2` as BOOL", "Parquet", "refused; 0 and 1 are taken")
@pytest.mark.edge_case("integers as TIMESTAMP, timestamps as INT64", "Parquet", "refused: no unit")
@pytest.mark.parametrize(("values", "kind", "row"), LOST.values(), ids=LOST)
def test_what_would_be_lost_is_refused(read, file, values, kind, row):
    """The message has the row of the first value, or none if no value of the column's type fits."""
    where = rf"parquet, row {row}: column 'a'" if row else r"parquet: column 'a'"
    with pytest.raises(SourceError, match=where + r" is .*; mend the file, or set another type"):
        read(ParquetSource(file(pa.table({"a": values}), "parquet"), types={"a": kind}))


KEPT = {
    "midnight": (array([MIDNIGHT], pa.timestamp("us")), "DATE", date(2024, 1, 31)),
    "date": (array([date(2024, 1, 31)]), "DATETIME", MIDNIGHT),
    "time without a zone": (array([AT], pa.timestamp("ns")), "TIMESTAMP", AT.replace(tzinfo=UTC)),
    "double": (array([0.1]), "NUMERIC", Decimal("0.1")),
    "double with all digits": (array([0.1]), "BIGNUMERIC", Decimal("0.1")),
    "whole double": (array([3.0]), "INT64", 3),
    "decimal": (array([Decimal("0.1")]), "FLOAT64", 0.1),
    "integer": (array([2**53]), "FLOAT64", 2.0**53),
    "one": (array([1], pa.int8()), "BOOL", True),
    "number as text": (array([Decimal("1.50")]), "STRING", "1.50"),
    "text as number": (array(["12345678901234567.12"]), "NUMERIC", Decimal("12345678901234567.12")),
    "text as date": (array(["2024-01-31"]), "DATE", date(2024, 1, 31)),
    "text as time": (array(["05:30:00.000001"]), "TIME", time(5, 30, 0, 1)),
    "text as JSON": (array(['{"a": [1]}']), "JSON", {"a": [1]}),
    "more fields": (array([{"x": 1}]), "STRUCT<y STRING, x FLOAT64>", {"y": None, "x": 1.0}),
    "list": (array([[1, 2]], pa.large_list(pa.int8())), "ARRAY<NUMERIC>", [Decimal(1), Decimal(2)]),
    "half of a float": (array([0.5], pa.float16()), "FLOAT64", 0.5),
    "nan": (array([float("nan")], pa.float32()), "STRING", "nan"),
}


@pytest.mark.edge_case("timestamp at midnight as DATE", "Parquet", "the day")
@pytest.mark.edge_case(
    "double `0.1` as NUMERIC or BIGNUMERIC", "Parquet", "`0.1`, not `0.10000…555`"
)
@pytest.mark.edge_case("timestamp without a zone as TIMESTAMP", "Parquet", "in UTC, as in CSV")
@pytest.mark.edge_case("text as any type", "Parquet", "read as a CSV cell")
@pytest.mark.parametrize(("values", "kind", "value"), KEPT.values(), ids=KEPT)
def test_what_is_kept_is_cast(read, file, values, kind, value):
    """NULL stays NULL beside it, or becomes the empty list."""
    both = pa.concat_arrays([values, pa.nulls(1, values.type)])
    source = ParquetSource(file(pa.table({"a": both}), "parquet"), types={"a": kind})
    assert [row["a"] for row in read(source).rows] == [value, [] if kind[0:2] == "AR" else None]


@pytest.mark.edge_case("NaN and infinity, floats of 16 and 32 bits", "Parquet", "kept")
def test_floats_of_any_width_are_floats(read, file):
    """NaN and infinity as well, although NaN does not equal itself."""
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        values = array([0.5, float("nan"), float("-inf")], kind)
        found = [
            row["a"] for row in read(ParquetSource(file(pa.table({"a": values}), "parquet"))).rows
        ]
        assert str(found) == "[0.5, nan, -inf]"


@pytest.mark.edge_case(
    "date64 with a time of day", "Arrow, e.g. from a source of your own", "refused"
)
def test_arrow_that_no_file_has():
    """Parquet has no such type, but a source may send it."""
    column = Column("a", "DATE")
    day = 24 * 60 * 60 * 1000
    assert cast(array([day], pa.date64()), column).to_pylist() == [date(1970, 1, 2)]
    with pytest.raises(MisfitError) as caught:
        cast(array([day, day + 5], pa.int64()).view(pa.date64()), column)
    assert (caught.value.column, caught.value.index) == ("a", 1)
