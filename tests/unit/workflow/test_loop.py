"""Loops: their iterations, by values, periods and rows."""

from datetime import UTC, date, datetime

import pytest

from etlkit import ConfigError, Loop, Period, Timestamp
from etlkit.workflow.loop import MAX_ITERATIONS

# 23:30 in London; the next day in Tokyo.
QUEUED = datetime(2024, 3, 15, 23, 30, tzinfo=UTC)


def iterations(loop, rows=()):
    return [(each.name, dict(each.values)) for each in loop.iterations(QUEUED, rows)]


def days(**options):
    period = Period(**{"variables": {"d": Timestamp()}, **options})
    return [name for name, _ in iterations(Loop(period=period))]


def test_several_variables_go_together():
    """The first values of all, then the second ones; a name that occurs twice gets a number."""
    loop = Loop({"region": ["jp", "us", "jp"], "$n$": [1, 2, 1]})
    assert iterations(loop) == [
        ("jp,1", {"region": "jp", "n": 1}),
        ("us,2", {"region": "us", "n": 2}),
        ("jp,1#2", {"region": "jp", "n": 1}),
    ]
    assert [name for name, _ in iterations(Loop({"x": ["a", "a#2", "a", ""]}))] == [
        "a",
        "a#2",
        "a#3",
        "(empty)",
    ]


def test_days_weeks_and_months():
    """Both ends count; the 31st is the last day of a shorter month, and then the 31st again."""
    assert days(start=date(2024, 2, 28), end=date(2024, 3, 1)) == [
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
    ]
    assert days(start=date(2024, 1, 1), end=date(2024, 1, 20), interval="week") == [
        "2024-01-01",
        "2024-01-08",
        "2024-01-15",
    ]
    assert days(start=date(2024, 1, 31), end=date(2024, 5, 30), interval="month") == [
        "2024-01-31",
        "2024-02-29",
        "2024-03-31",
        "2024-04-30",
    ]
    assert days(start=date(2024, 1, 1), end=date(2024, 1, 1)) == ["2024-01-01"]


def test_a_period_counts_from_the_queue_time():
    """Offsets are those of `Timestamp`, and days those of the time zone."""
    ago, today = Timestamp(quantity=2, unit="day"), Timestamp()
    assert days(start=ago, end=today) == ["2024-03-13", "2024-03-14", "2024-03-15"]
    assert days(start=ago, end=today, time_zone="Asia/Tokyo")[-1] == "2024-03-16"
    first, last = Timestamp(unit="month_start"), Timestamp(unit="month_end")
    assert len(days(start=first, end=last)) == 31
    with pytest.raises(ConfigError, match="ends on 2024-03-13, before it starts on 2024-03-15"):
        days(start=today, end=ago)


def test_each_day_has_its_texts():
    """Offsets and ends of months are counted from each day, at 00:00 of its zone."""
    period = Period(
        start=date(2024, 1, 31),
        end=date(2024, 2, 29),
        interval="month",
        time_zone="Asia/Tokyo",
        variables={
            "day": Timestamp(format="%Y%m%d", time_zone="Asia/Tokyo"),
            "next": Timestamp(quantity=1, direction="later", time_zone="Asia/Tokyo"),
            "last": Timestamp(unit="month_end", time_zone="Asia/Tokyo"),
            "before": Timestamp(unit="previous_month_end", time_zone="Asia/Tokyo"),
            "utc": Timestamp(format="%d %H:%M"),
        },
    )
    assert [values for _, values in iterations(Loop(period=period))] == [
        {
            "day": "20240131",
            "next": "2024-02-01",
            "last": "2024-01-31",
            "before": "2023-12-31",
            "utc": "30 15:00",
        },
        {
            "day": "20240229",
            "next": "2024-03-01",
            "last": "2024-02-29",
            "before": "2024-01-31",
            "utc": "28 15:00",
        },
    ]


def test_rows_of_a_query():
    """A row is an iteration and a column a variable; NULL and structures are refused."""
    loop = Loop(query="SELECT 1")
    rows = [{"a": 1, "b": date(2024, 1, 1)}, {"a": 2, "b": date(2024, 1, 2)}]
    assert [name for name, _ in iterations(loop, rows)] == ["1,2024-01-01", "2,2024-01-02"]
    assert iterations(loop, []) == []
    with pytest.raises(ConfigError, match=r"gave NULL for \$a\$"):
        iterations(loop, [{"a": None}])
    with pytest.raises(ConfigError, match=r"gave a list for \$a\$"):
        iterations(loop, [{"a": [1]}])
    with pytest.raises(ConfigError, match="a name has letters"):
        iterations(loop, [{"f 0": 1}])
    with pytest.raises(ConfigError, match="10,001 iterations; at most 10,000 run"):
        iterations(loop, [{"a": number} for number in range(MAX_ITERATIONS + 1)])


def test_long_names_are_cut():
    """A name is a part of a path in the ledger, and of a label."""
    (name, _), (other, _) = iterations(Loop({"x": ["a" * 500, "a" * 400]}))
    assert len(name) == 80
    assert other == f"{name}#2"


@pytest.mark.parametrize(
    ("options", "failures", "expected"),
    [
        ({}, 0, True),
        ({}, 1, False),
        ({"on_error": "skip"}, 1000, True),
        ({"on_error": "skip", "max_errors": 2}, 2, True),
        ({"on_error": "skip", "max_errors": 2}, 3, False),
        ({"on_error": "skip", "max_errors": 0}, 1, False),
    ],
)
def test_when_another_iteration_begins(options, failures, expected):
    """Stop, skip, or skip up to a number of failures."""
    assert Loop({"x": [1]}, **options).goes_on(failures) is expected
