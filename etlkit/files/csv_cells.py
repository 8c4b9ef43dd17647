"""CSV cells as values: what pyarrow converts, and what it has to leave as text at first."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from etlkit.files.csv_types import ZONE
from etlkit.rows.columns import arrow_schema, arrow_type

if TYPE_CHECKING:
    from etlkit.rows.columns import Column


_MISFITS = (pa.ArrowInvalid, ValueError, ArithmeticError)


class BadCellError(ValueError):
    """A cell that is not of its column's type.

    Attributes:
        index: Its row in the batch, 0 = first.
        message: What it should have been; without the value.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


def misfit(column: Column) -> str:
    """What is said of a cell that does not fit."""
    return (
        f"column {column.name!r}: the value is no {column.ddl}; say the type with "
        f"types={{{column.name!r}: 'STRING'}}, or what stands for NULL with null_values"
    )


def carrier(column: Column) -> pa.DataType:
    """The type that pyarrow's CSV reader is asked for."""
    return pa.string() if column.type in _FROM_TEXT else arrow_type(column)


def from_text(batch: pa.RecordBatch, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """Convert what came as text.

    Raises:
        BadCellError: The first cell that does not fit.
    """
    arrays = []
    for column, array in zip(columns, batch.columns, strict=True):
        convert = _FROM_TEXT.get(column.type)
        arrays.append(array if convert is None else _convert(array, convert, column))
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def _convert(array: pa.Array, convert: Callable[[pa.Array], pa.Array], column: Column) -> pa.Array:
    try:
        return convert(array)
    except _MISFITS:
        for index in range(len(array)):
            try:
                convert(array.slice(index, 1))
            except _MISFITS:
                raise BadCellError(index, misfit(column)) from None
        raise


def _timestamps(array: pa.Array) -> pa.Array:
    """Text to instants; a time without a zone is in UTC, as in BigQuery."""
    text = pc.replace_substring_regex(array, r" ?UTC$", "Z")
    zoned = pc.match_substring_regex(text, r"[0-9]" + ZONE)
    text = pc.if_else(zoned, text, pc.binary_join_element_wise(text, "Z", ""))
    text = pc.replace_substring_regex(text, r" ([+-][0-9:]+|Z)$", r"\1")
    return pc.cast(text, pa.timestamp("us", tz="UTC"))


def _bytes(array: pa.Array) -> pa.Array:
    values = [
        None if text is None else base64.b64decode(text, validate=True)
        for text in array.to_pylist()
    ]
    return pa.array(values, pa.binary())


def _bignumerics(array: pa.Array) -> pa.Array:
    values = [None if text is None else Decimal(text) for text in array.to_pylist()]
    return pa.array(values, pa.decimal256(76, 38))


def _json(array: pa.Array) -> pa.Array:
    for text in array.to_pylist():
        if text is not None:
            json.loads(text)
    return array


_FROM_TEXT: dict[str, Callable[[pa.Array], pa.Array]] = {
    "TIMESTAMP": _timestamps,
    "BIGNUMERIC": _bignumerics,
    "BYTES": _bytes,
    "JSON": _json,
}
