"""The scalar types of BigQuery, one `Scalar` each: numbers, text, bytes and JSON."""

from __future__ import annotations

import json
from datetime import date, time
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from numbers import Integral, Real
from typing import Any, NoReturn

import pyarrow as pa

from etlkit.rows.datetimes import DATE, DATETIME, TIME, TIMESTAMP
from etlkit.rows.scalar import RefusedError, Scalar, as_is, to_pylist, type_name, wrong

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
DECIMAL_DIGITS = {"NUMERIC": (38, 9), "BIGNUMERIC": (76, 38)}
"""Digits in all and after the point. BigQuery's BIGNUMERIC has a part of a 77th digit, Arrow's
decimal256 has not: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types"""


def decimal_fits(value: Decimal | int, kind: str) -> bool:
    """Whether NUMERIC or BIGNUMERIC holds the value exactly."""
    try:
        _decimal(value, kind)
    except RefusedError:
        return False
    return True


def _clean_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise wrong(value, "use int(value)" if isinstance(value, Real | str) else "")
    number = int(value)
    if not INT64_MIN <= number <= INT64_MAX:
        raise RefusedError("got an int beyond 64 bits: use a NUMERIC, BIGNUMERIC or STRING column")
    return number


def _clean_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong(value, "use float(value)" if isinstance(value, Decimal | str) else "")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number != value and value == value:  # noqa: PLR0124 - only NaN differs from itself
        raise wrong(value, "no float equals it exactly; use float(value) to round it")
    return number


def _decimal(value: Any, kind: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | Integral):
        raise wrong(value, "use Decimal(str(value))" if isinstance(value, float) else "")
    digits, scale = DECIMAL_DIGITS[kind]
    context = Context(prec=digits, traps=[Inexact, InvalidOperation])
    try:
        number = value if isinstance(value, Decimal) else Decimal(int(value))
        fitted = number.quantize(Decimal((0, (1,), -scale)), context=context)
    except DecimalException:
        fitted = Decimal("NaN")
    if not fitted.is_finite():
        raise RefusedError(
            f"got a {type_name(type(value))} that is no number or needs more than "
            f"{digits - scale} digits before or {scale} after the point: round it, or use "
            + ("BIGNUMERIC" if kind == "NUMERIC" else "STRING")
        )
    return fitted


def _clean_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise wrong(value, "use bool(value)")


def _clean_str(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong(value, "decode it, e.g. value.decode()" if isinstance(value, bytes) else "")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("got a str with half a character (a lone surrogate)") from error
    return value


def _clean_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise wrong(value, "encode it, e.g. value.encode()" if isinstance(value, str) else "")


def json_text(value: Any) -> str:
    """A value (not None) as compact JSON text.

    Raises:
        RefusedError: json.dumps would refuse it, or text in it has a lone surrogate.
    """
    try:
        text = _to_json(value)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("got a str in it with half a character (a lone surrogate)") from error
    except TypeError as error:
        raise RefusedError("got a dict in it with a key that JSON has not: use str keys") from error
    except ValueError as error:
        raise RefusedError(
            "got NaN or infinity in it, or a value that holds itself: use None"
        ) from error
    except RecursionError as error:
        raise RefusedError("got a value that is nested too deep") from error
    return text


def _refuse_json(value: Any) -> NoReturn:
    hint = next((text for kinds, text in _JSON_HINTS if isinstance(value, kinds)), None)
    name = type_name(type(value))
    raise RefusedError(f"got {name} in it, which JSON has not" + (f": use {hint}" if hint else ""))


_JSON_HINTS: tuple[tuple[Any, str], ...] = (
    ((date, time), "value.isoformat()"),
    (Decimal, "str(value) or float(value)"),
    ((bytes, bytearray, memoryview), "base64.b64encode(value).decode()"),
    ((set, frozenset), "sorted(value) or list(value)"),
    (Integral, "int(value)"),
    (Real, "float(value)"),
)
_to_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_refuse_json
).encode


def _read_json(array: Any) -> list[Any]:
    loads = json.loads
    return [None if text is None else loads(text) for text in array.to_pylist()]


def _decimal_scalar(kind: str, arrow: Any) -> Scalar:
    return Scalar(
        "a decimal.Decimal or int",
        frozenset({Decimal, int}),
        lambda value: _decimal(value, kind),
        as_is(arrow),
        to_pylist,
    )


_STRING = Scalar("a str", frozenset({str}), _clean_str, as_is(pa.string()), to_pylist)

SCALARS = {
    "INT64": Scalar("an int", frozenset({int}), _clean_int, as_is(pa.int64()), to_pylist),
    "FLOAT64": Scalar("a float", frozenset({float}), _clean_float, as_is(pa.float64()), to_pylist),
    "NUMERIC": _decimal_scalar("NUMERIC", pa.decimal128(*DECIMAL_DIGITS["NUMERIC"])),
    "BIGNUMERIC": _decimal_scalar("BIGNUMERIC", pa.decimal256(*DECIMAL_DIGITS["BIGNUMERIC"])),
    "BOOL": Scalar("a bool", frozenset({bool}), _clean_bool, as_is(pa.bool_()), to_pylist),
    "STRING": _STRING,
    "BYTES": Scalar("bytes", frozenset({bytes}), _clean_bytes, as_is(pa.binary()), to_pylist),
    "DATE": DATE,
    "DATETIME": DATETIME,
    "TIME": TIME,
    "TIMESTAMP": TIMESTAMP,
    "JSON": Scalar(
        "a value json.dumps takes",
        frozenset(),
        json_text,
        as_is(pa.string()),
        _read_json,
        is_mutable=True,
    ),
    "GEOGRAPHY": _STRING,
}
"""By the standard names of `etlkit.rows.ddl_types.TYPES`, without STRUCT. A JSON null and an SQL NULL
both read as None, and None is always written as NULL. GEOGRAPHY is WKT or GeoJSON text, passed as
it is."""
