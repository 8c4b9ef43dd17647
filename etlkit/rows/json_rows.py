"""A row as JSON and back, for rows that are put aside with their error."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from etlkit.errors import SourceError

if TYPE_CHECKING:
    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


def row_to_json(row: Row) -> dict[str, Any]:
    """Make a row of native values one of JSON values; `row_from_json` is its inverse."""
    return {name: _to_json(value) for name, value in row.items()}


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(inner) for inner in value]
    return _scalar_to_json(value)


def _scalar_to_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no NaN and no infinity
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, (datetime, date, time)) else value


def row_from_json(row: dict[str, Any], columns: tuple[Column, ...]) -> Row:
    """Give a row its native values back.

    Args:
        row: What `row_to_json` made, after a way through JSON.
        columns: The source's columns; a column the row lacks is null.

    Raises:
        SourceError: A value does not fit its column: the source has changed since.
    """
    try:
        return {column.name: _from_json(row.get(column.name), column) for column in columns}
    except (TypeError, ValueError, ArithmeticError, KeyError) as error:
        raise SourceError(
            f"a rejected row does not fit the source's columns any more: {error}", stage="read"
        ) from error


def _from_json(value: Any, column: Column) -> Any:
    if value is None:
        return [] if column.mode == "REPEATED" else None
    if column.mode == "REPEATED":
        return [_scalar_or_struct(inner, column) for inner in value]
    return _scalar_or_struct(value, column)


def _scalar_or_struct(value: Any, column: Column) -> Any:
    if column.type == "STRUCT":
        return {field.name: _from_json(value.get(field.name), field) for field in column.fields}
    return _READ.get(column.type, _same)(value)


def _same(value: Any) -> Any:
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "INT64": int,
    "FLOAT64": float,
    "NUMERIC": Decimal,
    "BIGNUMERIC": Decimal,
    "BYTES": base64.b64decode,
    "DATE": date.fromisoformat,
    "DATETIME": datetime.fromisoformat,
    "TIME": time.fromisoformat,
    "TIMESTAMP": datetime.fromisoformat,
}
