"""Parquet: every type of a file is read exactly, or refused at its place; damage is never a crash."""

import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from etlkit import ParquetSource
from tests.fuzz.fuzzing import SORTS, damages, fuzz, prints_as, read_or_place, read_or_refuse, text
from tests.source_rows import read_source

MILLI = st.integers(0, 24 * 60 * 60 * 1000 - 1)


def as_time(ms):
    """A time of day from milliseconds."""
    seconds, ms = divmod(ms, 1000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, ms * 1000)


def integers(bits, *, signed=True):
    return st.integers(-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed) - 1)


def times_of(unit):
    """Times that are whole in this unit, in the range that 64 bits of it hold."""
    step = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]
    low, high = (datetime(1678, 1, 1), datetime(2262, 1, 1)) if unit == "ns" else (None, None)  # noqa: DTZ001
    every = st.datetimes(*((low, high) if low else ()))
    return every.map(lambda at: at.replace(microsecond=at.microsecond // step * step % 1_000_000))


def aware(unit):
    return times_of(unit).map(lambda at: at.replace(tzinfo=UTC))


KINDS = {
    **{
        f"int{bits}": (getattr(pa, f"int{bits}")(), integers(bits), int) for bits in (8, 16, 32, 64)
    },
    **{
        f"uint{bits}": (getattr(pa, f"uint{bits}")(), integers(bits, signed=False), int)
        for bits in (8, 16, 32)
    },
    "uint64": (pa.uint64(), integers(64, signed=False), Decimal),
    "float32": (pa.float32(), st.floats(width=32, allow_nan=False), float),
    "float64": (pa.float64(), st.floats(allow_nan=False), float),
    "bool": (pa.bool_(), st.booleans(), bool),
    "string": (pa.string(), text, str),
    "large_string": (pa.large_string(), text, str),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), text, str),
    "binary": (pa.binary(), st.binary(max_size=8), bytes),
    "large_binary": (pa.large_binary(), st.binary(max_size=8), bytes),
    "fixed": (pa.binary(4), st.binary(min_size=4, max_size=4), bytes),
    "date32": (pa.date32(), st.dates(), None),
    "time32": (pa.time32("ms"), MILLI.map(as_time), None),
    "time64": (pa.time64("us"), st.times(), None),
    **{f"timestamp_{u}": (pa.timestamp(u), times_of(u), None) for u in ("ms", "us", "ns")},
    **{f"zoned_{u}": (pa.timestamp(u, "Asia/Tokyo"), aware(u), None) for u in ("ms", "us", "ns")},
    "decimal128": (pa.decimal128(38, 9), SORTS["NUMERIC"].values, None),
    "decimal_of_few_digits": (pa.decimal128(5, 2), st.decimals(-999, 999, places=2), None),
    "decimal256": (pa.decimal256(76, 38), SORTS["BIGNUMERIC"].values, None),
}
"""Arrow type, its values, and what a value becomes; None = the same value."""


@st.composite
def columns(draw, kinds=tuple(KINDS)):
    """An Arrow type, strategies of its values and of the values that rows have, nested or not."""
    name = draw(st.sampled_from(sorted(kinds)))
    kind, values, made = KINDS[name]
    shape = draw(st.sampled_from(["plain", "plain", "list", "struct", "structs"]))
    convert = made or (lambda value: value)

    def or_none(inner):
        return lambda value: None if value is None else inner(value)

    if shape == "plain":
        return kind, st.none() | values, or_none(convert)
    if shape == "list":
        return (
            draw(st.sampled_from([pa.list_(kind), pa.large_list(kind)])),
            st.none() | st.lists(values, max_size=3),
            lambda value: [convert(each) for each in value or ()],
        )
    # pyarrow cannot write a dictionary without a value inside of a struct
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    struct = pa.struct([("x", kind), ("y", pa.int8())])
    each = st.fixed_dictionaries({"x": st.none() | values, "y": st.none() | integers(8)})

    def as_struct(value):
        return {"x": or_none(convert)(value["x"]), "y": value["y"]}

    if shape == "struct":
        return struct, st.none() | each, or_none(as_struct)
    return (
        pa.list_(struct),
        st.none() | st.lists(each, max_size=3),
        lambda value: [as_struct(inner) for inner in value or ()],
    )


@st.composite
def tables(draw):
    """A table and the rows that it holds."""
    made = {f"c{at}": draw(columns()) for at in range(draw(st.integers(1, 3)))}
    size = draw(st.integers(1, 5))
    values = {
        name: draw(st.lists(v, min_size=size, max_size=size)) for name, (_, v, _) in made.items()
    }
    arrays = {name: pa.array(values[name], kind) for name, (kind, _, _) in made.items()}
    rows = [
        {name: convert(values[name][at]) for name, (_, _, convert) in made.items()}
        for at in range(size)
    ]
    options = {
        "compression": draw(st.sampled_from(["none", "snappy", "zstd"])),
        "use_dictionary": draw(st.booleans()),
        "row_group_size": draw(st.integers(1, 5)),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
    }
    return pa.table(arrays), rows, options


@fuzz
@given(made=tables())
def test_types_round_trip(made):
    """Every type that Parquet and BigQuery have in common, alone and nested."""
    table, rows, options = made
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        pq.write_table(table, path, **options)
        assert read_source(ParquetSource(str(path))).rows == rows


def is_same(one, other):
    """Whether a value that was read means what the file has: the same number, the same instant."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return all(is_same(value, other.get(name)) for name, value in one.items())
    if isinstance(one, Decimal) and isinstance(other, float):
        return prints_as(other, one)
    if isinstance(one, float) and isinstance(other, Decimal):
        return Decimal(repr(one)) == other or one == as_float32(other)
    if isinstance(other, str) and not isinstance(one, str | bytes | None):
        return True  # how a value is written is Arrow's
    return one == other or meaning(one) == meaning(other)


def as_float32(number):
    """The float of 32 bits that stands for a decimal number: 0.1 of 32 bits becomes 0.1, too."""
    return struct.unpack("f", struct.pack("f", float(number)))[0]


def meaning(value):
    """A day as its midnight, a time without a zone as one in UTC, and bytes as their text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


@fuzz
@given(made=tables(), kind=st.sampled_from(sorted(SORTS)), is_list=st.booleans())
def test_casts_lose_nothing(made, kind, is_list):
    """With any type declared, a file is read with the values that it has, or a place is refused."""
    table, rows, _ = made
    types = {"c0": f"ARRAY<{kind}>" if is_list else kind}
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        pq.write_table(table, path)
        found = read_or_refuse(ParquetSource(str(path), types=types), "a.parquet")
    if found is not None and kind not in {"JSON", "GEOGRAPHY"}:
        for row, got in zip(rows, found.rows, strict=True):
            assert is_same(row["c0"], got["c0"]), (table.schema, row["c0"], got["c0"])


@fuzz
@given(one=tables(), two=tables())
def test_several_files_lose_nothing(one, two):
    """Two files with a column of any two types: read with the values that they have, or refused."""
    with TemporaryDirectory() as folder:
        paths = []
        for name, (table, _, _) in (("one", one), ("two", two)):
            paths.append(str(Path(folder, f"{name}.parquet")))
            pq.write_table(table.select(["c0"]), paths[-1])
        found = read_or_refuse(ParquetSource(paths), ".parquet")
    if found is not None:
        wanted = [row["c0"] for _, rows, _ in (one, two) for row in rows]
        for value, row in zip(wanted, found.rows, strict=True):
            assert is_same(value, row["c0"]), (value, row["c0"])


TIMES = [
    pa.date32(),
    pa.timestamp("us"),
    pa.timestamp("ms", "UTC"),
    pa.timestamp("ns"),
    pa.time64("us"),
    pa.time64("ns"),
]


@st.composite
def any_ticks(draw):
    """A column of times or dates whose integers may be anything."""
    kind = draw(
        st.sampled_from(
            [
                pa.date32(),
                pa.timestamp("us"),
                pa.timestamp("ms", "UTC"),
                pa.timestamp("ns"),
                pa.time64("us"),
                pa.time64("ns"),
            ]
        )
    )
    bits = 32 if kind == pa.date32() else 64
    every = integers(bits) | st.integers(-(10**4), 10**4)
    ticks = draw(st.lists(every, min_size=1, max_size=4))
    return pa.array(ticks, getattr(pa, f"int{bits}")()).view(kind)


@fuzz
@given(array=any_ticks())
def test_any_time_is_read_or_refused_with_its_row(array):
    """Arrow's times have no bounds, and Python's have."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        pq.write_table(pa.table({"a": array}), path)
        found = read_or_place(ParquetSource(str(path)))
    if found is not None:
        assert len(found.rows) == len(array)


@fuzz
@given(made=tables(), damage=damages())
def test_damaged_files_are_read_or_refused(made, damage):
    """No bare exception, and the file is named."""
    table, _, options = made
    with TemporaryDirectory() as folder:
        path = Path(folder, "damaged.parquet")
        pq.write_table(table, path, **options)
        path.write_bytes(damage(path.read_bytes()))
        read_or_refuse(ParquetSource(str(path)), "damaged.parquet")
