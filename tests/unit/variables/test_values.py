"""Definitions of variables, and where their values come from."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit import ConfigError, String, Timestamp, TimestampRuntime
from etlkit.variables.definitions import Value
from etlkit.variables.values import (
    loop_values,
    parse_assignments,
    parse_time,
    refuse_unused,
    resolve,
)

QUEUED = datetime(2024, 3, 31, 15, 30, tzinfo=UTC)
STARTED = datetime(2024, 4, 1, 0, 10, tzinfo=UTC)


def values(definitions, **options):
    return resolve(definitions, queued_at=QUEUED, started_at=STARTED, **options)


def text(definition, **options):
    return values({"v": definition}, **options)["v"].text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "2024-03-31 15:30"),
        ({"quantity": 1}, "2024-03-30 15:30"),
        ({"quantity": 1, "unit": "date"}, "2024-03-30 15:30"),
        ({"quantity": 90, "unit": "minute"}, "2024-03-31 14:00"),
        ({"quantity": 10, "unit": "hour", "direction": "later"}, "2024-04-01 01:30"),
        ({"quantity": 1, "unit": "month"}, "2024-02-29 15:30"),
        ({"quantity": 13, "unit": "month"}, "2023-02-28 15:30"),
        ({"quantity": 11, "unit": "month", "direction": "later"}, "2025-02-28 15:30"),
        ({"unit": "month_start"}, "2024-03-01 00:00"),
        ({"unit": "month_end"}, "2024-03-31 00:00"),
        ({"unit": "previous_month_end"}, "2024-02-29 00:00"),
        ({"time_zone": "Asia/Tokyo"}, "2024-04-01 00:30"),
        ({"time_zone": "Asia/Tokyo", "unit": "previous_month_end"}, "2024-03-31 00:00"),
    ],
)
def test_times_are_counted_from_the_queue_time(options, expected):
    """Units, directions, month ends, and a zone in which it is another day already."""
    assert text(Timestamp(format="%Y-%m-%d %H:%M", **options)) == expected


def test_the_runtime_is_another_base():
    """Queued before midnight, started after it: the two kinds differ by a day."""
    assert text(Timestamp()) == "2024-03-31"
    assert text(TimestampRuntime()) == "2024-04-01"


def test_hours_are_real_hours_and_days_are_calendar_days():
    """The clocks of Berlin went forward on 2024-03-31 at 2: a day ago is 23 hours ago."""
    ago = {"time_zone": "Europe/Berlin", "format": "%d %H:%M %z"}
    assert text(Timestamp(quantity=1, unit="day", **ago)) == "30 17:30 +0100"
    assert text(Timestamp(quantity=24, unit="hour", **ago)) == "30 16:30 +0100"


@given(
    st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 1, 1)),
    st.integers(0, 240),
    st.sampled_from(["ago", "later"]),
)
def test_months_never_leave_their_month(at, quantity, direction):
    """A month's arithmetic lands in the month meant, on the same day or its last."""
    base = datetime(at.year, at.month, at.day, 12, tzinfo=UTC)
    moved = Timestamp(quantity=quantity, unit="month", direction=direction).expand(base)
    year, month, day = map(int, moved.split("-"))
    sign = 1 if direction == "later" else -1
    assert year * 12 + month == base.year * 12 + base.month + sign * quantity
    assert day <= base.day
    if day < base.day:
        assert (date(year, month, day) + timedelta(days=1)).day == 1


@given(st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Asia/Tokyo")])))
def test_month_starts_and_ends_are_days_of_the_month(base):
    """The day after a month's end is the first; the day before its start the end of the one before."""
    if not 2 <= base.year <= 9998:
        return
    zone = {"time_zone": "Asia/Tokyo"}
    start = date.fromisoformat(Timestamp(unit="month_start", **zone).expand(base).zfill(10))
    end = date.fromisoformat(Timestamp(unit="month_end", **zone).expand(base).zfill(10))
    before = date.fromisoformat(Timestamp(unit="previous_month_end", **zone).expand(base).zfill(10))
    assert start.day == 1
    assert (end + timedelta(days=1)).day == 1
    assert end.month == start.month
    assert before + timedelta(days=1) == start


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "week"}, "unit='week'.*it is one of minute, hour, day"),
        ({"direction": "back"}, "direction='back'.*ago, later"),
        ({"quantity": -1}, "0 or more"),
        ({"quantity": 1.5}, "a whole number"),
        ({"quantity": 1, "unit": "month_end"}, "takes no quantity"),
        ({"format": "%Y-%N"}, "%N is not one of %a.*%f here"),
        ({"format": "%-d"}, "%- is not one of"),
        ({"format": "100%"}, "% is not one of"),
        ({"format": ""}, "write e.g."),
        ({"time_zone": "Tokyo"}, "time_zone='Tokyo' is unknown"),
        ({"time_zone": "../etc"}, "is unknown"),
    ],
)
def test_bad_times_are_refused_when_they_are_made(options, message):
    """Each message says what is allowed instead."""
    with pytest.raises(ConfigError, match=message):
        Timestamp(**options)


def test_a_time_outside_of_the_calendar():
    """Such a time is a configuration error, not an overflow."""
    with pytest.raises(ConfigError, match="outside of the years"):
        text(Timestamp(quantity=10**9))
    with pytest.raises(ConfigError, match="outside of the years"):
        text(Timestamp(quantity=300_000, unit="month", direction="later"))


def test_the_loop_wins_over_the_given_and_the_given_over_the_definition():
    """Values have TROCCO's precedence: loop, given, definition."""
    definitions = {"a": "one", "b": "one", "c": "one"}
    found = values(definitions, given={"b": "two", "c": "two"}, loop={"$c$": "three"})
    assert {name: value.value for name, value in found.items()} == {
        "a": "one",
        "b": "two",
        "c": "three",
    }


@pytest.mark.parametrize(
    ("definition", "given", "expected"),
    [
        (String("a", text=True), "b", Value("b", as_text=True)),
        ("a", 5, Value("5")),
        (1, "7", Value(7)),
        (1.5, "2", Value(2.0)),
        (True, "FALSE", Value(value=False)),
        (Decimal(1), "2.50", Value(Decimal("2.50"))),
        (date(2024, 1, 1), "2025-12-31", Value(date(2025, 12, 31))),
        (QUEUED, "2024-01-01T00:00:00+00:00", Value(datetime(2024, 1, 1, tzinfo=UTC))),
        (Timestamp(format="%Y%m%d", text=True), "20240101", Value("20240101", as_text=True)),
        (Timestamp(format="%Y%m%d"), date(2024, 1, 1), Value("20240101")),
    ],
)
def test_a_given_value_takes_the_type_of_the_definition(definition, given, expected):
    """Text of the command line is converted to the type of the definition."""
    found = values({"v": definition}, given={"v": given})["v"]
    assert found == expected
    assert type(found.value) is type(expected.value)


@pytest.mark.parametrize(
    ("definition", "given", "message"),
    [
        (1, "x", r"\$v\$ is a int; 'x' is not"),
        (True, "yes", "is a bool"),
        (date(2024, 1, 1), "1.2.2024", "is a date"),
        (Decimal(1), "one", "is a Decimal"),
        (Timestamp(), "20240101", "a time written as '%Y-%m-%d'; '20240101' is not"),
        (Timestamp(), "2024-01-01'; DROP TABLE x", "is not"),
    ],
)
def test_a_given_value_of_another_type_is_refused(definition, given, message):
    """A value of another type is refused before any I/O."""
    with pytest.raises(ConfigError, match=message):
        values({"v": definition}, given={"v": given})


def test_unknown_and_unused_variables_list_the_known_ones():
    """Unknown variables are refused: a value that is silently ignored is a mistake."""
    with pytest.raises(ConfigError, match=r"unknown variable \$c\$; the job has \$a\$, \$b\$"):
        values({"a": "", "b": ""}, given={"c": "1"})
    with pytest.raises(ConfigError, match="the job has none"):
        values({}, loop={"c": "1"})
    with pytest.raises(ConfigError, match=r"variable \$b\$ is not used anywhere; used: \$a\$"):
        refuse_unused({"a", "b"}, {"a"})


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "ä", "$a", "a;--", "x" * 129])
def test_bad_names(name):
    """Names become names of query parameters, so they are checked."""
    with pytest.raises(ConfigError, match="a name has letters"):
        values({name: "x"})


def test_names_that_differ_in_case_alone():
    """Names that differ only in case are refused: BigQuery's parameters ignore case."""
    with pytest.raises(ConfigError, match="more than case"):
        values({"Day": "x", "day": "y"})


def test_a_definition_of_an_unknown_kind():
    """A list or a class is not a definition."""
    with pytest.raises(ConfigError, match=r"\$a\$ is a list; it is a String"):
        values({"a": ["x"]})
    with pytest.raises(ConfigError, match=r"String\(5\): give a str"):
        String(5)


def test_a_loop_takes_its_variables_in_step():
    """A loop takes the first values together, then the second ones; unequal numbers are refused."""
    assert loop_values({"$day$": ["1", "2"], "country": ["jp", "de"]}) == [
        {"day": "1", "country": "jp"},
        {"day": "2", "country": "de"},
    ]
    assert loop_values({}) == []
    with pytest.raises(ConfigError, match=r"\$a\$ has 1, \$b\$ has 2"):
        loop_values({"a": ["1"], "b": ["1", "2"]})


def test_assignments_of_the_command_line():
    """The value may be empty and may contain `=`; the name may have its dollar signs."""
    assert parse_assignments(["a=1", "b=x=y", "$c$="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(ConfigError, match="--var 'a': write name=value"):
        parse_assignments(["a"])
    with pytest.raises(ConfigError, match="--var a is given twice"):
        parse_assignments(["a=1", "$a$=2"])


def test_times_of_the_command_line():
    """A time without a zone is in UTC; other text is refused."""
    assert parse_time("2024-01-31T09:00+09:00") == datetime(2024, 1, 31, tzinfo=UTC)
    assert parse_time("2024-01-31") == datetime(2024, 1, 31, tzinfo=UTC)
    assert parse_time(None) is None
    with pytest.raises(ConfigError, match=r"--queued-at 'yesterday': write e\.g\."):
        parse_time("yesterday")
