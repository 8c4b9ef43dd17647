"""Parts of dates and times: weeks, ISO years, differences of timestamps, zones.

Real BigQuery: WEEK begins on Sunday, WEEK(MONDAY) on Monday; TIMESTAMP_DIFF counts whole units;
MILLISECOND is within the second; UNIX_SECONDS rounds down.
https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions
The emulator: weeks of datetimes and timestamps began on Monday, or WEEK(MONDAY) was no part at all;
TIMESTAMP_DIFF counted boundaries; MILLISECOND included seconds; UNIX_SECONDS rounded.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call

_DAYS: Final = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
_MICROS: Final = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
}


def _part(unit: Any) -> str:
    """`DAY`, `ISOWEEK`, `WEEK(MONDAY)`."""
    if unit is None:
        return ""
    if isinstance(unit, exp.WeekStart):
        return f"WEEK({unit.name.upper()})"
    return str(unit.name).upper()


def _first_day(part: str) -> exp.Expression | None:
    """The day with which a kind of week begins, as a number; None = it is no week."""
    if part == "WEEK":
        return exp.Literal.number(0)
    if part == "ISOWEEK":
        return exp.Literal.number(1)
    if part.startswith("WEEK(") and part[5:-1] in _DAYS:
        return exp.Literal.number(_DAYS.index(part[5:-1]))
    return None


def _truncated(node: Any) -> exp.Expression | None:
    part, zone = _part(node.args.get("unit")), node.args.get("zone")
    first = _first_day(part)
    if zone is not None:
        local = call("at_zone", node.this, zone)
        return call("from_zone", _cut(local, part, first), zone)
    return None if first is None and part != "ISOYEAR" else _cut(node.this, part, first)


def _cut(value: Any, part: str, first: exp.Expression | None) -> exp.Expression:
    if first is not None:
        return call("week_start", value, first)
    if part == "ISOYEAR":
        return call("isoyear_start", value)
    return call("trunc", exp.Literal.string(part.lower()), value)


def _difference(node: Any) -> exp.Expression | None:
    part = _part(node.args.get("unit"))
    first = _first_day(part)
    return None if first is None else call("weeks", node.this, node.expression, first)


def _timestamp(value: Any) -> exp.Expression:
    """A literal as the TIMESTAMP that BigQuery takes it for."""
    if isinstance(value, exp.Literal) and value.is_string:
        return exp.cast(value.copy(), exp.DType.TIMESTAMPTZ)
    return value  # type: ignore[no-any-return]


def _typed(kind: Any, cut: Any = None) -> Any:
    """Give a literal the type that BigQuery takes it for."""

    def rewrite(node: Any) -> exp.Expression | None:
        changed = cut(node) if cut is not None else None
        if changed is not None or not isinstance(node.this, exp.Literal) or not node.this.is_string:
            return changed
        made: exp.Expression = node.copy()
        made.set("this", exp.cast(node.this.copy(), kind))
        return made

    return rewrite


def _timestamps(node: Any) -> exp.Expression | None:
    """`GENERATE_TIMESTAMP_ARRAY` of literals."""
    names = [name for name in ("start", "end") if node.args[name] != _timestamp(node.args[name])]
    if not names:
        return None
    made = node.copy()
    for name in names:
        made.set(name, _timestamp(node.args[name]))
    return made  # type: ignore[no-any-return]


def _elapsed(node: Any) -> exp.Expression | None:
    micros = _MICROS.get(_part(node.args.get("unit")))
    if micros is None:
        return None
    first, second = _timestamp(node.this), _timestamp(node.expression)
    return call("elapsed", first, second, exp.Literal.number(micros))


def _extracted(node: Any) -> exp.Expression | None:
    part, source = _part(node.this), node.expression
    if isinstance(source, exp.AtTimeZone):
        source = call("at_zone", source.this, source.args["zone"])
    if part in {"TIME", "DATE", "DATETIME"}:
        return call(f"{part.lower()}_of", source)
    if part in {"MICROSECOND", "MILLISECOND"}:
        return call(f"{part.lower()}_of", source)
    first = _first_day(part)
    if first is not None and part != "ISOWEEK":
        return call("week_number", source, first)
    if source is not node.expression:
        return exp.Extract(this=node.this.copy(), expression=source)
    return None


def _last_day(node: Any) -> exp.Expression | None:
    part = _part(node.args.get("unit"))
    if part == "ISOYEAR":
        return call("isoyear_end", node.this)
    first = _first_day(part)
    return None if first is None else call("week_end", node.this, first)


def _time(node: Any) -> exp.Expression | None:
    """`TIME(timestamp)`, which DuckDB casts from no TIMESTAMP."""
    return None if node.args.get("zone") is not None else call("to_time", node.this)


def _now(node: Any) -> exp.Expression:
    return call("now_datetime", node.this or exp.Literal.string("UTC"))


def _of_timestamp(name: str) -> Any:
    return lambda node: call(name, _timestamp(node.this))


_WEEKDAY: Final = "CAST((dayofweek(x) + 7 - first) % 7 AS INTEGER)"
_OFFSET: Final = r"regexp_full_match(zone, '[+-]\d{1,2}(:\d\d)?')"
_MINUTES: Final = (
    "to_minutes(CAST(CASE WHEN zone[1] = '-' THEN -1 ELSE 1 END * "
    "(CAST(regexp_extract(zone, '(\\d+)', 1) AS INTEGER) * 60 "
    "+ COALESCE(TRY_CAST(nullif(regexp_extract(zone, ':(\\d\\d)', 1), '') AS INTEGER), 0)) AS INTEGER))"
)

_BUCKETS: Final = {"date": "DATE", "datetime": "TIMESTAMP", "timestamp": "TIMESTAMPTZ"}

FUNCTIONS: Final = OwnFunctions(
    marks=r"week|_trunc|last_day|_bucket|\btime\s*\(|generate_timestamp_array|isoyear|timestamp_diff|timestamp_trunc|extract\s*\(|unix_(?:seconds|millis)|current_datetime",
    rewrites={
        exp.DateTrunc: _typed(exp.DType.DATE, _truncated),
        exp.DatetimeTrunc: _typed(exp.DType.TIMESTAMP, _truncated),
        exp.TimestampTrunc: _typed(exp.DType.TIMESTAMPTZ, _truncated),
        exp.TimeTrunc: _typed(exp.DType.TIME),
        exp.DateDiff: _difference,
        exp.DatetimeDiff: _difference,
        exp.TimestampDiff: _elapsed,
        exp.GenerateTimestampArray: _timestamps,
        exp.Extract: _extracted,
        exp.LastDay: _typed(exp.DType.DATE, _last_day),
        exp.TsOrDsToTime: _time,
        exp.CurrentDatetime: _now,
        exp.UnixSeconds: _of_timestamp("unix_seconds"),
        exp.UnixMillis: _of_timestamp("unix_millis"),
    },
    names={
        "DATE_BUCKET": "date_bucket",
        "DATETIME_BUCKET": "datetime_bucket",
        "TIMESTAMP_BUCKET": "timestamp_bucket",
    },
    macros=[
        *(
            f"{name}_bucket(x, i) AS time_bucket(i, CAST(x AS {kind}), {kind} '1950-01-01'), "
            f"(x, i, o) AS time_bucket(i, CAST(x AS {kind}), CAST(o AS {kind}))"
            for name, kind in _BUCKETS.items()
        ),
        (
            f"week_start(x DATE, first) AS CAST(x - {_WEEKDAY} AS DATE), "
            f"(x TIMESTAMP, first) AS date_trunc('day', x) - to_days({_WEEKDAY}), "
            f"(x TIMESTAMPTZ, first) AS date_trunc('day', x) - to_days({_WEEKDAY})"
        ),
        (
            f"isoyear_start(x DATE) AS {PREFIX}week_start(make_date(isoyear(x), 1, 4), 1), "
            f"(x TIMESTAMP) AS CAST({PREFIX}week_start(make_date(isoyear(x), 1, 4), 1) AS TIMESTAMP), "
            "(x TIMESTAMPTZ) AS "
            f"CAST({PREFIX}week_start(make_date(isoyear(x), 1, 4), 1) AS TIMESTAMPTZ)"
        ),
        "trunc(part, x) AS date_trunc(part, x)",
        (
            f"weeks(a, b, first) AS ({PREFIX}week_start(CAST(a AS DATE), first) "
            f"- {PREFIX}week_start(CAST(b AS DATE), first)) // 7"
        ),
        "elapsed(a, b, micros) AS (epoch_us(a) - epoch_us(b)) // micros",
        f"week_number(x, first) AS (dayofyear(x) + 6 - {_WEEKDAY}) // 7",
        f"week_end(x, first) AS CAST({PREFIX}week_start(CAST(x AS DATE), first) + 6 AS DATE)",
        (
            f"isoyear_end(x) AS "
            f"CAST({PREFIX}week_start(make_date(isoyear(x) + 1, 1, 4), 1) - 1 AS DATE)"
        ),
        "microsecond_of(x) AS microsecond(x) % 1000000",
        "millisecond_of(x) AS millisecond(x) % 1000",
        "time_of(x) AS CAST(x AS TIME)",
        "date_of(x) AS CAST(x AS DATE)",
        "datetime_of(x) AS CAST(x AS TIMESTAMP)",
        "whole(n, size) AS (n - ((n % size) + size) % size) // size",
        f"unix_seconds(x) AS {PREFIX}whole(epoch_us(x), 1000000)",
        f"unix_millis(x) AS {PREFIX}whole(epoch_us(x), 1000)",
        "now_datetime(zone) AS now() AT TIME ZONE zone",
        (
            f"at_zone(x, zone) AS CASE WHEN {_OFFSET} THEN (x AT TIME ZONE 'UTC') + {_MINUTES} "
            f"ELSE x AT TIME ZONE CASE WHEN {_OFFSET} THEN 'UTC' ELSE zone END END"
        ),
        (
            f"from_zone(x, zone) AS CASE WHEN {_OFFSET} THEN (x - {_MINUTES}) AT TIME ZONE 'UTC' "
            f"ELSE x AT TIME ZONE CASE WHEN {_OFFSET} THEN 'UTC' ELSE zone END END"
        ),
    ],
)
"""See the module."""
