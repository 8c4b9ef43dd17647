"""The JSON form of protocol buffers, read against a declared message in the words of Google's APIs.

Both spellings of a name are taken (`maxResults`, `max_results`), null stands for the default,
integers may be strings, bytes are base64. All faults are collected before the request is refused.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_INT32_MAX = 2**31 - 1

# A refused value is quoted in the answer, but not a whole image of it.
_MAX_QUOTED = 60


@dataclass(frozen=True)
class Scalar:
    """One value: `string`, `bytes`, `int32`, `float`, `double`, `bool`, or a `map` of strings."""

    kind: str


@dataclass(frozen=True)
class Enum:
    """A field of named numbers; read as the name, or as the number where it has none."""

    type_name: str
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Message:
    """A message and its fields by their proto names."""

    type_name: str
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class Repeated:
    """A list of one kind of field."""

    element: Scalar | Enum | Message


Field = Scalar | Enum | Message | Repeated


@dataclass(frozen=True)
class Violation:
    """One fault: the path of the field, and what is wrong."""

    field: str
    description: str


class JsonRequestError(Exception):
    """The request does not fit its message: HTTP 400, INVALID_ARGUMENT.

    Attributes:
        message: All faults, a line each.
        violations: The same one by one; () = not about single fields.
    """

    def __init__(self, message: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations


def read_message(message: Message, value: Any) -> dict[str, Any]:
    """Read a parsed JSON object as `message`.

    Returns:
        Values by proto names; fields that were absent or null are absent.

    Raises:
        JsonRequestError: Unknown names or values of a wrong type; all of them are in it.
    """
    reader = _Reader()
    fields = reader.message(message, value, "")
    if reader.violations:
        text = "\n".join(violation.description for violation in reader.violations)
        raise JsonRequestError(text, tuple(reader.violations))
    return fields


class _Reader:
    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def message(self, message: Message, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._wrong(path, f"type.googleapis.com/{message.type_name}", value)
            return {}
        fields = {}
        for key, item in value.items():
            name = _proto_name(key)
            if name not in message.fields or key not in {name, _json_name(name)}:
                self._unknown(key, path)
            elif item is not None:
                fields[name] = self._field(message.fields[name], item, f"{path}.{name}".lstrip("."))
        return fields

    def _field(self, field: Field, value: Any, path: str) -> Any:
        if isinstance(field, Repeated):
            if isinstance(value, list):
                element = field.element
                return [self._field(element, item, f"{path}[{i}]") for i, item in enumerate(value)]
            self._wrong(path, "repeated field", value)
            return []
        if isinstance(value, list):
            parent, _, name = path.rpartition(".")
            self._unknown(name, parent, "Proto field is not repeating, cannot start list.")
            return None
        if isinstance(field, Message):
            return self.message(field, value, path)
        if isinstance(field, Enum):
            return self._enum(field, value, path)
        return self._scalar(field.kind, value, path)

    def _enum(self, enum: Enum, value: Any, path: str) -> str:
        if isinstance(value, str) and value in enum.numbers:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return next((name for name, n in enum.numbers.items() if n == value), str(value))
        self._wrong(path, f"type.googleapis.com/{enum.type_name}", value)
        return ""

    def _scalar(self, kind: str, value: Any, path: str) -> Any:
        try:
            return _SCALARS[kind](value)
        except (ValueError, TypeError, binascii.Error):
            self._wrong(path, f"TYPE_{kind.upper()}", value)
            # Of the right type, so that the rest of the request can be read for more faults.
            return {"bytes": b"", "string": "", "map": {}}.get(kind, 0)

    def _wrong(self, path: str, type_name: str, value: Any) -> None:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        if len(shown) > _MAX_QUOTED:
            shown = shown[:_MAX_QUOTED] + "..."
        if type_name == "TYPE_BYTES" and isinstance(value, str):
            shown = f"Base64 decoding failed for {shown}"
        where = path or "(root)"
        self.violations.append(
            Violation(path, f"Invalid value at '{where}' ({type_name}), {shown}")
        )

    def _unknown(self, name: str, parent: str, why: str = "Cannot find field.") -> None:
        at = f" at '{parent}'" if parent else ""
        text = f'Invalid JSON payload received. Unknown name "{name[:_MAX_QUOTED]}"{at}: {why}'
        self.violations.append(Violation(parent, text))


def _proto_name(key: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), key)


def _json_name(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _bytes(value: Any) -> bytes:
    """Base64 in either alphabet, with or without its padding."""
    text = _string(value).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _int32(value: Any) -> int:
    number = float(value)
    if isinstance(value, bool) or not number.is_integer() or abs(number) > _INT32_MAX:
        raise ValueError(value)
    return int(number)


def _double(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _map(value: Any) -> dict[str, str]:
    return {_string(key): _string(item) for key, item in dict(value).items()}


_SCALARS = {
    "string": _string,
    "bytes": _bytes,
    "int32": _int32,
    "float": _double,
    "double": _double,
    "bool": _bool,
    "map": _map,
}
