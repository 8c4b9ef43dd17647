"""CSV cells: which type they look like, and how they become values of it.

What is special about a type is in its row of `etlkit.rows.types`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.rows.columns import arrow_schema, arrow_type
from etlkit.rows.types import TYPES, ScalarType

if TYPE_CHECKING:
    from etlkit.rows.columns import Column

_MISFITS = (pa.ArrowInvalid, ValueError, ArithmeticError)


class BadCellError(ValueError):
    """A cell that is not of its column's type.

    Attributes:
        index: Its row in the batch, 0 = first.
        message: What it should have been, without the value.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


def guess_type(cells: Iterable[str]) -> str:
    """The first type in the registry that every cell looks like; STRING if there is none."""
    each_once = set(cells)
    if each_once:
        for each in TYPES.values():
            if each.looks_like is not None and all(map(each.looks_like, each_once)):
                return each.name
    return "STRING"


def autodetect_names(types: Sequence[str]) -> list[str]:
    """The names that BigQuery's autodetection gives columns without one, e.g. `int64_field_0`."""
    return [
        f"{TYPES[kind].guessed_name or kind.lower()}_field_{position}"
        for position, kind in enumerate(types)
    ]


def misfit(column: Column) -> str:
    """What a message says about a cell that does not fit."""
    return (
        f"column {column.name!r}: the value is not a valid {column.ddl}; set the type with "
        f"types={{{column.name!r}: 'STRING'}}, or the text that stands for NULL with null_values"
    )


def parsed_type(column: Column) -> pa.DataType:
    """The Arrow type that pyarrow's CSV reader is asked for: text where we convert it ourselves."""
    return arrow_type(column) if TYPES[column.type].from_text is None else pa.string()


def from_text(batch: pa.RecordBatch, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """Convert the columns that arrived as text.

    Raises:
        BadCellError: The first cell that does not fit.
    """
    arrays = [
        _convert(array, TYPES[column.type], column)
        for column, array in zip(columns, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def _convert(array: pa.Array, scalar: ScalarType, column: Column) -> pa.Array:
    convert, kind = scalar.from_text, arrow_type(column)
    if convert is None:
        return array
    try:
        return convert(array, kind)
    except _MISFITS:
        for index in range(len(array)):
            try:
                convert(array.slice(index, 1), kind)
            except _MISFITS:
                raise BadCellError(index, misfit(column)) from None
        raise
