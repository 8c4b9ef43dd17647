from collections import UserDict, defaultdict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit.errors import RowSchemaError, SourceError
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.columns import Column, arrow_schema, parse_schema

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SIX = parse_schema(
    {
        "id": "INT64 NOT NULL",
        "score": "FLOAT64",
        "uri": "STRING",
        "label": "STRING",
        "ok": "BOOL",
        "updated": "TIMESTAMP",
    }
)


def decimals(digits, scale):
    top = 10**digits - 1
    return st.integers(-top, top).map(lambda i: Decimal(f"{i}E-{scale}"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
SCALAR_VALUES = {
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "FLOAT64": st.floats(allow_nan=False),
    "NUMERIC": decimals(38, 9),
    "BIGNUMERIC": decimals(76, 38),
    "BOOL": st.booleans(),
    "STRING": TEXT,
    "BYTES": st.binary(max_size=20),
    "DATE": st.dates(),
    "DATETIME": st.datetimes(),
    "TIME": st.times(),
    "TIMESTAMP": st.datetimes(timezones=st.just(UTC)),
    "JSON": JSON_VALUES.filter(lambda value: value is not None),
    "GEOGRAPHY": st.just("POINT(1 2)"),
}
ROUND_TRIPS = {
    **{kind: st.none() | values for kind, values in SCALAR_VALUES.items()},
    **{f"ARRAY<{kind}>": st.lists(v, max_size=4) for kind, v in SCALAR_VALUES.items()},
    "STRUCT<a INT64, `b c` STRUCT<d TIMESTAMP NOT NULL, e ARRAY<NUMERIC>>>": st.none()
    | st.fixed_dictionaries(
        {
            "a": st.none() | SCALAR_VALUES["INT64"],
            "b c": st.none()
            | st.fixed_dictionaries(
                {
                    "d": SCALAR_VALUES["TIMESTAMP"],
                    "e": st.lists(SCALAR_VALUES["NUMERIC"], max_size=2),
                }
            ),
        }
    ),
    "ARRAY<STRUCT<a STRING, b ARRAY<STRUCT<c JSON>>>>": st.lists(
        st.fixed_dictionaries(
            {
                "a": st.none() | TEXT,
                "b": st.lists(st.fixed_dictionaries({"c": JSON_VALUES}), max_size=2),
            }
        ),
        max_size=3,
    ),
}
EXTREMES = {
    "INT64": [-(2**63), 2**63 - 1],
    "NUMERIC": [Decimal("9" * 29 + "." + "9" * 9), Decimal("-1E-9"), Decimal("-9E28")],
    "BIGNUMERIC": [
        Decimal("9" * 38 + "." + "9" * 38),
        Decimal("-" + "9" * 38 + "." + "9" * 38),
        Decimal("1E-38"),
        Decimal(1),
    ],
    "STRING": ["", "\0", "a\0b", "😀👩‍👩‍👧", "é", "x" * 2**20, "名" * 2**18],
    "BYTES": [b"", b"\0", bytes(range(256)) * 4096],
    "DATE": [date.min, date(1970, 1, 1), date.max],
    "DATETIME": [datetime.min, datetime.max],  # noqa: DTZ901 - DATETIME has no zone
    "TIME": [MOMENT.time().min, MOMENT.time().max],
    "TIMESTAMP": [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    "JSON": ["", 0, False, {}, [], "\0😀", {"a": {"b": [None]}}, "x" * 2**20, 2**64 - 1, -(2**63)],
}


def round_trip(columns, rows):
    batch = RowEncoder(columns).encode(rows)
    assert batch.schema == arrow_schema(columns)
    batch.validate(full=True)
    decoded = RowDecoder(columns).decode(batch)
    assert [list(each) for each in zip(*decoded.values, strict=True)] == [
        list(row.values()) for row in decoded.rows
    ]
    return decoded.rows


def shape(value):
    """A value with the types of all its parts, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value), value


@settings(suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("text", ROUND_TRIPS)
@given(data=st.data())
def test_rows_come_back_as_they_were(text, data):
    """Every value, nested or not, comes back from Arrow unchanged and with the same Python type."""
    columns = (Column.parse("c", text), Column("n", "INT64"))
    values = data.draw(st.lists(ROUND_TRIPS[text], max_size=8))
    rows = [{"c": value, "n": i} for i, value in enumerate(values)]
    assert shape(round_trip(columns, rows)) == shape(rows)


@pytest.mark.parametrize("kind", EXTREMES)
def test_extreme_values_come_back(kind):
    """The limits of each type, unusual text and a megabyte of it come back, also in arrays."""
    values = EXTREMES[kind]
    columns = (Column("c", kind), Column("a", kind, "REPEATED"))
    for start in range(len(values)):
        rows = [{"c": v, "a": [v, v]} for v in values[start:] + values[:start]]
        rows.append({"c": None, "a": []})
        assert shape(round_trip(columns, rows)) == shape(rows)


def test_timestamps_of_any_zone_come_back_in_utc():
    """A TIMESTAMP is a point in time: the zone is converted, exactly."""
    zone = timezone(timedelta(hours=5, minutes=45, seconds=7, microseconds=1))
    rows = round_trip((Column("c", "TIMESTAMP"),), [{"c": MOMENT.astimezone(zone)}])
    assert shape(rows) == shape([{"c": MOMENT}])
    assert rows[0]["c"].tzinfo is UTC


@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_no_columns_still_count_rows(num_rows):
    """A batch without columns knows how many rows it has, both ways."""
    batch = RowEncoder(()).encode([{} for _ in range(num_rows)])
    assert (batch.num_rows, batch.num_columns) == (num_rows, 0)
    assert RowDecoder(()).decode(batch).rows == [{}] * num_rows
    filled = pa.record_batch({"a": [1] * num_rows})
    assert RowDecoder(()).decode(filled).rows == [{}] * num_rows


def test_no_rows_give_an_empty_batch_of_all_types():
    """Zero rows are a normal run."""
    columns = [Column.parse(f"c{i}", text) for i, text in enumerate(ROUND_TRIPS)]
    assert round_trip(columns, []) == []


def test_ten_thousand_columns_go_both_ways():
    """The widest table that BigQuery allows works, and a bad row in it is found."""
    columns = [Column(f"c{i}", "INT64") for i in range(10_000)]
    rows = [{f"c{i}": i + k for i in range(10_000)} for k in range(3)]
    assert round_trip(columns, rows) == rows
    rows[1]["c9999"] = "x"
    assert list(RowEncoder(columns).bad_rows(rows)) == [1]


@pytest.mark.parametrize("name", ["it's", '"', "\\", "{x}", "\n", "名前", "a b", "v0", "columns"])
def test_any_name_makes_rows(name):
    """Any name can become a key of the generated code."""
    columns = (Column(name, "INT64"), Column("other", "INT64"))
    assert round_trip(columns, [{name: 1, "other": 2}]) == [{name: 1, "other": 2}]


def test_decode_selects_columns_by_name():
    """A batch may have more columns, in another order; the rows have the decoder's columns."""
    batch = pa.record_batch({"x": [0], "b": ["s"], "a": [1]})
    decoded = RowDecoder(parse_schema({"a": "INT64", "b": "STRING"})).decode(batch)
    assert decoded.rows == [{"a": 1, "b": "s"}]
    assert list(decoded.rows[0]) == ["a", "b"]
    assert decoded.batch.schema.names == ["a", "b"]


def test_decode_refuses_a_batch_without_a_column():
    """The message names the missing column and the columns that were sent."""
    with pytest.raises(SourceError, match="sent no column 'b'; it sent x, a"):
        RowDecoder(parse_schema({"a": "INT64", "b": "STRING"})).decode(
            pa.record_batch({"x": [0], "a": [1]})
        )


def test_rows_are_independent():
    """Changing one row changes neither another row nor the decoded values."""
    batch = RowEncoder(SIX).encode([{"id": 1}, {"id": 1}])
    decoded = RowDecoder(SIX).decode(batch)
    decoded.rows[0]["id"] = 5
    assert decoded.rows[1]["id"] == 1
    assert decoded.values[0] == [1, 1]


def encode_error(columns, rows):
    with pytest.raises(RowSchemaError) as caught:
        RowEncoder(columns).encode(rows)
    return caught.value


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ({"id": 1, "lable": "x"}, "lable", "no column has this name; there are id, score, uri"),
        ({"id": 1, "Uri": "x"}, "Uri", "differs only in case from the column 'uri'"),
        ({"id": None}, "id", "None or missing, but the column is NOT NULL"),
        ({}, "id", "None or missing"),
        ({"id": "1"}, "id", "expected INT64 (an int), got str"),
        ({"id": 1, "updated": MOMENT.replace(tzinfo=None)}, "updated", "without a timezone"),
        ({"id": 1, 7: "x"}, "7", "a key is a int; column names are str"),
        (
            {"ID": 1, "score": 1.0, "uri": "", "label": "", "ok": True, "updated": MOMENT},
            "ID",
            "differs only in case from the column 'id'",
        ),
        (["id"], None, "a row is a list; it must be a dict"),
        (UserDict(id=1), None, "a row is a collections.UserDict; it must be a dict"),
        (None, None, "a row is a NoneType"),
    ],
)
def test_encode_names_the_first_bad_row(row, column, message):
    """The error has the row's position, the column and what to do."""
    good = {"id": 1, "score": 1.0, "uri": "u", "label": "l", "ok": True, "updated": MOMENT}
    error = encode_error(SIX, [good, {"id": 2}, row, good, {"id": None}])
    assert error.index == 2
    assert error.column == column
    assert message in str(error)


def test_encode_names_few_of_many_columns():
    """A message about an unknown key does not list a thousand columns."""
    error = encode_error([Column(f"c{i}", "INT64") for i in range(1000)], [{"x": 1}])
    assert "c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, …." in error.message


def test_encode_takes_rows_with_missing_keys():
    """A missing key is NULL, and [] for an ARRAY."""
    columns = parse_schema({"a": "INT64", "b": "ARRAY<INT64>", "c": "STRING NOT NULL"})
    assert RowEncoder(columns).encode([{"c": "x"}, {"c": "y", "a": 1, "b": [2]}]).to_pylist() == [
        {"a": None, "b": [], "c": "x"},
        {"a": 1, "b": [2], "c": "y"},
    ]


def test_encode_takes_dict_subclasses_and_leaves_them_alone():
    """A defaultdict does not get new keys."""
    row = defaultdict(lambda: 1 / 0, id=1)
    assert RowEncoder(SIX).encode([row]).column("score").to_pylist() == [None]
    assert row == {"id": 1}


def test_bad_rows_are_those_encode_refuses():
    """Every bad row is found with its own error, and the other rows can be encoded."""
    rows = [{"id": 1}, {"id": None}, {"id": 2, "x": 1}, {"id": 3}, {"id": True}, "row", {"id": 4}]
    bad = RowEncoder(SIX).bad_rows(rows)
    assert list(bad) == [1, 2, 4, 5]
    assert [error.index for error in bad.values()] == [1, 2, 4, 5]
    assert [error.column for error in bad.values()] == ["id", "x", "id", None]
    good = [row for i, row in enumerate(rows) if i not in bad]
    assert RowEncoder(SIX).encode(good).column("id").to_pylist() == [1, 3, 4]
    assert RowEncoder(SIX).bad_rows(good) == {}


@given(st.lists(st.sampled_from([1, True, "1", None, 2**63, 1.0, -5]), max_size=12))
def test_bad_rows_agree_with_encode(values):
    """`encode` refuses exactly when a row is bad, and names the first."""
    encoder = RowEncoder(SIX)
    rows = [{"id": value} for value in values]
    bad = encoder.bad_rows(rows)
    assert list(bad) == [i for i, v in enumerate(values) if type(v) is not int or v == 2**63]
    if bad:
        error = encode_error(SIX, rows)
        assert (error.index, str(error)) == next((i, str(e)) for i, e in bad.items())


def decoded(text, values):
    columns = (Column.parse("c", text),)
    batch = RowEncoder(columns).encode([{"c": value} for value in values])
    return columns, RowDecoder(columns).decode(batch)


def address(array):
    return array.buffers()[-1].address


@pytest.mark.parametrize("kind", [kind for kind in SCALAR_VALUES if kind != "JSON"])
def test_encode_reuses_an_untouched_column(kind):
    """An untouched column shares the source's memory; a column with a changed value does not."""
    value = {**{k: v[-1] for k, v in EXTREMES.items()}, "BOOL": True, "FLOAT64": 1.5}.get(kind, "P")
    columns, source = decoded(kind, [value, None, value])
    encoder = RowEncoder(columns)
    assert address(encoder.encode(source.rows, source).column(0)) == address(source.batch.column(0))
    source.rows[0]["c"] = None
    batch = encoder.encode(source.rows, source)
    assert address(batch.column(0)) != address(source.batch.column(0))
    assert RowDecoder(columns).decode(batch).rows == [{"c": None}, {"c": None}, {"c": value}]


@pytest.mark.parametrize(
    ("text", "value", "change", "changed"),
    [
        ("JSON", {"a": 1}, lambda v: v.update(a=2), {"a": 2}),
        ("ARRAY<INT64>", [1], lambda v: v.append(2), [1, 2]),
        ("STRUCT<a INT64>", {"a": 1}, lambda v: v.update(a=2), {"a": 2}),
    ],
)
def test_encode_sees_values_changed_in_place(text, value, change, changed):
    """Values that can be changed in place are always encoded again."""
    columns, source = decoded(text, [value])
    change(source.rows[0]["c"])
    batch = RowEncoder(columns).encode(source.rows, source)
    assert RowDecoder(columns).decode(batch).rows == [{"c": changed}]


def test_encode_does_not_take_json_text_for_a_string():
    """A JSON value in a STRING column is refused or written as it is, never as JSON text."""
    _, source = decoded("JSON", ["a"])
    encoder = RowEncoder((Column("c", "STRING"),))
    assert encoder.encode(source.rows, source).to_pylist() == [{"c": "a"}]
    _, source = decoded("JSON", [{"a": 1}])
    with pytest.raises(RowSchemaError, match="expected STRING"):
        encoder.encode(source.rows, source)


@pytest.mark.parametrize("to", ["ARRAY<INT64>", "FLOAT64", "NUMERIC", "BOOL"])
def test_encode_does_not_reuse_another_type(to):
    """A column of another type checks an untouched value by its own rules."""
    _, source = decoded("INT64", [1])
    columns = (Column.parse("c", to),)
    alone = RowEncoder(columns).bad_rows(source.rows)
    if alone:
        with pytest.raises(RowSchemaError):
            RowEncoder(columns).encode(source.rows, source)
    else:
        assert (
            RowEncoder(columns)
            .encode(source.rows, source)
            .equals(RowEncoder(columns).encode(source.rows))
        )


def test_encode_checks_required_on_reused_columns():
    """A target column that is NOT NULL refuses an untouched NULL."""
    _, source = decoded("INT64", [1, None])
    with pytest.raises(RowSchemaError, match="NOT NULL") as caught:
        RowEncoder((Column("c", "INT64", "REQUIRED"),)).encode(source.rows, source)
    assert caught.value.index == 1


def test_encode_refuses_a_source_of_another_length():
    """A source batch of another length is reported as a bug of the caller."""
    columns, source = decoded("INT64", [1, 2])
    with pytest.raises(ValueError, match="1 rows cannot come from 2 source rows"):
        RowEncoder(columns).encode(source.rows[:1], source)


def test_encode_with_one_changed_column_equals_encode_without_source():
    """Reusing columns gives the same batch as encoding all of them."""
    rows = [
        {
            "id": i,
            "score": i / 2,
            "uri": f"u{i}",
            "label": None,
            "ok": i % 2 == 0,
            "updated": MOMENT,
        }
        for i in range(50)
    ]
    source = RowDecoder(SIX).decode(RowEncoder(SIX).encode(rows).slice(10, 20))
    for row in source.rows:
        row["label"] = row.pop("uri").upper()
        row["uri"] = None
    encoder = RowEncoder(SIX)
    assert encoder.encode(source.rows, source).equals(encoder.encode(source.rows))
