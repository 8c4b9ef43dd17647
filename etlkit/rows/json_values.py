"""Values of JSON: to text and back, within the limits of BigQuery's JSON.

pyarrow is imported where it is used: describing columns must not load it.
"""

from __future__ import annotations

import json
import re
from datetime import date, time
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, NoReturn

from etlkit.rows.json_encoder import made_once
from etlkit.rows.numbers import WideNumber, number_from_json
from etlkit.rows.refused import RefusedError, type_name

MAX_JSON_DEPTH = 500
"""Levels of arrays and objects: https://cloud.google.com/bigquery/quotas#storage-write-api-limits"""

_TOO_DEEP = (
    f"got a value that is nested too deep: BigQuery's JSON has at most {MAX_JSON_DEPTH} levels"
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

_MIN_JSON_INT = -(2**63)
_MAX_JSON_INT = 2**64 - 1


class JsonText(str):
    """What `json_text` made of a value. No transform has one: in a row it stands for the value."""

    __slots__ = ()


def json_text(value: Any) -> str:
    """A value (not None) as compact JSON text; `JsonText` as it is.

    Raises:
        RefusedError: json.dumps would refuse it or write a key twice, text in it has a lone surrogate,
            or BigQuery would not store it.
    """
    if type(value) is JsonText:
        return value
    try:
        text = _to_json(value)
        _check(value, has_limits=True)
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
    _check_depth(text)
    return text


def check_keys(value: Any) -> None:
    """Raise if a dict in the value has two keys that are one in JSON, such as 1 and "1".

    Raises:
        RefusedError: One of the two values would be lost.
    """
    _check(value, has_limits=False)


def _check(value: Any, *, has_limits: bool) -> None:
    """As `check_keys`; with limits, raise for an int beyond 64 bits as well.

    Such ints are looked for in the value, and not in its text, where each digit of a float costs time.
    Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/json-data#json_numbers
    """
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                _refuse_same_keys(value)
                break
        value = value.values()
    elif isinstance(value, int):
        value = (value,)
    elif not isinstance(value, (list, tuple)):
        return
    for inner in value:
        kind = type(inner)
        if kind is int or (kind not in _LEAVES and isinstance(inner, int)):
            if has_limits and not _MIN_JSON_INT <= inner <= _MAX_JSON_INT:
                raise RefusedError(
                    "got an int in it that BigQuery's JSON does not hold (64 bits): write it as a str"
                )
        elif kind not in _LEAVES and isinstance(inner, (dict, list, tuple)):
            _check(inner, has_limits=has_limits)


_LEAVES = frozenset({str, int, float, bool, type(None)})


def _refuse_same_keys(value: dict[Any, Any]) -> None:
    if len(set(map(_json_key, value))) < len(value):
        raise RefusedError(
            "got a dict in it with keys that are the same in JSON, e.g. 1 and '1': use str keys"
        )


def _json_key(key: Any) -> Any:
    """The key as JSON has it."""
    return key if isinstance(key, str) else json.dumps(key)


def _check_depth(text: str) -> None:
    """Raise if JSON text is nested deeper than BigQuery stores it."""
    is_deep = text.count("[") + text.count("{") > MAX_JSON_DEPTH
    if is_deep and _depth(_STRING.sub('""', text)) > MAX_JSON_DEPTH:
        raise RefusedError(_TOO_DEEP)


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
    if isinstance(value, WideNumber):
        raise RefusedError(
            "got a number in it that JSON, whose numbers are floats, does not keep: write it as text"
        )
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
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_refuse_json
)


_to_json = made_once(_ENCODER)


def parse_json(text: str) -> Any:
    """JSON text of a file -> the value; numbers that a float does not keep become `WideNumber`.

    Raises:
        RefusedError: It is not JSON, an object has a key twice, or it is nested too deep.
    """
    try:
        return _parse(text)
    except json.JSONDecodeError as error:
        raise RefusedError(f"{error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise RefusedError(_TOO_DEEP) from error
    except ValueError as error:  # Python does not read integers of thousands of digits
        raise RefusedError("got a number with too many digits") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise RefusedError("got an object with the same key twice, and only one value can be kept")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise RefusedError(f"{name} is not JSON; write null")


_parse = json.JSONDecoder(
    parse_float=number_from_json, parse_constant=_refuse_constant, object_pairs_hook=_object
).decode
"""Made once: `json.loads` with an option makes a new decoder for each text."""


def read_json(array: Any) -> list[Any]:
    """Arrow text -> parsed values."""
    loads = json.loads
    return [None if text is None else loads(text) for text in array.to_pylist()]


def json_from_text(array: Any, _kind: Any) -> Any:
    """JSON text as it is; raises as `check_json`."""
    check_json(array)
    return array


def check_json(array: Any) -> None:
    """Raise if BigQuery would not store an array's texts as JSON, unchanged.

    Raises:
        RefusedError: A text is not JSON, or its value is beyond the limits of BigQuery's JSON.
        pyarrow.ArrowInvalid: A text is not UTF-8.
    """
    array.validate(full=True)
    for text in array.to_pylist():
        if text is not None:
            value = parse_json(text)
            if value is not None:
                json_text(value)
