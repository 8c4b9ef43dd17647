"""Values of DATE, DATETIME, TIME and TIMESTAMP. `etlkit.rows.types` says which type uses what.

Datetimes go to Arrow and back as integers, which is much faster than pyarrow's own way. pyarrow is
imported where it is used: describing columns must not load it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any

from etlkit.rows.refused import RefusedError, wrong_type

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_MIN_US = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
_MAX_US = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND


def _refuse_no_time(value: Any) -> None:
    """Refuse pandas.NaT, which is a datetime, but no point in time: it does not equal itself."""
    if isinstance(value, datetime) and value != value:  # noqa: PLR0124
        raise wrong_type(value, "it is not a point in time; use None")


def clean_date(value: Any) -> date:
    """A date that is not a datetime."""
    _refuse_no_time(value)
    if isinstance(value, datetime):
        raise wrong_type(value, "use value.date()")
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    raise wrong_type(value, "use date.fromisoformat(value)" if isinstance(value, str) else "")


def clean_time(value: Any) -> time:
    """A time without a timezone."""
    _refuse_no_time(value)
    if not isinstance(value, time):
        raise wrong_type(value, "use value.time()" if isinstance(value, datetime) else "")
    if value.tzinfo is not None:
        raise RefusedError("got a time with a timezone: use value.replace(tzinfo=None)")
    return time(value.hour, value.minute, value.second, value.microsecond)


def _plain_datetime(value: Any) -> datetime:
    """A subclass (pandas.Timestamp) as the datetime it stands for; nanoseconds would be lost."""
    if not isinstance(value, datetime):
        raise wrong_type(
            value, "use datetime.fromisoformat(value)" if isinstance(value, str) else ""
        )
    _refuse_no_time(value)
    if getattr(value, "nanosecond", 0):
        raise wrong_type(value, "it has nanoseconds, BigQuery has microseconds; round it")
    try:
        return datetime.combine(
            date(value.year, value.month, value.day),
            time(*(value.hour, value.minute, value.second, value.microsecond), fold=value.fold),
            tzinfo=value.tzinfo,
        )
    except (TypeError, ValueError) as error:
        raise wrong_type(value, "it is not a point in time; use None") from error


def clean_datetime(value: Any) -> datetime:
    """A datetime without a timezone."""
    plain = _plain_datetime(value)
    if plain.tzinfo is not None:
        raise RefusedError(
            "got a datetime with a timezone: use value.replace(tzinfo=None), or a TIMESTAMP column"
        )
    return plain


def clean_timestamp(value: Any) -> datetime:
    """A datetime with a timezone, in UTC."""
    plain = _plain_datetime(value)
    try:
        if plain.utcoffset() is not None:
            return plain.astimezone(UTC)
    except OverflowError as error:
        raise RefusedError("got a datetime outside the years 1-9999 in UTC") from error
    raise RefusedError(
        "got a datetime without a timezone: add one, e.g. value.replace(tzinfo=timezone.utc), or "
        "use a DATETIME column"
    )


def has_zone(value: datetime) -> bool:
    """Whether a datetime is a TIMESTAMP; without a zone it is a DATETIME."""
    _refuse_no_time(value)
    return value.utcoffset() is not None


def has_no_zone(value: datetime) -> bool:
    """Whether a datetime is a DATETIME."""
    _refuse_no_time(value)
    return value.utcoffset() is None


def build_since(epoch: datetime) -> Callable[[Sequence[Any], bool, Any], Any]:
    """Datetimes -> Arrow by their distance from the epoch, 7 times as fast as pyarrow's own way.

    The subtraction raises when one datetime has a zone and the other does not, so it checks that too.
    """

    def build(values: Sequence[Any], nulls: bool, kind: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if nulls:
            since = [None if value is None else value - epoch for value in values]
        else:
            since = [value - epoch for value in values]
        array = pa.array(since, pa.duration("us")).view(pa.int64())
        ends = pc.min_max(array).as_py()
        if ends["min"] is not None and not _MIN_US <= ends["min"] <= ends["max"] <= _MAX_US:
            raise OverflowError("a zone took it outside the years 1-9999")
        return array.view(kind)

    return build


def read_since(epoch: datetime) -> Callable[[Any], list[Any]]:
    """Arrow -> datetimes by their distance from the epoch.

    With numpy it takes a fifth of the time that it takes without, and that is a tenth of pyarrow's own.
    """
    us = _MICROSECOND

    def read(array: Any) -> list[Any]:
        numpy = _numpy()
        if numpy is None:
            ticks = array.view("int64").to_pylist()
            return [None if tick is None else epoch + us * tick for tick in ticks]
        import pyarrow.compute as pc

        if not array.null_count:
            return list(map(epoch.__add__, _since(numpy, array)))
        made: list[Any] = list(map(epoch.__add__, _since(numpy, array.view("int64").fill_null(0))))
        for at in pc.indices_nonzero(array.is_null()).to_pylist():
            made[at] = None
        return made

    return read


def _since(numpy: Any, array: Any) -> list[Any]:
    """The distances of an array without NULL, from its memory: `to_numpy` imports pandas, a second."""
    if not len(array):
        return []
    since: list[Any] = numpy.frombuffer(
        array.buffers()[1], "m8[us]", len(array), array.offset * 8
    ).tolist()
    return since


@cache
def _numpy() -> Any:
    """Numpy if it is there: pyarrow does without it."""
    try:
        import numpy as np
    except ImportError:
        return None
    return np


def build_time(values: Sequence[Any], _nulls: bool, kind: Any) -> Any:
    """Times -> Arrow."""
    import pyarrow as pa

    if any(value is not None and value.tzinfo is not None for value in values):
        raise TypeError("pyarrow would drop the zone")
    return pa.array(values, kind)


def read_date(array: Any) -> list[Any]:
    """Arrow -> dates."""
    made = date.fromordinal
    days = array.view("int32").to_pylist()
    return [None if day is None else made(day + _EPOCH_DAY) for day in days]


def read_time(array: Any) -> list[Any]:
    """Arrow -> times."""
    made: list[Any] = []
    for ticks in array.view("int64").to_pylist():
        if ticks is None:
            made.append(None)
            continue
        seconds, us = divmod(ticks, 1_000_000)
        minutes, second = divmod(seconds, 60)
        made.append(time(minutes // 60, minutes % 60, second, us))
    return made


def _range_check(storage: str, lowest: int, highest: int, what: str) -> Callable[[Any], None]:
    """Make the check of an array's integers."""

    def check(array: Any) -> None:
        import pyarrow.compute as pc

        ends = pc.min_max(array.view(storage)).as_py()
        if ends["min"] is not None and not lowest <= ends["min"] <= ends["max"] <= highest:
            raise RefusedError(f"got a {what}")

    return check


_YEARS = "outside of the years 1 to 9999"
check_dates = _range_check(
    "int32",
    date.min.toordinal() - _EPOCH_DAY,
    date.max.toordinal() - _EPOCH_DAY,
    f"date {_YEARS}",
)
check_datetimes = _range_check("int64", _MIN_US, _MAX_US, f"time {_YEARS}")
check_times = _range_check("int64", 0, 24 * 60 * 60 * 1_000_000 - 1, "time of day beyond 24 hours")


def to_json(value: date | time) -> str:
    """ISO 8601 text."""
    return value.isoformat()


_FRACTION = re.compile(r"[.,][0-9]{6}([0-9]+)")


def _in_microseconds(value: str) -> str:
    """ISO 8601 text as it is; Python would cut what is finer than microseconds."""
    finer = _FRACTION.search(value)
    if finer is not None and finer[1].strip("0"):
        raise RefusedError("got a time with nanoseconds, BigQuery has microseconds: round it")
    return value


def time_from_json(value: str) -> time:
    """ISO 8601 text."""
    return time.fromisoformat(_in_microseconds(value))


def datetime_from_json(value: str) -> datetime:
    """ISO 8601 text."""
    return datetime.fromisoformat(_in_microseconds(value))


def timestamp_from_json(value: str) -> datetime:
    """ISO 8601 text; without a zone it is in UTC, as in BigQuery."""
    at = datetime_from_json(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


_DATE_CELL = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATETIME_CELL = _DATE_CELL + r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
_ZONE = r" ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$"


def _cell_test(pattern: str) -> Callable[[str], bool]:
    """Make the test whether a CSV cell has this form and is in the calendar."""
    form = re.compile(pattern)

    def looks_like(cell: str) -> bool:
        if not form.fullmatch(cell):
            return False
        iso = re.sub(r" ?UTC$", "Z", cell).replace(" +", "+").replace(" -", "-")
        try:
            datetime.fromisoformat(iso)
        except ValueError:
            return False
        return True

    return looks_like


looks_like_date = _cell_test(_DATE_CELL)
looks_like_datetime = _cell_test(_DATETIME_CELL)
looks_like_timestamp = _cell_test(_DATETIME_CELL + _ZONE)


def timestamps_from_text(array: Any, kind: Any) -> Any:
    """Text -> instants; text without a zone is in UTC, as in BigQuery."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.replace_substring_regex(array, r" ?UTC$", "Z")
    zoned = pc.match_substring_regex(text, r"[0-9]" + _ZONE)
    utc, nothing = pa.scalar("Z", text.type), pa.scalar("", text.type)
    text = pc.if_else(zoned, text, pc.binary_join_element_wise(text, utc, nothing))
    text = pc.replace_substring_regex(text, r" ([+-][0-9:]+|Z)$", r"\1")
    return pc.cast(text, kind)


_TIME_CELL = r"^[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?$"


def times_from_text(array: Any, kind: Any) -> Any:
    """Text -> times of day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(array)
    if (
        not pc.all(pc.match_substring_regex(text, _TIME_CELL)).as_py()
        and len(text) > text.null_count
    ):
        raise ValueError("not a time of day")
    day, nothing = pa.scalar("1970-01-01T", text.type), pa.scalar("", text.type)
    since = pc.cast(pc.binary_join_element_wise(day, text, nothing), pa.timestamp("us"))
    return pc.cast(since, kind)
