"""Values of STRING, GEOGRAPHY and BYTES.

`etlkit.rows.types` says which type uses what. pyarrow is imported where it is used: describing
columns must not load it.
"""

from __future__ import annotations

import base64
from typing import Any

from etlkit.rows.refused import RefusedError, wrong_type


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


def check_buffers(array: Any) -> None:
    """Raise `pyarrow.ArrowInvalid` if a file's bytes are not UTF-8, or are no decimal of its type."""
    array.validate(full=True)
