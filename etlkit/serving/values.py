"""Values in the JSON of remote functions, which is that of `TO_JSON_STRING`.

https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from etlkit.rows.refused import RefusedError, wrong_type
from etlkit.rows.types import STRUCT, TYPES

if TYPE_CHECKING:
    from etlkit.rows.columns import Column

_SAFE_INTEGER: Final = 2**53
"""Integers beyond it are text: a float, which JSON readers make of a number, would change them."""


def from_json(value: Any, column: Column) -> Any:
    """The native value of a column, as a transfer would read it, from its JSON value.

    Args:
        value: A parsed JSON value; None = NULL.
        column: The column. An ARRAY or STRUCT comes as JSON, as `TO_JSON` writes it.

    Raises:
        RefusedError: It is no value of the column's type.
    """
    try:
        return _from_json(value, column)
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError) as error:
        raise RefusedError("got JSON that is no such value") from error


def to_json(value: Any, column: Column) -> Any:
    """The JSON value of a column's native value, as `TO_JSON_STRING` would write it; None = NULL."""
    if value is None:
        return None
    if column.mode == "REPEATED":
        return [_written(each, column) for each in value]
    return _written(value, column)


def _from_json(value: Any, column: Column) -> Any:
    if column.mode == "REPEATED":
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong_type(value)
        return [_read(each, column) for each in value]
    return _read(value, column)


def _read(value: Any, column: Column) -> Any:
    if value is None:
        return None
    if column.type == STRUCT:
        if not isinstance(value, dict):
            raise wrong_type(value)
        return {field.name: _from_json(value.get(field.name), field) for field in column.fields}
    if column.type == "INT64":
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise wrong_type(value)
        return int(value)
    read = TYPES[column.type].from_json
    return value if read is None else read(value)


def _written(value: Any, column: Column) -> Any:
    if value is None:
        return None
    if column.type == STRUCT:
        return {field.name: to_json(value.get(field.name), field) for field in column.fields}
    return _WRITERS.get(column.type, _same)(value)


def _same(value: Any) -> Any:
    return value


def _int(value: int) -> int | str:
    return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else str(value)


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _decimal(value: Decimal) -> int | str:
    if value == value.to_integral_value() and abs(value) <= _SAFE_INTEGER:
        return int(value)
    return format(value.normalize(), "f")


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _time(value: time | datetime) -> str:
    if value.microsecond:
        return value.isoformat(
            timespec="microseconds" if value.microsecond % 1000 else "milliseconds"
        )
    return value.isoformat(timespec="seconds")


def _timestamp(value: datetime) -> str:
    return f"{_time(value.astimezone(UTC).replace(tzinfo=None))}Z"


_WRITERS: Final[dict[str, Callable[[Any], Any]]] = {
    "INT64": _int,
    "FLOAT64": _float,
    "NUMERIC": _decimal,
    "BIGNUMERIC": _decimal,
    "BYTES": _bytes,
    "DATE": date.isoformat,
    "DATETIME": _time,
    "TIME": _time,
    "TIMESTAMP": _timestamp,
}
"""How the values of a type are written; of other types they are JSON values already."""
