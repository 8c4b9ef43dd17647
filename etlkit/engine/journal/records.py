"""The records of a journal: one source row and its outcome, as JSON that gives back equal values.

A file is a sequence of frames: length and CRC-32 of the content, 4 bytes each, then the content. A
process may be killed within a frame, so reading ends at the first one that is not whole.
"""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from etlkit.api.outcomes import SKIPPED, FullOutcome, Outcome, error_class
from etlkit.errors import RowError, TransformError
from etlkit.rows.json_values import JsonText

if TYPE_CHECKING:
    from pathlib import Path

    from etlkit.rows.row import Row

_FRAME = struct.Struct("<II")

_TAG = ""
"""Key of the object that stands for a value which JSON does not have: `{"": [kind, text]}`."""

_AS_IT_IS = frozenset({type(None), bool, int, float, str})

_TO_TEXT: dict[type, tuple[str, Callable[[Any], str]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    Decimal: ("decimal", str),
    bytes: ("bytes", lambda value: b64encode(value).decode()),
    JsonText: ("json", str),
    bytearray: ("bytes", lambda value: b64encode(value).decode()),
}

_FROM_TEXT: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "decimal": Decimal,
    "bytes": b64decode,
    "json": json.loads,
    "dict": lambda pairs: {_from_json(key): _from_json(value) for key, value in pairs},
}

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class UnknownValueError(ValueError):
    """A value has a type that a record cannot hold, such as a class of the user's own."""


def to_frame(content: bytes) -> bytes:
    """Make a frame."""
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def read_frames(path: Path) -> Iterator[bytes]:
    """Give the contents of the frames of a file, up to the first one that is not whole."""
    data = memoryview(path.read_bytes())
    at = 0
    while at + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        content = bytes(data[at : at + length])
        if len(content) < length or zlib.crc32(content) != checksum:
            return
        yield content
        at += length


def to_record(row_id: str, outcome: Outcome) -> bytes:
    """Write a row's outcome: `[id, row]`, `[id, [row, …]]`, `[id, null]` = skipped, or with an error.

    Raises:
        UnknownValueError: It has a value that cannot be written exactly.
    """
    try:
        return _dumps([row_id, *_parts(outcome)]).encode()
    except (RecursionError, UnicodeEncodeError) as error:
        raise UnknownValueError(str(error)) from error


def _parts(outcome: Outcome) -> list[Any]:
    if isinstance(outcome, dict):
        return [_row_to_json(outcome)]
    if outcome.error is None:
        return [[_row_to_json(row) for row in outcome.rows] or None]
    error = outcome.error
    code = getattr(error, "code", None)
    return [
        None,
        {
            "class": error_class(error),
            "message": error.message,
            "column": error.column,
            "code": None if code is None else str(code),
            "attempts": int(getattr(error, "attempts", 1)),
        },
    ]


def from_record(record: bytes) -> tuple[str, Outcome]:
    """The row's id and its outcome.

    Raises:
        ValueError: It is no record.
    """
    row_id, value, *errors = json.loads(record)
    if errors:
        return row_id, FullOutcome((), _error(errors[0]))
    if value is None:
        return row_id, SKIPPED
    if isinstance(value, list):
        return row_id, FullOutcome(tuple(map(_from_json, value)))
    outcome: Outcome = _from_json(value)
    return row_id, outcome


def _error(said: dict[str, Any]) -> RowError:
    """An error that is reported as the one that was written."""
    error: Any = TransformError(said["message"], column=said["column"])
    error.code, error.attempts = said["code"], said["attempts"]
    error.__cause__ = type(said["class"], (Exception,), {})(said["message"])
    return error  # type: ignore[no-any-return]


def _row_to_json(row: Row) -> Any:
    # In one step: the pipeline may remove keys without a column meanwhile, on its own thread.
    return _to_json(dict(row))


def _to_json(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if issubclass(kind, dict):
        if all(type(key) is str and key for key in value):
            return dict(zip(value, map(_to_json, value.values()), strict=True))
        return {_TAG: ["dict", [[_to_json(key), _to_json(each)] for key, each in value.items()]]}
    if issubclass(kind, (list, tuple)):
        return list(map(_to_json, value))
    if kind in _TO_TEXT:
        name, to_text = _TO_TEXT[kind]
        return {_TAG: [name, to_text(value)]}
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _to_json(value.item())
    raise UnknownValueError(f"a {kind.__name__}")


def _from_json(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        if _TAG in value:
            name, text = value[_TAG]
            return _FROM_TEXT[name](text)
        return dict(zip(value, map(_from_json, value.values()), strict=True))
    return list(map(_from_json, value)) if kind is list else value
