"""CSV cells: which type they look like, and how they become values of it.

What is special about a type is in its row of `etlkit.rows.types`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.rows.casts import MisfitError, check, parse
from etlkit.rows.columns import arrow_schema, arrow_type
from etlkit.rows.types import TYPES

if TYPE_CHECKING:
    from etlkit.rows.columns import Column


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


def possible_types(cells: Iterable[str]) -> frozenset[str]:
    """The types that every cell looks like; all of them if there are no cells."""
    each_once = set(cells)
    return frozenset(
        each.name
        for each in TYPES.values()
        if each.looks_like is not None and all(map(each.looks_like, each_once))
    )


def guess_type(possible: Collection[str]) -> str:
    """The first type in the registry of those that every cell looks like; STRING if it could be any."""
    if len(possible) == len(possible_types(())):  # there was no cell
        return "STRING"
    return next((name for name in TYPES if name in possible), "STRING")


def autodetect_names(types: Sequence[str]) -> list[str]:
    """The names that BigQuery's autodetection gives columns without one, e.g. `int64_field_0`."""
    return [
        f"{TYPES[kind].guessed_name or kind.lower()}_field_{position}"
        for position, kind in enumerate(types)
    ]


def misfit(column: Column, detail: str = "") -> str:
    """What a message says about a cell that does not fit; `detail` says why, without the value."""
    why = f" ({detail})" if detail else ""
    return (
        f"column {column.name!r}: the value is not a valid {column.parameterized_ddl}{why}; set the "
        f"type with types={{{column.name!r}: 'STRING'}}, or the text that stands for NULL with "
        "null_values"
    )


def parsed_type(column: Column) -> pa.DataType:
    """The Arrow type that pyarrow's CSV reader is asked for: text where we convert it ourselves."""
    return arrow_type(column) if TYPES[column.type].from_text is None else pa.string()


def from_text(
    batch: pa.RecordBatch, columns: tuple[Column, ...], *, is_checked: bool = False
) -> pa.RecordBatch:
    """Convert the columns that arrived as text, and check all of them unless they were checked before.

    Raises:
        BadCellError: The first cell that does not fit.
    """
    try:
        arrays = [parse(each, to) for to, each in zip(columns, batch.columns, strict=True)]
        for column, array in zip(columns, () if is_checked else arrays, strict=False):
            check(array, column)
    except MisfitError as error:
        column = next(each for each in columns if each.name == error.column)
        raise BadCellError(error.index or 0, misfit(column, error.detail)) from error
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))
