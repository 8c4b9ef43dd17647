"""The arguments and replies of remote functions in JSON.

Real BigQuery encodes arguments like TO_JSON_STRING, and accepts the same forms in replies. ARRAY and
STRUCT are not supported.

https://cloud.google.com/bigquery/docs/remote-functions#limitations
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

_SAFE_INTEGER: Final = 2**53


def _from_integer(value: int) -> int | str:
    return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else str(value)


def _from_float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _from_decimal(value: Decimal) -> int | str:
    if value == value.to_integral_value() and abs(value) <= _SAFE_INTEGER:
        return int(value)
    return format(value.normalize(), "f")


def _from_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _from_time(value: time) -> str:
    return value.isoformat(_precision(value))


def _from_datetime(value: datetime) -> str:
    return value.isoformat(timespec=_precision(value))


def _from_timestamp(value: datetime) -> str:
    plain = value.astimezone(UTC).replace(tzinfo=None)
    return f"{plain.isoformat(timespec=_precision(plain))}Z"


def _precision(value: time | datetime) -> str:
    if value.microsecond % 1000:
        return "microseconds"
    return "milliseconds" if value.microsecond else "seconds"


def _same(value: Any) -> Any:
    return value


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}[value.lower()]


def _to_integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(value)
    return number


def _to_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004 - `decode` reports all of them alike
    return float(value)


def _to_decimal(value: Any) -> Decimal:
    if isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004
    return Decimal(str(value))


def _to_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)  # noqa: TRY004
    return value


def _to_timestamp(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _to_datetime(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        raise ValueError(value)
    return moment


_TYPES: Final[dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "BOOL": (_same, _to_bool),
    "INT64": (_from_integer, _to_integer),
    "FLOAT64": (_from_float, _to_float),
    "NUMERIC": (_from_decimal, _to_decimal),
    "BIGNUMERIC": (_from_decimal, _to_decimal),
    "STRING": (_same, _to_string),
    "BYTES": (_from_bytes, lambda value: base64.b64decode(value, validate=True)),
    "DATE": (date.isoformat, date.fromisoformat),
    "DATETIME": (_from_datetime, _to_datetime),
    "TIME": (_from_time, time.fromisoformat),
    "TIMESTAMP": (_from_timestamp, _to_timestamp),
    "JSON": (json.loads, json.dumps),
}
SUPPORTED: Final = tuple(_TYPES)


def encode(value: Any, kind: str) -> Any:
    """The JSON value of an argument; None = NULL."""
    return None if value is None else _TYPES[kind][0](value)


def decode(value: Any, kind: str) -> Any:
    """The Python value of a reply; None = NULL.

    Raises:
        ValueError: The reply is not a value of this type.
    """
    if value is None:
        return None
    try:
        return _TYPES[kind][1](value)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"Failed to coerce output value {json.dumps(value)[:100]} to type {kind}"
        ) from error
