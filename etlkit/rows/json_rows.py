"""Rows as JSON and back: rejected rows, and rows that tasks of a workflow read."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from etlkit.errors import SourceError
from etlkit.rows.refused import RefusedError, wrong_type
from etlkit.rows.types import STRUCT, TYPES, native_class

if TYPE_CHECKING:
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


_WRITERS = {
    native: each.to_json for each in reversed(tuple(TYPES.values())) for native in each.infers
}
"""Native class -> how its values are written; the first type that infers from it decides."""


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
"""The classes of most values of most rows: they are the same in JSON."""


def row_to_json(row: Row) -> dict[str, Any]:
    """Turn a row of native values into one of JSON values; `row_from_json` is its inverse."""
    plain = _AS_THEY_ARE
    return {k: v if type(v) in plain else value_to_json(v) for k, v in row.items()}


def row_to_plain_json(row: Row) -> dict[str, Any]:
    """Turn a row into JSON values to compute with: NUMERIC becomes a number, too."""
    numbers = {name: json_number(v) for name, v in row.items() if isinstance(v, Decimal)}
    return row_to_json({**row, **numbers})


def json_number(number: float | Decimal) -> int | float:
    """The number as JSON has it: whole numbers stay exact."""
    if isinstance(number, Decimal):
        return int(number) if number == number.to_integral_value() else float(number)
    return number


def value_to_json(value: Any) -> Any:
    """Turn one native value, also a nested one, into a JSON value."""
    # With map() a level of nesting takes one frame of Python's stack: JSON has up to 500 levels.
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, dict):
        return dict(zip(value, map(value_to_json, value.values()), strict=True))
    if isinstance(value, (list, tuple)):
        return list(map(value_to_json, value))
    native = native_class(type(value))
    write = None if native is None else _WRITERS[native]
    return value if write is None else write(value)


def row_from_json(row: dict[str, Any], columns: tuple[Column, ...]) -> Row:
    """Give a row its native values back.

    Args:
        row: What `row_to_json` made, after a way through JSON.
        columns: The source's columns; a column that the row lacks is null.

    Raises:
        SourceError: A value does not fit its column: the source has changed since.
    """
    try:
        return {column.name: _from_json(row.get(column.name), column) for column in columns}
    except (TypeError, ValueError, ArithmeticError, AttributeError, RefusedError) as error:
        raise SourceError(
            f"a rejected row no longer fits the source's columns: {error}", stage="read"
        ) from error


def _from_json(value: Any, column: Column) -> Any:
    if value is None:
        return [] if column.mode == "REPEATED" else None
    if column.mode == "REPEATED":
        return [_scalar_or_struct(inner, column) for inner in value]
    return _scalar_or_struct(value, column)


def _scalar_or_struct(value: Any, column: Column) -> Any:
    if column.type == STRUCT:
        return {field.name: _from_json(value.get(field.name), field) for field in column.fields}
    scalar = TYPES[column.type]
    native = value if scalar.from_json is None else scalar.from_json(value)
    if scalar.exact and type(native) not in scalar.exact:
        raise TypeError(f"{column.name} is {column.type}, {wrong_type(native)}")
    return native
