"""Read protobuf messages that are nested deeper than the protobuf library goes.

It gives up at 100 levels, and a sum of 30 terms is a tree of more. https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_FIXED: Final = {_I64: 8, _I32: 4}


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields: bytes of messages and texts, else the number."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _LEN:
            size, position = _varint(data, position)
        else:
            size = _FIXED[kind]
        yield number, data[position : position + size]
        position += size


def messages(data: bytes, descriptor: Any, wanted: frozenset[str]) -> Iterator[tuple[Any, bytes]]:
    """Descriptors and bytes of all messages of some classes within a message, however deep they are.

    Args:
        data: The outermost message.
        descriptor: Its descriptor.
        wanted: Names of classes; what is within one of them is looked at as well.
    """
    stack: list[tuple[memoryview, Any]] = [(memoryview(data), descriptor)]
    while stack:
        current, kind = stack.pop()
        if kind.name in wanted:
            yield kind, bytes(current)
        numbers = kind.fields_by_number
        for number, value in fields(current):
            inner = numbers[number].message_type if number in numbers else None
            if inner is not None and isinstance(value, memoryview):
                stack.append((value, inner))


def without(data: bytes, descriptor: Any, dropped: frozenset[str], depth: int) -> bytes:
    """A message without some of the fields of its outermost levels.

    Args:
        data: The message.
        descriptor: Its descriptor.
        dropped: Names of fields.
        depth: How many levels are looked at.
    """
    kept = bytearray()
    for number, value in fields(memoryview(data)):
        field = descriptor.fields_by_number[number]
        if field.name in dropped:
            continue
        if not isinstance(value, memoryview):
            kept += _written(number << 3 | _VARINT) + _written(value)
            continue
        content = bytes(value)
        if field.message_type is not None and depth > 1:
            content = without(content, field.message_type, dropped, depth - 1)
        kept += _written(number << 3 | _LEN) + _written(len(content)) + content
    return bytes(kept)


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
