"""Plausible values and edge values for each BigQuery type."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any

_START = datetime(2026, 1, 1, tzinfo=UTC)
"""Plausible times are in the year after this."""

_YEAR_S = 365 * 86_400
_LONG = 1_000

_NAMES = ("Ada", "Grace", "Hedy", "Katherine", "Alan", "Edsger", "山田 花子", "José")
_CITIES = ("Paris", "Tokyo", "Lima", "Nairobi", "São Paulo", "Oslo", "大阪")
_COUNTRIES = ("FR", "JP", "PE", "KE", "BR", "NO")
_WORDS = ("cat", "horse", "coffee", "rocket", "blue", "small", "morning", "猫")

_NUMERIC_DIGITS = (38, 9)
_BIGNUMERIC_DIGITS = (76, 38)


@dataclass(frozen=True)
class FakeType:
    """How values of one BigQuery type are made.

    Attributes:
        plain: A random generator, the column's name and parameters, and the row's number (0 = first) ->
            a plausible value.
        edges: The column's parameters -> values that code and systems trip over, all of them valid.
    """

    plain: Callable[[Random, str, tuple[int, ...], int], Any]
    edges: Callable[[tuple[int, ...]], Sequence[Any]]


def _int(rng: Random, name: str, _parameters: tuple[int, ...], number: int) -> int:
    return number + 1 if _is_key(name) else rng.randrange(100_000)


def _float(rng: Random, _name: str, _parameters: tuple[int, ...], _number: int) -> float:
    return round(rng.uniform(0, 1_000), 3)


def _bool(rng: Random, _name: str, _parameters: tuple[int, ...], _number: int) -> bool:
    return rng.random() < 0.5


def _text(rng: Random, name: str, parameters: tuple[int, ...], number: int) -> str:
    value = _text_of(name.lower(), rng, number)
    return value[: parameters[0]] if parameters else value


_Text = Callable[[Random, int], str]
_TEXTS: Mapping[str, _Text] = {
    r"(uri|url|path)$": lambda _rng, number: f"gs://bucket/photos/{number + 1:06}.jpg",
    r"mail": lambda _rng, number: f"user{number + 1}@example.com",
    r"country": lambda rng, _number: rng.choice(_COUNTRIES),
    r"city": lambda rng, _number: rng.choice(_CITIES),
    r"name": lambda rng, _number: rng.choice(_NAMES),
    r"hash|md5|token": lambda rng, _number: f"{rng.getrandbits(128):032x}",
    r"": lambda rng, _number: " ".join(rng.choices(_WORDS, k=rng.randint(1, 4))),
}
"""Part of a column's name -> its texts. The first part that is in the name; the last one always is."""


def _text_of(name: str, rng: Random, number: int) -> str:
    if _is_key(name):
        return f"{number + 1:06}"
    make = next(make for part, make in _TEXTS.items() if re.search(part, name))
    return make(rng, number)


def _is_key(name: str) -> bool:
    return re.search(r"(^|_)(id|key|no|code)$", name.lower()) is not None


def _bytes(rng: Random, _name: str, parameters: tuple[int, ...], _number: int) -> bytes:
    return rng.randbytes(min(rng.randint(1, 32), *parameters, 32))


def _moment(rng: Random) -> datetime:
    return _START + timedelta(seconds=rng.randrange(_YEAR_S), microseconds=rng.randrange(10**6))


def _json(rng: Random, _name: str, _parameters: tuple[int, ...], number: int) -> Any:
    tags = rng.choices(_WORDS, k=rng.randrange(3))
    return {"id": number + 1, "tags": tags, "score": round(rng.random(), 4)}


def _point(rng: Random, _name: str, _parameters: tuple[int, ...], _number: int) -> str:
    """Without zeros at the end, as BigQuery gives them back."""
    longitude, latitude = (
        f"{rng.uniform(-limit, limit):.5f}".rstrip("0").rstrip(".") for limit in (180, 85)
    )
    return f"POINT({longitude} {latitude})"


def _decimal(digits: tuple[int, int]) -> FakeType:
    """A decimal type with its digits in all and after the point."""

    def limits(parameters: tuple[int, ...]) -> tuple[int, int]:
        precision, scale = (*parameters, 0)[:2] if parameters else digits
        return precision - scale, scale

    def plain(rng: Random, _name: str, parameters: tuple[int, ...], _number: int) -> Decimal:
        before, after = limits(parameters)
        after = min(after, 2)
        return Decimal(rng.randrange(10 ** (min(before, 5) + after))).scaleb(-after)

    def edges(parameters: tuple[int, ...]) -> list[Decimal]:
        before, after = limits(parameters)
        largest = Decimal("9" * before + "." + "9" * after) if before + after else Decimal(0)
        least = Decimal(1).scaleb(-after)
        # Not -largest: it would round to the 28 digits of the context.
        return [Decimal(0), largest, largest.copy_negate(), least, least.copy_negate()]

    return FakeType(plain, edges)


def _fitting(values: Sequence[Any]) -> Callable[[tuple[int, ...]], Sequence[Any]]:
    """The values that are not too long for the column."""
    return lambda parameters: [v for v in values if not parameters or len(v) <= parameters[0]]


def _always(*values: Any) -> Callable[[tuple[int, ...]], Sequence[Any]]:
    return lambda _parameters: values


_EDGE_TEXTS = (
    "",
    " ",
    "NULL",
    "0",
    "é",
    "e\u0301",
    "日本語",
    "👩‍👩‍👧",
    "line\nline\r\nline\ttab",
    "'quotes' \"and\" `ticks` \\",
    "\u202eright to left",
    "nul\x00inside",
    string.printable.strip(),
    "x" * _LONG,
)

FAKE_TYPES: Mapping[str, FakeType] = {
    "INT64": FakeType(_int, _always(0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))),
    "FLOAT64": FakeType(
        _float,
        _always(
            0.0, -0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan
        ),
    ),
    "NUMERIC": _decimal(_NUMERIC_DIGITS),
    "BIGNUMERIC": _decimal(_BIGNUMERIC_DIGITS),
    "BOOL": FakeType(_bool, _always(*(False, True))),
    "STRING": FakeType(_text, _fitting(_EDGE_TEXTS)),
    "BYTES": FakeType(_bytes, _fitting((b"", b"\x00", b"\xff\xfe", bytes(range(256))))),
    "DATE": FakeType(
        lambda rng, *_: _moment(rng).date(),
        _always(date.min, date.max, date(2024, 2, 29), date(1970, 1, 1)),
    ),
    "DATETIME": FakeType(
        lambda rng, *_: _moment(rng).replace(tzinfo=None),
        _always(datetime.min, datetime.max, datetime(2024, 2, 29, 23, 59, 59, 999_999)),  # noqa: DTZ001, DTZ901
    ),
    "TIME": FakeType(lambda rng, *_: _moment(rng).time(), _always(time.min, time.max, time(12))),
    "TIMESTAMP": FakeType(
        lambda rng, *_: _moment(rng),
        _always(
            datetime.min.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ),
    ),
    "JSON": FakeType(
        _json, _always({}, [], "", 0, "null", [None, False], {"a": {"b": [{"c": 1.5}]}}, 2**53 + 1)
    ),
    "GEOGRAPHY": FakeType(_point, _always("POINT(0 0)", "POINT(-180 90)", "POINT EMPTY")),
}
"""By standard name."""
