"""`Loop`: run a task once for each of some values, days, weeks or months, or rows of a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, get_args

from etlkit.errors import ConfigError
from etlkit.variables.definitions import Plain, Timestamp, add_months, zone_of
from etlkit.variables.values import bare_name, loop_values

Interval = Literal["day", "week", "month"]
OnError = Literal["stop", "skip"]

MAX_ITERATIONS: Final = 10_000
"""More are a mistake of the query: each iteration is a run of its own."""

_MAX_NAME_CHARS = 80


@dataclass(frozen=True)
class Iteration:
    """One turn of a loop.

    Attributes:
        name: Unique in the loop; what a resumed run knows it by.
        values: Its values, by bare name.
    """

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Period:
    """Each day, week or month from one day to another, both included.

    Attributes:
        start: The first day: a `date`, or a `Timestamp` counted from the moment the run was queued.
        end: The last day, in the same forms. A week or month that begins on or before it counts.
        interval: `day`, `week` (every seventh day from the first one) or `month` (the same day of
            every month, or the last one of a shorter month).
        variables: Name to a `Timestamp`, counted from 00:00 of each of these days: with a format,
            an offset, `month_start`, `month_end` or `previous_month_end`.
        time_zone: In which days begin.
    """

    start: date | Timestamp
    end: date | Timestamp
    interval: Interval = "day"
    variables: Mapping[str, Timestamp]
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        if self.interval not in get_args(Interval):
            raise ConfigError(
                f"Period(interval={self.interval!r}): it is one of {', '.join(get_args(Interval))}"
            )
        zone_of(self.time_zone)
        for name in ("start", "end"):
            value = getattr(self, name)
            if isinstance(value, datetime) or not isinstance(value, (date, Timestamp)):
                raise ConfigError(
                    f"Period({name}={value!r}): give a date, e.g. date(2024, 1, 31), or a "
                    "Timestamp(…), counted from the moment the run is queued"
                )
        if not self.variables:
            raise ConfigError(
                "Period(variables=…) is empty: give a name to each day's text, e.g. "
                "{'day': Timestamp(format='%Y-%m-%d')}"
            )
        for name, definition in self.variables.items():
            bare_name(name)
            if not isinstance(definition, Timestamp):
                raise ConfigError(
                    f"Period(variables=…): ${name}$ is {definition!r}; give a Timestamp"
                )
        if isinstance(self.start, date) and isinstance(self.end, date):
            self._refuse_backwards(self.start, self.end)

    def iterations(self, queued_at: datetime) -> Iterator[Iteration]:
        """One for each day, week or month.

        Raises:
            ConfigError: It ends before it starts, or leaves the years 1 to 9999.
        """
        zone = zone_of(self.time_zone)
        start, end = (
            each.at(queued_at).astimezone(zone).date() if isinstance(each, Timestamp) else each
            for each in (self.start, self.end)
        )
        self._refuse_backwards(start, end)
        day, number = start, 0
        while day <= end:
            base = datetime(day.year, day.month, day.day, tzinfo=zone)
            values = {bare_name(n): each.expand(base) for n, each in self.variables.items()}
            yield Iteration(day.isoformat(), values)
            number += 1
            if self.interval == "month":  # from the first day: the 31st stays the 31st
                day = add_months(start, number)
            else:
                day = start + timedelta(days=number * (7 if self.interval == "week" else 1))

    @staticmethod
    def _refuse_backwards(start: date, end: date) -> None:
        if start > end:
            raise ConfigError(f"a Period ends on {end}, before it starts on {start}")


@dataclass(frozen=True)
class Loop:
    """Run a task once for each iteration. Give exactly one of `values`, `period` and `query`.

    The task has failed if an iteration has, whatever `on_error` says: it tells whether others still
    begin. A resumed run runs only the iterations that have not succeeded.

    Attributes:
        values: Name of a variable to its values, in order. Several variables go together: the first
            values of all, then the second ones.
        period: Days, weeks or months.
        query: A SELECT; each row is an iteration, and each column a variable.
        parallel: Iterations run side by side, within the workflow's `max_parallel_tasks`.
        on_error: `stop` begins no iteration after a failure; `skip` goes on.
        max_errors: With `skip`: no iteration begins after more than this many failures. None = all
            iterations begin.
    """

    values: Mapping[str, Sequence[Any]] | None = None
    period: Period | None = field(default=None, kw_only=True)
    query: str | None = field(default=None, kw_only=True)
    parallel: bool = field(default=False, kw_only=True)
    on_error: OnError = field(default="stop", kw_only=True)
    max_errors: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        given = [name for name in ("values", "period", "query") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                "Loop needs one of values={'name': […]}, period=Period(…) and query='SELECT …'; got "
                + (" and ".join(given) or "none")
            )
        if self.period is not None and not isinstance(self.period, Period):
            raise ConfigError(f"Loop(period={self.period!r}): give a Period(…)")
        if self.query is not None and (not isinstance(self.query, str) or not self.query.strip()):
            raise ConfigError("Loop(query=…) is empty: write a SELECT")
        if self.on_error not in get_args(OnError):
            raise ConfigError(f"Loop(on_error={self.on_error!r}): it is 'stop' or 'skip'")
        if self.max_errors is not None:
            if self.on_error != "skip":
                raise ConfigError("Loop(max_errors=…) goes with on_error='skip'")
            if not isinstance(self.max_errors, int) or self.max_errors < 0:
                raise ConfigError(f"Loop(max_errors={self.max_errors!r}): it is 0 or more")
        if self.values is not None:
            self._check_values(self.values)

    @staticmethod
    def _check_values(values: Mapping[str, Sequence[Any]]) -> None:
        if not isinstance(values, Mapping) or not values:
            raise ConfigError("Loop(values=…) needs a name and its values, e.g. {'region': ['jp']}")
        for name, each in values.items():
            if isinstance(each, str) or not isinstance(each, Sequence) or not each:
                raise ConfigError(f"Loop(values=…): ${name}$ needs a list of at least one value")
            for value in each:
                if not isinstance(value, get_args(Plain)):
                    raise ConfigError(
                        f"Loop(values=…): ${name}$ has {value!r}; a value is a str, bool, int, float, "
                        "Decimal, date or datetime"
                    )
        loop_values(values)

    @property
    def variables(self) -> frozenset[str] | None:
        """The bare names of its variables; None = the rows of the query tell."""
        named = self.values if self.period is None else self.period.variables
        return None if named is None else frozenset(bare_name(name) for name in named)

    def goes_on(self, num_failed: int) -> bool:
        """Whether another iteration may begin after this many failures."""
        if self.on_error == "stop":
            return num_failed == 0
        return self.max_errors is None or num_failed <= self.max_errors

    def iterations(
        self, queued_at: datetime, rows: Sequence[Mapping[str, Any]] = ()
    ) -> list[Iteration]:
        """The iterations, in order.

        Args:
            queued_at: Time from which a period counts.
            rows: The rows of the query, if it is one.

        Raises:
            ConfigError: There are too many, a name cannot be a variable, or a value is NULL or no
                plain value.
        """
        if self.period is not None:
            found = list(self.period.iterations(queued_at))
        else:
            turns = loop_values(self.values) if self.values is not None else map(_checked_row, rows)
            found = [Iteration(_name_of(turn), turn) for turn in turns]
        if len(found) > MAX_ITERATIONS:
            raise ConfigError(
                f"a loop of {len(found):,} iterations; at most {MAX_ITERATIONS:,} run"
            )
        return _unique(found)


def _checked_row(row: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in row.items():
        if not isinstance(value, get_args(Plain)):
            kind = "NULL" if value is None else f"a {type(value).__name__}"
            raise ConfigError(
                f"the query of a loop gave {kind} for ${name}$; a value is a text, number, boolean, "
                "date or time"
            )
    return {bare_name(name): value for name, value in row.items()}


def _name_of(values: Mapping[str, Any]) -> str:
    text = ",".join(map(str, values.values()))
    return text if len(text) <= _MAX_NAME_CHARS else f"{text[: _MAX_NAME_CHARS - 1]}…"


def _unique(iterations: list[Iteration]) -> list[Iteration]:
    """Give a number to names that would occur twice."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    named = []
    for each in iterations:
        first = name = each.name or "(empty)"
        count = counts.get(first, 1)
        while name in taken:
            count += 1
            name = f"{first}#{count}"
        taken.add(name)
        counts[first] = count
        named.append(Iteration(name, each.values))
    return named
