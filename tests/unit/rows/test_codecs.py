import json
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from etlkit.errors import RowSchemaError, SourceError
from etlkit.rows.codecs import codec_for
from etlkit.rows.columns import Column
from etlkit.rows.json_encoder import made_once
from etlkit.rows.json_values import json_text
from etlkit.rows.refused import RefusedError

AWARE = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)
TOKYO = ZoneInfo("Asia/Tokyo")
SECRET = "s3cr3t"


class Size(IntEnum):
    BIG = 3


class Color(StrEnum):
    RED = "red"


class Stamp(datetime):
    """As pandas.Timestamp: a datetime with nanoseconds."""

    nanosecond = 0


class NanoStamp(Stamp):
    nanosecond = 7


class NotAStamp(datetime):
    """As pandas.NaT: a datetime without a year."""

    year = property(lambda _self: float("nan"))


class NoZone(tzinfo):
    """A tzinfo that does not know its offset: Python calls such a datetime naive."""

    def utcoffset(self, _moment):
        return None


class Day(date):
    pass


class Hour(time):
    pass


def codec(text):
    return codec_for(Column.parse("c", text), "c")


@pytest.mark.parametrize(
    ("text", "given", "stored"),
    [
        ("INT64", np.int32(7), 7),
        ("INT64", Size.BIG, 3),
        ("INT64", 2**63 - 1, 2**63 - 1),
        ("FLOAT64", 3, 3.0),
        ("FLOAT64", 2**60, float(2**60)),
        ("FLOAT64", np.float32(0.5), 0.5),
        ("FLOAT64", np.float64(0.1), 0.1),
        ("FLOAT64", Fraction(1, 4), 0.25),
        ("FLOAT64", float("-inf"), float("-inf")),
        ("NUMERIC", 5, Decimal(5)),
        ("NUMERIC", np.int64(5), Decimal(5)),
        ("NUMERIC", Decimal("0E+50"), Decimal(0)),
        ("NUMERIC", Decimal("1." + "0" * 60), Decimal(1)),
        ("NUMERIC", Decimal("9" * 29 + "." + "9" * 9), Decimal("9" * 29 + "." + "9" * 9)),
        ("BIGNUMERIC", 10**38 - 1, Decimal(10**38 - 1)),
        ("STRING", Color.RED, "red"),
        ("STRING", "\0é😀", "\0é😀"),
        ("GEOGRAPHY", "POINT(1 2)", "POINT(1 2)"),
        ("BYTES", bytearray(b"ab"), b"ab"),
        ("BYTES", memoryview(b"abcd")[::2], b"ac"),
        ("DATE", Day(2026, 1, 2), date(2026, 1, 2)),
        ("TIME", Hour(1, 2), time(1, 2)),
        ("DATETIME", Stamp(2026, 1, 2), datetime(2026, 1, 2)),  # noqa: DTZ001 - the point
        ("TIMESTAMP", Stamp(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        ("TIMESTAMP", AWARE.astimezone(TOKYO), AWARE),
        (
            "TIMESTAMP",
            datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        ),
        (
            "TIMESTAMP",
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-3))),
            datetime(1, 1, 1, 3, tzinfo=UTC),
        ),
        ("JSON", {"é": [1, None, True, "😀"]}, {"é": [1, None, True, "😀"]}),
        ("JSON", (1, 2), [1, 2]),
        ("JSON", np.float64(1.5), 1.5),
        ("ARRAY<INT64>", (1, 2), [1, 2]),
        ("ARRAY<INT64>", None, []),
        ("STRUCT<a INT64, b ARRAY<STRING>>", {}, {"a": None, "b": []}),
        ("STRUCT<a INT64 NOT NULL>", None, None),
    ],
)
def test_encode_takes_and_normalises(text, given, stored):
    """A value that equals a value of the type exactly is stored as that value."""
    array = codec(text).encode([None, given])
    assert codec(text).decode(array)[1] == stored
    assert codec(text).encode([given]).type == array.type


NOT_FOR = {
    "INT64": [True, 1.0, np.float64(1), "1", Decimal(1), 2**63, -(2**63) - 1, 10**5000, np.True_],
    "FLOAT64": [True, "1.5", Decimal("1.5"), 2**53 + 1, 10**400, Fraction(1, 3), 1j],
    "NUMERIC": [
        True,
        1.5,
        "1.5",
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1E-10"),
        Decimal(10**29),
        Decimal("1E+1000"),
        10**29,
        10**5000,
        Fraction(1, 2),
    ],
    "BIGNUMERIC": [True, 1.5, Decimal("1E-39"), 10**38, Decimal("NaN")],
    "BOOL": [1, 0.0, "true", np.True_, SECRET],
    "STRING": [SECRET.encode(), 1, True, None.__class__, NAIVE, ["a"], "\ud800" + SECRET],
    "GEOGRAPHY": [b"POINT(1 2)", {"type": "Point"}],
    "BYTES": [SECRET, 1, [1, 2]],
    "DATE": [NAIVE, AWARE, "2026-01-02", 5, time(1)],
    "TIME": [time(1, tzinfo=UTC), NAIVE, "01:02:03", 5, timedelta(1)],
    "DATETIME": [AWARE, date(2026, 1, 2), "2026-01-02", 5, NanoStamp(2026, 1, 2)],
    "TIMESTAMP": [
        NAIVE,
        NAIVE.replace(tzinfo=NoZone()),
        date(2026, 1, 2),
        "2026-01-02T00:00:00Z",
        5,
        datetime.min.replace(tzinfo=TOKYO),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        NanoStamp(2026, 1, 2, tzinfo=UTC),
        NotAStamp(2026, 1, 2, tzinfo=UTC),
    ],
    "JSON": [
        {SECRET: AWARE},
        [Decimal(1)],
        SECRET.encode(),
        {1, 2},
        [np.int64(1)],
        np.float32(1),
        object(),
        float("nan"),
        [float("inf")],
        ["\ud800" + SECRET],
        {(1, 2): 3},
    ],
    "ARRAY<INT64>": [1, {1}, "12", b"12", {"a": 1}, [1, None], [1.0], [[1]], np.array([1])],
    "ARRAY<STRING>": ["ab", ["a", None], [b"a"]],
    "ARRAY<JSON>": [[None], [{1}], {"a": 1}],
    "STRUCT<a INT64, b STRUCT<c STRING NOT NULL>>": [
        (1,),
        [("a", 1)],
        SECRET,
        {"a": "1"},
        {"a": 1, "x": 2},
        {"A": 1},
        {1: 2},
        {"b": {"c": None}},
        {"b": {}},
        {"b": {"c": "ok", "d": None}},
    ],
    "ARRAY<STRUCT<a DATE NOT NULL>>": [[{"a": None}], [{"a": NAIVE}], [None], {"a": NAIVE.date()}],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [(text, value) for text, values in NOT_FOR.items() for value in values],
    ids=lambda given: type(given).__name__,
)
def test_encode_refuses(text, value):
    """Values that pyarrow would drop, round or reinterpret are refused, alone and among good ones."""
    for values in ([value], [None, value]):
        with pytest.raises(RowSchemaError) as caught:
            codec(text).encode(values)
        assert caught.value.column.startswith("c")
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        ("INT64", "7", "column 'c': expected INT64 (an int), got str: use int(value)"),
        ("INT64", True, "column 'c': expected INT64 (an int), got bool: use int(value)"),
        ("NUMERIC", 1.5, "got float: use Decimal(str(value))"),
        ("NUMERIC", Decimal("1E-10"), "or 9 after the point: round it, or use BIGNUMERIC"),
        ("DATE", NAIVE, "got datetime.datetime: use value.date()"),
        ("TIMESTAMP", NAIVE, "without a timezone: add one, e.g. value.replace(tzinfo="),
        ("DATETIME", AWARE, "got a datetime with a timezone"),
        ("STRING", b"a", "expected STRING (a str), got bytes: decode it"),
        (
            "JSON",
            [AWARE],
            "got datetime.datetime in it, which JSON does not have: use value.isoformat()",
        ),
        ("JSON", [Decimal(1)], "use str(value) or float(value)"),
        ("JSON", [b"a"], "use base64.b64encode(value).decode()"),
        ("JSON", [{1}], "use sorted(value) or list(value)"),
        ("JSON", [np.int64(1)], "got numpy.int64 in it, which JSON does not have: use int(value)"),
        ("JSON", [object()], "got object in it, which JSON does not have"),
        ("JSON", [float("nan")], "got NaN or infinity in it"),
        ("JSON", {(1,): 2}, "use str keys"),
        ("ARRAY<INT64>", "12", "column 'c': expected ARRAY (a list), got str"),
        ("ARRAY<INT64>", [None], "an element of the list is None"),
        ("STRUCT<a INT64>", [1], "column 'c': expected STRUCT (a dict), got list"),
        (
            "STRUCT<zip STRING>",
            {"zap": 1},
            "column 'c.zap': no column has this name; there are zip",
        ),
        ("STRUCT<zip STRING>", {"ZIP": 1}, "column 'c.ZIP': the key differs only in case from"),
        ("STRUCT<zip STRING NOT NULL>", {}, "column 'c.zip': it is None or missing"),
        ("ARRAY<STRUCT<a ARRAY<DATE>>>", [{"a": [NAIVE]}], "column 'c.a': expected DATE"),
    ],
)
def test_encode_says_what_to_do(text, value, message):
    """Messages have the path, the expected type, the actual type and the way out."""
    with pytest.raises(RowSchemaError) as caught:
        codec(text).encode([value])
    assert message in str(caught.value)


def test_encode_refuses_a_wrong_value_after_good_ones():
    """A wrong value after a good one is still refused."""
    for text, good, bad in [("BOOL", True, 1), ("INT64", 1, True), ("STRING", "a", b"a")]:
        with pytest.raises(RowSchemaError, match=f"expected {text}"):
            codec(text).encode([good, bad])


def test_encode_refuses_json_that_holds_itself_or_is_too_deep():
    """Neither raises a RecursionError."""
    circle = []
    circle.append(circle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (circle, deep):
        with pytest.raises(RowSchemaError, match=r"holds itself|nested too deep"):
            codec("JSON").encode([value])


def test_encode_writes_compact_json():
    """JSON text has no needless spaces or escapes."""
    assert codec("JSON").encode([{"é": [1, "😀"]}]).to_pylist() == ['{"é":[1,"😀"]}']


def test_encode_keeps_nan():
    """NaN is stored like any other FLOAT64, also next to ints."""
    array = codec("FLOAT64").encode([float("nan"), 1])
    assert str(array.to_pylist()) == "[nan, 1.0]"


def test_decode_obeys_slices_and_nulls():
    """Slices of nested arrays with nulls on every level are read correctly."""
    text = "ARRAY<STRUCT<a INT64, b STRUCT<c ARRAY<STRING>>>>"
    values = [
        [{"a": 1, "b": None}],
        [],
        [{"a": None, "b": {"c": []}}, {"a": 2, "b": {"c": ["x", "y"]}}],
        [{"a": 3, "b": {"c": ["z"]}}],
    ]
    array = codec(text).encode(values)
    for start in range(5):
        for length in range(5 - start):
            sliced = array.slice(start, length)
            assert codec(text).decode(sliced) == values[start : start + length]


def test_decode_reads_a_null_array_as_an_empty_list():
    """A null array is read as [], also if Arrow has elements behind the null."""
    array = pa.ListArray.from_arrays(
        pa.array([0, 2, 3], pa.int32()), pa.array([1, 2, 3]), mask=pa.array([True, False])
    )
    assert codec("ARRAY<INT64>").decode(array) == [[], [3]]


def test_decode_reads_an_empty_list_array_without_offsets():
    """Arrow allows a list array of length 0 to come without any offset."""
    empty = pa.ListArray.from_buffers(
        pa.list_(pa.int64()), 0, [None, pa.py_buffer(b"")], children=[pa.array([], pa.int64())]
    )
    assert codec("ARRAY<INT64>").decode(empty) == []


def test_decode_finds_struct_fields_by_name():
    """A struct with more fields, in another order, is read by the fields' names."""
    array = pa.array([{"x": 0, "b": "s", "a": 1}])
    assert codec("STRUCT<a INT64, b STRING>").decode(array) == [{"a": 1, "b": "s"}]


def test_decode_reads_bignumeric_beyond_76_digits():
    """BigQuery's largest BIGNUMERIC has 77 digits; Arrow's buffer holds it, so it can be read."""
    largest = 2**255 - 1
    buffers = [None, pa.py_buffer(largest.to_bytes(32, "little"))]
    array = pa.Array.from_buffers(pa.decimal256(76, 38), 1, buffers)
    assert codec("BIGNUMERIC").decode(array) == [Decimal(f"{largest}E-38")]


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("INT64", pa.array(["1"])),
        ("TIMESTAMP", pa.array([1], pa.timestamp("ns", tz="UTC"))),
        ("DATETIME", pa.array([1], pa.timestamp("us", tz="UTC"))),
        ("DATE", pa.array([1], pa.date64())),
        ("ARRAY<INT64>", pa.array([1])),
        ("ARRAY<INT64>", pa.array([["a"]])),
        ("STRUCT<a INT64>", pa.array([1])),
        ("STRUCT<a INT64>", pa.array([{"b": 1}])),
        ("STRUCT<a INT64>", pa.array([{"a": 1.5}])),
    ],
)
def test_decode_refuses_another_arrow_type(text, array):
    """A column of another Arrow type is an error; its values are not reinterpreted."""
    with pytest.raises(SourceError, match=r"column 'c.*' arrived as Arrow"):
        codec(text).decode(array)


class Level(IntEnum):
    HIGH = 2**64


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**63) - 1, [0, [2**64]], {"a": {"b": (1, 2**70)}}, {"a": Level.HIGH}],
    ids=repr,
)
def test_ints_that_json_of_bigquery_does_not_hold(value):
    """Wherever they stand in the value."""
    with pytest.raises(RefusedError, match="64 bits"):
        json_text(value)


def test_numbers_that_json_of_bigquery_holds():
    """Digits in texts and keys, and those of floats, are none of its integers."""
    value = {"a": [2**64 - 1, -(2**63), 1e300, 0.1234567890123456, "9" * 40, True], "8" * 40: None}
    assert json.loads(json_text(value)) == value
    assert json_text(10**18) == str(10**18)


def test_an_encoder_of_json_that_is_made_once_writes_what_json_dumps_does():
    """With its own separators and its own refusal."""
    values = [{"a": [1, 1.5, None, True, "ü\n\ud83d\ude00"], "b": {}}, "text", float("nan"), 10**30]
    plain = made_once(json.JSONEncoder(ensure_ascii=False))
    assert [plain(each) for each in values] == [json.dumps(v, ensure_ascii=False) for v in values]
    strict = made_once(json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    assert strict(values[0]) == json.dumps(values[0], ensure_ascii=False, separators=(",", ":"))
    with pytest.raises(ValueError, match="JSON compliant"):
        strict(float("nan"))
    for encode in (plain, strict):
        with pytest.raises(TypeError, match="set"):
            encode({1})
