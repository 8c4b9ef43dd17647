"""DATE, DATETIME, TIME and TIMESTAMP: Python's datetime types <-> Arrow, through integers."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from etlkit.rows.scalar import RefusedError, Scalar, as_is, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_MIN_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MAX_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def _clean_date(value: Any) -> date:
    if isinstance(value, datetime):
        raise wrong(value, "use value.date()")
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    raise wrong(value, "use date.fromisoformat(value)" if isinstance(value, str) else "")


def _clean_time(value: Any) -> time:
    if not isinstance(value, time):
        raise wrong(value, "use value.time()" if isinstance(value, datetime) else "")
    if value.tzinfo is not None:
        raise RefusedError("got a time with a timezone: use value.replace(tzinfo=None)")
    return time(value.hour, value.minute, value.second, value.microsecond)


def _plain_datetime(value: Any) -> datetime:
    """A subclass (pandas.Timestamp) as the datetime it stands for; nanoseconds would be lost."""
    if not isinstance(value, datetime):
        raise wrong(value, "use datetime.fromisoformat(value)" if isinstance(value, str) else "")
    if getattr(value, "nanosecond", 0):
        raise wrong(value, "it has nanoseconds, BigQuery has microseconds; round it")
    try:
        return datetime.combine(
            date(value.year, value.month, value.day),
            time(*(value.hour, value.minute, value.second, value.microsecond), fold=value.fold),
            tzinfo=value.tzinfo,
        )
    except (TypeError, ValueError) as error:
        raise wrong(value, "it is no point in time; use None") from error


def _clean_datetime(value: Any) -> datetime:
    plain = _plain_datetime(value)
    if plain.tzinfo is not None:
        raise RefusedError(
            "got a datetime with a timezone: use value.replace(tzinfo=None), or a TIMESTAMP column"
        )
    return plain


def _clean_timestamp(value: Any) -> datetime:
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


def _build_since(epoch: datetime, kind: Any) -> Callable[[Sequence[Any], bool], Any]:
    """Datetimes through their distance from the epoch, 7 times as fast as pyarrow's own way.

    The subtraction raises where a naive and an aware datetime meet, so it checks the zone as well.
    """

    def build(values: Sequence[Any], nulls: bool) -> Any:
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


def _read_since(epoch: datetime) -> Callable[[Any], list[Any]]:
    """Datetimes through their integers, 10 times as fast as pyarrow's own way.

    Multiplying one microsecond is half as slow as `timedelta(microseconds=…)`.
    """
    us = _MICROSECOND

    def read(array: Any) -> list[Any]:
        ticks = array.view(pa.int64()).to_pylist()
        if array.null_count:
            return [None if tick is None else epoch + us * tick for tick in ticks]
        return [epoch + us * tick for tick in ticks]

    return read


def _build_time(values: Sequence[Any], _nulls: bool) -> Any:
    if any(value is not None and value.tzinfo is not None for value in values):
        raise TypeError("pyarrow would drop the zone")
    return pa.array(values, pa.time64("us"))


def _read_date(array: Any) -> list[Any]:
    made = date.fromordinal
    days = array.view(pa.int32()).to_pylist()
    return [None if day is None else made(day + _EPOCH_DAY) for day in days]


def _read_time(array: Any) -> list[Any]:
    made: list[Any] = []
    for ticks in array.view(pa.int64()).to_pylist():
        if ticks is None:
            made.append(None)
            continue
        seconds, us = divmod(ticks, 1_000_000)
        minutes, second = divmod(seconds, 60)
        made.append(time(minutes // 60, minutes % 60, second, us))
    return made


DATE = Scalar("a datetime.date", frozenset({date}), _clean_date, as_is(pa.date32()), _read_date)
TIME = Scalar("a datetime.time", frozenset({time}), _clean_time, _build_time, _read_time)
DATETIME = Scalar(
    "a datetime without a timezone",
    frozenset({datetime}),
    _clean_datetime,
    _build_since(_NAIVE_EPOCH, pa.timestamp("us")),
    _read_since(_NAIVE_EPOCH),
)
TIMESTAMP = Scalar(
    "a datetime with a timezone",
    frozenset({datetime}),
    _clean_timestamp,
    _build_since(_EPOCH, pa.timestamp("us", tz="UTC")),
    _read_since(_EPOCH),
)
