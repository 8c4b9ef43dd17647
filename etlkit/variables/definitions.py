"""Custom variables `$name$`: their definitions. Pure.

`etlkit.variables.values` finds their values for one run; `etlkit.variables.substitution` puts the
values into SQL.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from etlkit.errors import ConfigError

Unit = Literal[
    "minute", "hour", "day", "date", "month", "month_start", "month_end", "previous_month_end"
]
Direction = Literal["ago", "later"]
_D = TypeVar("_D", date, datetime)
Plain: TypeAlias = str | bool | int | float | Decimal | date | datetime

_DIRECTIVES = "aAbBcdfGHIjmMpSuUVwWxXyYzZ%"
"""Directives of strftime on every platform: https://docs.python.org/3/library/datetime.html#format-codes"""

_FIXED = {"month_start", "month_end", "previous_month_end"}


@dataclass(frozen=True)
class String:
    """A fixed text.

    Attributes:
        value: The text, unless the run gives another one.
        text: Expand it as a name in SQL, e.g. of a table; else it becomes a query parameter.
    """

    value: str
    text: bool = False

    def __post_init__(self) -> None:
        """Raise if the value is not text."""
        if not isinstance(self.value, str):
            raise ConfigError(f"String({self.value!r}): give a str, or the plain value itself")


@dataclass(frozen=True, kw_only=True)
class Timestamp:
    """A point in time, counted from the moment the run was queued, as text.

    Attributes:
        quantity: How many units; 0 or more.
        unit: `minute`, `hour`, `day` (or `date`), `month`; `month_start`, `month_end` and
            `previous_month_end` are midnight of the first and last day of the month and of the last
            day of the month before, and take no quantity. A month later than January 31 is the
            last day of February.
        direction: `ago` or `later`.
        format: As in strftime, e.g. `%Y-%m-%d`.
        time_zone: Where days and months begin, and what the text is written in.
        text: Expand it as part of a name in SQL, e.g. a table's date suffix; else it becomes a query
            parameter.
    """

    quantity: int = 0
    unit: Unit = "day"
    direction: Direction = "ago"
    format: str = "%Y-%m-%d"
    time_zone: str = "UTC"
    text: bool = False

    def __post_init__(self) -> None:
        """Raise for wrong values."""
        kind = type(self).__name__
        for name, allowed in (("unit", Unit), ("direction", Direction)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigError(
                    f"{kind}({name}={getattr(self, name)!r}): it is one of "
                    + ", ".join(get_args(allowed))
                )
        if not isinstance(self.quantity, int) or self.quantity < 0:
            raise ConfigError(
                f"{kind}(quantity={self.quantity!r}): it is a whole number, 0 or more"
            )
        if self.unit in _FIXED and self.quantity:
            raise ConfigError(f"{kind}(unit={self.unit!r}) is one day and takes no quantity")
        _check_format(kind, self.format)
        zone_of(self.time_zone)

    def expand(self, base: datetime) -> str:
        """The text, counted from `base`, an aware time.

        Raises:
            ConfigError: The time is outside of the years 1 to 9999.
        """
        return self.at(base).strftime(self.format)

    def at(self, base: datetime) -> datetime:
        """The point in time, in `time_zone`, counted from `base`, an aware time.

        Raises:
            ConfigError: The time is outside of the years 1 to 9999.
        """
        try:
            return self._at(base.astimezone(zone_of(self.time_zone)))
        except (OverflowError, ValueError) as error:
            raise ConfigError(
                f"{self.quantity} {self.unit} {self.direction} is outside of the years 1 to 9999"
            ) from error

    def _at(self, local: datetime) -> datetime:
        count = self.quantity if self.direction == "later" else -self.quantity
        if self.unit in {
            "minute",
            "hour",
        }:  # real time: an hour is an hour, also when clocks change
            step = timedelta(**{f"{self.unit}s": count})
            return (local.astimezone(ZoneInfo("UTC")) + step).astimezone(local.tzinfo)
        if self.unit in {"day", "date"}:  # the calendar's: the same time of day
            return local + timedelta(days=count)
        if self.unit == "month":
            return add_months(local, count)
        first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if self.unit == "month_start":
            return first
        if self.unit == "previous_month_end":
            return first - timedelta(days=1)
        return add_months(first, 1) - timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class TimestampRuntime(Timestamp):
    """As `Timestamp`, but counted from the moment this job starts."""


VariableDefinition: TypeAlias = String | Timestamp | Plain
"""A plain `int`, `float`, `bool`, `Decimal`, `date` or `datetime` keeps its type as a parameter."""


@dataclass(frozen=True)
class Value:
    """The value of a variable in one run.

    Attributes:
        value: Becomes the query parameter.
        as_text: Whether it is expanded as part of a name.
    """

    value: Plain
    as_text: bool = False

    @property
    def text(self) -> str:
        """The value as it is written inside names and quotes."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return self.value if isinstance(self.value, str) else str(self.value)


def _check_format(kind: str, text: str) -> None:
    if not isinstance(text, str) or not text:
        raise ConfigError(f"{kind}(format={text!r}): write e.g. '%Y-%m-%d'")
    rest = iter(text)
    for char in rest:
        if char == "%" and (directive := next(rest, "")) not in set(_DIRECTIVES):
            hint = (
                " (Ruby's %N and %L are %f here: microseconds)" if directive in {"N", "L"} else ""
            )
            known = " ".join(f"%{each}" for each in _DIRECTIVES)
            raise ConfigError(f"{kind}(format={text!r}): %{directive} is not one of {known}{hint}")


def zone_of(name: str) -> ZoneInfo:
    """Look up a time zone by its name.

    Raises:
        ConfigError: There is no such time zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"time_zone={name!r} is unknown; write e.g. 'Asia/Tokyo'") from error


def add_months(local: _D, count: int) -> _D:
    """The same day that many months later, or the last day of a shorter month.

    Raises:
        OverflowError: The year is not from 1 to 9999.
    """
    year, month = divmod(local.year * 12 + local.month - 1 + count, 12)
    if not 1 <= year <= 9999:
        raise OverflowError(year)
    last = calendar.monthrange(year, month + 1)[1]
    return local.replace(year=year, month=month + 1, day=min(local.day, last))
