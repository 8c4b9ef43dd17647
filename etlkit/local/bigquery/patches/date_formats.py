"""FORMAT_DATE and its kin, PARSE_DATE and its kin, and STRING of a timestamp in a zone.

Real BigQuery: the elements of
https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements#format_elements_date_time
The emulator: DuckDB's, which lack `%e` (padded), `%Q`, `%s`, `%R`, `%E3S`, `%Ez` and others; years that
a text does not have were 1900, and not 1970.

Formats of plain elements (`%Y-%m-%d %H:%M:%S`) stay in DuckDB, which is faster.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlglot
from sqlglot import exp

from etlkit.local.bigquery.patches.own_functions import PREFIX, OwnFunctions, call

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - wall-clock time
_ELEMENT: Final = re.compile(r"%(E(?:[0-9]|\*)S|E4Y|Ez|.)", re.DOTALL)
_PLAIN: Final = re.compile(r"(?:%[YmdHMSFTjABabp]|[^%])+", re.DOTALL)
_EXPANDED: Final = {
    "D": "%m/%d/%y",
    "x": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "X": "%H:%M:%S",
    "r": "%I:%M:%S %p",
    "c": "%a %b %e %H:%M:%S %Y",
    "h": "%b",
}
_MISSING: Final = {
    "TIME": "aAbBCdDeFgGhjmQuUVwWxyYcsZz",
    "DATE": "HIkMlpPRrSTXcsZz",
    "DATETIME": "Zz",
}
_MONTHS: Final = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS: Final = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


@lru_cache(maxsize=256)
def _zone(name: str) -> dt.tzinfo:
    match = re.fullmatch(r"(?:UTC)?([+-])(\d{1,2})(?::?(\d\d))?", name)
    if match is None:
        return ZoneInfo(name)
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    return dt.timezone(dt.timedelta(minutes=-minutes if match[1] == "-" else minutes))


def _at(micros: int, zone: str) -> dt.datetime:
    utc = (_EPOCH + dt.timedelta(microseconds=micros)).replace(tzinfo=dt.UTC)
    return utc.astimezone(_zone(zone))


def _format(pattern: str, micros: int, zone: str, kind: str) -> str:
    """The text of a moment.

    Args:
        pattern: With elements.
        micros: Since 1970, UTC.
        zone: In which a TIMESTAMP is shown; of the other types "UTC".
        kind: `DATE`, `TIME`, `DATETIME` or `TIMESTAMP`.
    """
    moment = _at(micros, zone)
    return _ELEMENT.sub(lambda match: _element(match[1], moment, kind), pattern)


def _element(name: str, moment: dt.datetime, kind: str) -> str:
    if name[0] in _MISSING.get(kind, ""):
        return f"%{name}" if kind == "DATETIME" else ""
    if name in _EXPANDED:
        return _ELEMENT.sub(lambda match: _element(match[1], moment, kind), _EXPANDED[name])
    if name in _SHOWN:
        return _SHOWN[name](moment)
    if name.startswith("E") and name.endswith("S"):
        return f"{moment.second:02d}{_fraction(moment.microsecond, name[1:-1])}"
    return moment.strftime(f"%{name}")


_SHOWN: Final[dict[str, Callable[[dt.datetime], str]]] = {
    "Y": lambda moment: str(moment.year),
    "E4Y": lambda moment: f"{moment.year:04d}",
    "C": lambda moment: f"{moment.year // 100:02d}",
    "y": lambda moment: f"{moment.year % 100:02d}",
    "Q": lambda moment: str((moment.month + 2) // 3),
    "e": lambda moment: f"{moment.day:2d}",
    "k": lambda moment: f"{moment.hour:2d}",
    "l": lambda moment: f"{(moment.hour + 11) % 12 + 1:2d}",
    "P": lambda moment: moment.strftime("%p").lower(),
    "s": lambda moment: str(_seconds(moment)),
    "z": lambda moment: _offset(_offset_of(moment), ""),
    "Ez": lambda moment: _offset(_offset_of(moment), ":"),
    "Z": lambda moment: _name_of(_offset_of(moment)),
    "G": lambda moment: str(moment.isocalendar().year),
    "g": lambda moment: f"{moment.isocalendar().year % 100:02d}",
    "n": lambda _: "\n",
    "t": lambda _: "\t",
    "%": lambda _: "%",
}
"""Elements that Python's `strftime` does not have, or has otherwise."""


def _offset_of(moment: dt.datetime) -> dt.timedelta:
    return moment.utcoffset() or dt.timedelta()


def _seconds(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=None) - _offset_of(moment) - _EPOCH) // dt.timedelta(seconds=1)


def _fraction(micros: int, digits: str) -> str:
    text = f"{micros:06d}"
    if digits == "*":
        return f".{text}".rstrip("0").rstrip(".")
    return f".{text.ljust(9, '0')[: int(digits)]}" if int(digits) else ""


def _offset(offset: dt.timedelta, separator: str) -> str:
    minutes = abs(offset) // dt.timedelta(minutes=1)
    sign = "-" if offset < dt.timedelta() else "+"
    return f"{sign}{minutes // 60:02d}{separator}{minutes % 60:02d}"


def _name_of(offset: dt.timedelta) -> str:
    """`UTC`, `UTC-5`, `UTC+5:30`: GoogleSQL knows no other names."""
    minutes = abs(offset) // dt.timedelta(minutes=1)
    if not minutes:
        return "UTC"
    sign = "-" if offset < dt.timedelta() else "+"
    return f"UTC{sign}{minutes // 60}" + (f":{minutes % 60:02d}" if minutes % 60 else "")


def _zoned_text(micros: int, zone: str) -> str:
    """`STRING(timestamp, zone)`."""
    moment = _at(micros, zone)
    fraction = f"{moment.microsecond:06d}".rstrip("0")
    if fraction:
        fraction = f".{fraction.ljust(3, '0') if len(fraction) <= 3 else fraction.ljust(6, '0')}"
    offset = _offset(moment.utcoffset() or dt.timedelta(), ":").removesuffix(":00")
    day = f"{moment.year:04d}-{moment:%m-%d %H:%M:%S}"
    return f"{day}{fraction}{offset}"


class _Fields:
    """What a text has said so far."""

    def __init__(self) -> None:
        self.year, self.month, self.day = 1970, 1, 1
        self.hour, self.minute, self.second, self.micros = 0, 0, 0, 0
        self.half: str | None = None
        self.day_of_year: int | None = None
        self.century: int | None = None
        self.epoch: int | None = None
        self.offset: dt.timedelta | None = None

    def moment(self) -> dt.datetime:
        if self.epoch is not None:
            return _EPOCH + dt.timedelta(seconds=self.epoch)
        hour = self.hour
        if self.half is not None:
            hour = hour % 12 + (12 if self.half == "pm" else 0)
        start = dt.datetime(  # noqa: DTZ001 - wall-clock time
            self.year, self.month, self.day, hour, self.minute, self.second, self.micros
        )
        if self.day_of_year is not None:
            start = start.replace(month=1, day=1) + dt.timedelta(days=self.day_of_year - 1)
        return start


_NUMBERS: Final = {
    "m": ("month", 2),
    "d": ("day", 2),
    "e": ("day", 2),
    "H": ("hour", 2),
    "k": ("hour", 2),
    "I": ("hour", 2),
    "l": ("hour", 2),
    "M": ("minute", 2),
    "S": ("second", 2),
    "Y": ("year", 4),
    "E4Y": ("year", 4),
    "j": ("day_of_year", 3),
}


class _Reader:
    """Reads a text by a pattern."""

    def __init__(self, text: str) -> None:
        self.text, self.fields, self._at = text, _Fields(), 0

    def read(self, pattern: str) -> dt.datetime:
        self._follow(pattern)
        self.skip_spaces()
        if self._at != len(self.text):
            self._fail()
        return self.fields.moment()

    def _follow(self, pattern: str) -> None:
        position = 0
        while position < len(pattern):
            match = _ELEMENT.match(pattern, position)
            if match is not None:
                self._element(match[1])
                position = match.end()
            elif pattern[position].isspace():
                self.skip_spaces()
                position += 1
            else:
                self._take(re.escape(pattern[position]))
                position += 1

    def _fail(self) -> None:
        raise ValueError(f'Failed to parse input string "{self.text}"')

    def skip_spaces(self) -> None:
        while self._at < len(self.text) and self.text[self._at].isspace():
            self._at += 1

    def _take(self, pattern: str) -> str:
        match = re.compile(pattern, re.IGNORECASE).match(self.text, self._at)
        if match is None:
            self._fail()
            raise AssertionError
        self._at = match.end()
        return match[0]

    def _element(self, name: str) -> None:
        if name in _EXPANDED:
            self._follow(_EXPANDED[name])
        elif name in _NUMBERS:
            field, digits = _NUMBERS[name]
            self.skip_spaces()
            setattr(self.fields, field, int(self._take(rf"\d{{1,{digits}}}")))
        else:
            self._other(name)

    def _other(self, name: str) -> None:
        reader = _READERS.get(name)
        if reader is not None:
            reader(self)
        elif name.startswith("E") and name.endswith("S"):
            whole, _, parts = self._take(r"\d{1,2}(?:\.\d{0,9})?").partition(".")
            self.fields.second, self.fields.micros = int(whole), int(parts[:6].ljust(6, "0"))
        else:
            self._fail()

    def read_month(self) -> None:
        found = self._take("|".join(f"{month}|{month[:3]}" for month in _MONTHS)).lower()[:3]
        self.fields.month = [month[:3] for month in _MONTHS].index(found) + 1

    def read_day_of_week(self) -> None:
        self._take("|".join(f"{day}|{day[:3]}" for day in _DAYS))

    def read_half(self) -> None:
        self.fields.half = self._take("am|pm").lower()

    def read_short_year(self) -> None:
        short = int(self._take(r"\d\d"))
        self.fields.year = short + (1900 if short >= 69 else 2000)

    def read_epoch(self) -> None:
        self.fields.epoch = int(self._take(r"-?\d+"))

    def read_zone(self) -> None:
        self._take("UTC|Z")
        self.fields.offset = dt.timedelta()

    def read_quarter(self) -> None:
        self.fields.month = int(self._take("[1-4]")) * 3 - 2

    def read_percent(self) -> None:
        self._take("%")

    def read_offset(self) -> None:
        text = self._take(r"Z|[+-]\d\d:?(?:\d\d)?")
        digits = re.sub(r"\D", "", text).ljust(4, "0")
        size = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        self.fields.offset = -size if text.startswith("-") else size


_READERS: Final[dict[str, Callable[[_Reader], None]]] = {
    **dict.fromkeys("nt", _Reader.skip_spaces),
    **dict.fromkeys("bB", _Reader.read_month),
    **dict.fromkeys("aA", _Reader.read_day_of_week),
    **dict.fromkeys("pP", _Reader.read_half),
    **dict.fromkeys(("z", "Ez"), _Reader.read_offset),
    "y": _Reader.read_short_year,
    "s": _Reader.read_epoch,
    "Z": _Reader.read_zone,
    "Q": _Reader.read_quarter,
    "%": _Reader.read_percent,
}


def _parse(pattern: str, text: str, zone: str) -> int:
    """Microseconds since 1970 of a text, in UTC if it is a moment of a zone.

    Raises:
        ValueError: The text does not have this form.
    """
    reader = _Reader(text.strip())
    moment = reader.read(pattern.strip())
    if reader.fields.epoch is not None:
        offset = dt.timedelta()
    elif reader.fields.offset is not None:
        offset = reader.fields.offset
    else:
        offset = moment.replace(tzinfo=_zone(zone)).utcoffset() or dt.timedelta()
    return (moment - offset - _EPOCH) // dt.timedelta(microseconds=1)


def _is_plain(pattern: Any) -> bool:
    return (
        isinstance(pattern, exp.Literal)
        and pattern.is_string
        and _PLAIN.fullmatch(pattern.name) is not None
    )


_KINDS: Final = ("DATE", "TIME", "DATETIME", "TIMESTAMP")


def _renamed(node: Any) -> exp.Expression | None:
    """FORMAT_ and PARSE_ functions are renamed before they are parsed, and lose their names then."""
    prefix, _, kind = node.name.upper().removeprefix(PREFIX.upper()).partition("_OF_")
    if kind not in _KINDS or prefix not in {"FORMAT", "PARSE"}:
        return None
    pattern, value, *zone = node.expressions
    usual = f"{prefix}_{kind}"
    if _is_plain(pattern) and not zone and _is_whole(prefix, pattern.name):
        same: exp.Expression = _usual(usual, pattern, value)
        return same
    utc = zone[0] if zone else exp.Literal.string("UTC")
    if prefix == "FORMAT":
        micros = call("micros_of_time" if kind == "TIME" else "micros", value)
        return call("format_moment", pattern, micros, utc, exp.Literal.string(kind))
    return call(f"moment_to_{kind.lower()}", call("parse_moment", pattern, value, utc))


def _is_whole(prefix: str, pattern: str) -> bool:
    """Whether DuckDB gives the same: it formats plain elements, and reads plain times of a year."""
    if prefix == "FORMAT":
        return bool(pattern)
    return "%Y" in pattern and not re.search(r"%[FTjABabp]", pattern)


def _usual(name: str, *arguments: Any) -> Any:
    text = ", ".join(each.sql(dialect="bigquery") for each in arguments)
    return sqlglot.parse_one(f"{name}({text})", read="bigquery")


def _string(node: Any) -> exp.Expression | None:
    """`STRING(timestamp, zone)`, and `STRING` of a date, of a time, or of JSON."""
    if node.args.get("zone") is None:
        return call("string_of", node.this)
    return call("zoned_text", call("micros", node.this), node.args["zone"])


FUNCTIONS: Final = OwnFunctions(
    marks=r"\bstring\s*\(",
    names={
        f"{prefix}_{kind}": f"{prefix.lower()}_of_{kind.lower()}"
        for prefix in ("FORMAT", "PARSE")
        for kind in _KINDS
    },
    rewrites={exp.Anonymous: _renamed, exp.String: _string},
    functions=[
        ("format_moment", _format, ["VARCHAR", "BIGINT", "VARCHAR", "VARCHAR"], "VARCHAR"),
        ("parse_moment", _parse, ["VARCHAR", "VARCHAR", "VARCHAR"], "BIGINT"),
        ("zoned_text", _zoned_text, ["BIGINT", "VARCHAR"], "VARCHAR"),
    ],
    macros=[
        "micros(x) AS epoch_us(x)",
        "micros_of_time(x) AS epoch_us(DATE '1970-01-01' + x)",
        "moment_to_timestamp(n) AS make_timestamptz(n)",
        "moment_to_datetime(n) AS make_timestamp(n)",
        "moment_to_date(n) AS CAST(make_timestamp(n) AS DATE)",
        "moment_to_time(n) AS CAST(make_timestamp(n) AS TIME)",
    ],
)
"""See the module."""
