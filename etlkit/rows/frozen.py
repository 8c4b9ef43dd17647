"""Values that a transform could change after it returned them: frozen as they are now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from etlkit.rows.flat_lists import is_flat, is_plain
from etlkit.rows.json_values import JsonText, json_text
from etlkit.rows.refused import RefusedError

if TYPE_CHECKING:
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

LEAVES = frozenset(
    {type(None), bool, int, float, str, bytes, Decimal, datetime, date, time, JsonText}
)
"""The classes of values that cannot be changed in place. Others may be: a list or a dict of any class,
a tuple with one in it, or what shows somebody's buffer."""

_MAX_DEPTH = 100

Freeze = Callable[[Any], Any]
"""A value -> one that nobody else has. It may be of any class: what does not fit a column is refused
when it is encoded."""


def frozen_row(row: Row, nested: Mapping[str, Freeze] | None = None) -> Row:
    """Copy a row as it is now: the transform may change the dict, or a list in it, afterwards.

    Args:
        row: What the transform returned.
        nested: What freezes the values of the keys that may hold lists or dicts; None = every value is
            looked at.
    """
    taken = row.copy() if type(row) is dict else dict(row)
    if nested is None:
        if LEAVES.issuperset(map(type, taken.values())):  # no loop in Python
            return taken
        for key, value in taken.items():
            if type(value) not in LEAVES:
                taken[key] = copied(value)
        return taken
    for key, freeze in nested.items():
        value = taken.get(key)
        if type(value) not in LEAVES:
            taken[key] = freeze(value)
    return taken


def copied(value: Any, depth: int = 0) -> Any:
    """A copy in which no list or dict is one of the value's."""
    if type(value) in LEAVES or depth > _MAX_DEPTH:  # deeper ones are refused when encoded
        return value
    if isinstance(value, dict):
        return {key: copied(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner, depth + 1) for inner in value]
    if isinstance(value, tuple):
        return tuple([copied(inner, depth + 1) for inner in value])
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def freezer(column: Column) -> Freeze:
    """What freezes the values of a column, fast where they are what they should be."""
    if column.mode == "REPEATED":
        if column.fields and is_flat(column):
            return _copied_rows
        return _copied_list if not column.fields and is_plain(column) else copied
    if column.fields:
        return _copied_dict if is_flat(column) else copied
    return _as_text if column.type == "JSON" else copied


def _copied_list(value: Any) -> Any:
    return value.copy() if type(value) is list else copied(value)


def _copied_dict(value: Any) -> Any:
    return value.copy() if type(value) is dict else copied(value)


def _copied_rows(value: Any) -> Any:
    try:
        return list(map(dict.copy, value)) if type(value) is list else copied(value)
    except TypeError:  # one of them is None, or no dict: that is refused when it is encoded
        return copied(value)


def _as_text(value: Any) -> Any:
    """JSON is frozen best as what becomes of it."""
    try:
        return JsonText(json_text(value))
    except RefusedError:
        return copied(value)  # it is refused again when it is encoded, with its row
