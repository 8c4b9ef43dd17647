"""Values of the types that travel as text or bytes: STRING, GEOGRAPHY, BYTES and JSON.

`etlkit.rows.types` says which type uses what. pyarrow is imported where it is used: describing
columns must not load it.
"""

from __future__ import annotations

import base64
import json
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
        RefusedError: json.dumps would refuse it, or text in it has a lone surrogate.
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
        raise RefusedError("got a value that is nested too deep") from error
    return text


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
    """JSON text as it is; raises ValueError if one value is not JSON."""
    read_json(array)
    return array
