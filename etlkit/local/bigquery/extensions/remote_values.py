"""Values of remote functions in JSON, both ways.

Real BigQuery encodes arguments as TO_JSON_STRING does, and takes the same forms back; ARRAY and STRUCT
are not supported.

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
        raise ValueError(value)  # noqa: TRY004 - one error for all that cannot be converted
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
    told = datetime.fromisoformat(value)
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def _to_datetime(value: str) -> datetime:
    told = datetime.fromisoformat(value)
    if told.tzinfo is not None:
        raise ValueError(value)
    return told


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
    """An argument of a call, as JSON has it; None = NULL."""
    return None if value is None else _TYPES[kind][0](value)


def decode(value: Any, kind: str) -> Any:
    """A reply as a Python value; None = NULL.

    Raises:
        ValueError: It is none of this type.
    """
    if value is None:
        return None
    try:
        return _TYPES[kind][1](value)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"Failed to coerce output value {json.dumps(value)[:100]} to type {kind}"
        ) from error
