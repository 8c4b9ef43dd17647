"""The columns that hold the values of Arrow types."""

from __future__ import annotations

import pyarrow as pa

from etlkit.errors import ConfigError
from etlkit.rows.columns import Column
from etlkit.rows.types import STRUCT, TYPES, common_type

_DECIMALS = frozenset({"NUMERIC", "BIGNUMERIC"})
_OF_TEXT = frozenset({"JSON", "GEOGRAPHY"})
"""Types whose values are text in Arrow."""


def column_of(name: str, kind: pa.DataType, way_out: str) -> Column:
    """The column that holds all values of an Arrow type.

    Args:
        name: The column's name.
        kind: Its Arrow type.
        way_out: What to do about a type that no column holds, for the message.

    Raises:
        ConfigError: No type of BigQuery holds such values.
    """
    kind = plain_type(kind)
    if pa.types.is_struct(kind) and kind.num_fields:
        fields = tuple(column_of(field.name, field.type, way_out) for field in kind)
        return Column(name, STRUCT, fields=fields)
    if pa.types.is_list(kind):
        inner = column_of(name, kind.value_type, way_out)
        if inner.mode != "REPEATED":
            return Column(name, inner.type, "REPEATED", inner.fields)
    elif (found := scalar_type(kind)) is not None:
        return Column(name, found)
    raise ConfigError(f"column {name!r} is {kind}, which no BigQuery type holds; {way_out}")


def holds(column: Column, kind: pa.DataType) -> bool:
    """Whether a column takes values of an Arrow type as they are, such as INT64 those of int32."""
    kind = plain_type(kind)
    if pa.types.is_null(kind):
        return True
    if column.mode == "REPEATED":
        element = Column(column.name, column.type, fields=column.fields)
        return pa.types.is_list(kind) and holds(element, kind.value_type)
    if column.fields:
        fields = {field.name: field for field in column.fields}
        return pa.types.is_struct(kind) and all(
            each.name in fields and holds(fields[each.name], each.type) for each in kind
        )
    if pa.types.is_decimal(kind) and column.type in _DECIMALS:
        return True  # whether a value has more digits is seen value by value
    found = scalar_type(kind)
    if found is None:
        return False
    return common_type(column.type, found) == column.type or (
        found == "STRING" and column.type in _OF_TEXT
    )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without the encodings that no type of BigQuery has."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_type)
    return kind


def scalar_type(kind: pa.DataType) -> str | None:
    """The first type in the registry that holds the values; None = none does."""
    return next((each.name for each in TYPES.values() if each.holds(pa.types, kind)), None)
