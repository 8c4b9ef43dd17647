"""Values of the types that travel as text or bytes: STRING, GEOGRAPHY, BYTES and JSON.

`etlkit.rows.types` says which type uses what. pyarrow is imported where it is used: describing
columns must not load it.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import date, time
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, NoReturn

from etlkit.rows.refused import RefusedError, type_name, wrong_type


def clean_str(value: Any) -> str:
    """A str that can be written as UTF-8."""
    if not isinstance(value, str):
        raise wrong_type(
            value, "decode it, e.g. value.decode()" if isinstance(value, bytes) else ""
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("got a str with half a character (a lone surrogate)") from error
    return value


def clean_bytes(value: Any) -> bytes:
    """Anything that holds bytes, as bytes."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise wrong_type(value, "encode it, e.g. value.encode()" if isinstance(value, str) else "")


def json_text(value: Any) -> str:
    """A value (not None) as compact JSON text.

    Raises:
        RefusedError: json.dumps would refuse it, text in it has a lone surrogate, or BigQuery would
            not store it.
    """
    try:
        text = _to_json(value)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("got a str in it with half a character (a lone surrogate)") from error
    except TypeError as error:
        raise RefusedError(
            "got a dict in it with a key that JSON does not have: use str keys"
        ) from error
    except ValueError as error:
        raise RefusedError(
            "got NaN or infinity in it, or a value that holds itself: use None"
        ) from error
    except RecursionError as error:
        raise RefusedError(_TOO_DEEP) from error
    _check_limits(text)
    return text


MAX_JSON_DEPTH = 500
"""Levels of arrays and objects: https://cloud.google.com/bigquery/quotas#storage-write-api-limits"""

_TOO_DEEP = (
    f"got a value that is nested too deep: BigQuery's JSON has at most {MAX_JSON_DEPTH} levels"
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LONG_INT = re.compile(r"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")
_SAMPLED_DIGITS = re.compile(r"[0-9]{3}")
"""In every sixth character of a text that has 19 digits in a row: much faster to look for."""

_MIN_JSON_INT = -(2**63)
_MAX_JSON_INT = 2**64 - 1


def _check_limits(text: str) -> None:
    """Raise if JSON text holds what BigQuery does not store: deep nesting, large integers.

    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/json-data#json_numbers
    """
    is_deep = text.count("[") + text.count("{") > MAX_JSON_DEPTH
    if not is_deep and not (_SAMPLED_DIGITS.search(text[::6]) and _LONG_INT.search(text)):
        return
    bare = _STRING.sub('""', text)
    if _depth(bare) > MAX_JSON_DEPTH:
        raise RefusedError(_TOO_DEEP)
    for number in map(int, _LONG_INT.findall(bare)):
        if not _MIN_JSON_INT <= number <= _MAX_JSON_INT:
            raise RefusedError(
                "got an int in it that BigQuery's JSON does not hold (64 bits): write it as a str"
            )


def _depth(bare: str) -> int:
    depth = deepest = 0
    for character in bare:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _refuse_json(value: Any) -> NoReturn:
    hint = next((text for kinds, text in _JSON_HINTS if isinstance(value, kinds)), None)
    name = type_name(type(value))
    raise RefusedError(
        f"got {name} in it, which JSON does not have" + (f": use {hint}" if hint else "")
    )


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


def read_json(array: Any) -> list[Any]:
    """Arrow text -> parsed values."""
    loads = json.loads
    return [None if text is None else loads(text) for text in array.to_pylist()]


def bytes_to_json(value: Any) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(value).decode("ascii")


def bytes_from_json(value: Any) -> bytes:
    """Bytes from base64 text; raises ValueError if it is something else."""
    return base64.b64decode(value, validate=True)


def bytes_from_text(array: Any, kind: Any) -> Any:
    """Base64 text -> bytes of the Arrow type `kind`."""
    import pyarrow as pa

    values = [None if text is None else bytes_from_json(text) for text in array.to_pylist()]
    return pa.array(values, kind)


def check_json(array: Any, _kind: Any) -> Any:
    """JSON text as it is; raises ValueError if BigQuery would not store one value."""
    for text in array.to_pylist():
        if text is not None:
            json.loads(text)
            try:
                _check_limits(text)
            except RefusedError as error:
                raise ValueError(str(error)) from error
    return array
