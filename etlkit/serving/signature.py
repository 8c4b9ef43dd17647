"""The arguments of a remote function, and the rows that its calls become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etlkit.errors import ConfigError, RowSchemaError
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.columns import Column, check_names, quoted
from etlkit.rows.refused import RefusedError
from etlkit.serving.values import from_json

if TYPE_CHECKING:
    from etlkit.rows.row import Row

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_AS_TEXT = {"GEOGRAPHY": "ST_ASTEXT"}
"""Types that remote functions do not have and that a transfer reads as text: what makes that text."""


def parse_columns(text: str) -> tuple[Column, ...]:
    """Read columns from `uri STRING, size INT64`, with names and types as in DDL.

    Raises:
        ConfigError: It is not a list of columns.
    """
    try:
        columns = Column.parse("columns", f"STRUCT<{text}>").fields
    except ConfigError as error:
        raise ConfigError(
            f"--columns {text!r}: write names and types as in CREATE TABLE, e.g. "
            f"'uri STRING, size INT64, tags ARRAY<STRING>' ({error})"
        ) from error
    check_names(columns)
    return columns


def columns_text(columns: Sequence[Column]) -> str:
    """The opposite of `parse_columns`."""
    return ", ".join(
        f"{_shown(column.name)} {column.parameterized_ddl}"
        + (" NOT NULL" if column.mode == "REQUIRED" else "")
        for column in columns
    )


class Signature:
    """The arguments of a remote function: one per column that the transform reads.

    Args:
        columns: These columns, in the order of the arguments.

    Attributes:
        columns: As given.
        text: The columns as text, which the function carries in its `user_defined_context`.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.text: str = columns_text(columns)
        self._encoder = RowEncoder(self.columns)
        self._decoder = RowDecoder(self.columns)

    def parameters(self) -> list[tuple[str, str]]:
        """Name and type of each parameter: ARRAY and STRUCT travel as JSON."""
        return [(column.name, _parameter_type(column)) for column in self.columns]

    def arguments(self) -> list[str]:
        """The expression for each argument, where the columns are in scope."""
        return [_argument(column) for column in self.columns]

    def rows(self, calls: Sequence[Sequence[Any]]) -> list[Row | RowSchemaError]:
        """The row of each call, with the values that a transfer would read; or what is wrong with it.

        Args:
            calls: Parsed JSON arguments, as many per call as there are columns.
        """
        found: list[Row | RowSchemaError] = []
        good: list[int] = []
        for call in calls:
            row = self._read(call)
            if isinstance(row, dict):
                good.append(len(found))
            found.append(row)
        # Through Arrow and back: what a transfer reads comes out of there.
        given: list[Row] = [row for row in found if isinstance(row, dict)]
        bad = self._encoder.bad_rows(given)
        fine = [index for index in range(len(given)) if index not in bad]
        decoded = self._decoder.decode(self._encoder.encode([given[i] for i in fine])).rows
        for index, row in zip(fine, decoded, strict=True):
            found[good[index]] = row
        for index, error in bad.items():
            found[good[index]] = error
        return found

    def _read(self, call: Sequence[Any]) -> Row | RowSchemaError:
        row: Row = {}
        for column, value in zip(self.columns, call, strict=True):
            try:
                row[column.name] = from_json(value, column)
            except RefusedError as refused:
                return RowSchemaError(f"expected {column.ddl}, {refused}", column=column.name)
        return row


def _shown(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name)


def _parameter_type(column: Column) -> str:
    if column.fields or column.mode == "REPEATED":
        return "JSON"
    return "STRING" if column.type in _AS_TEXT else column.type


def _argument(column: Column) -> str:
    name = quoted(column.name)
    if column.fields or column.mode == "REPEATED":
        return f"TO_JSON({name})"
    function = _AS_TEXT.get(column.type)
    return name if function is None else f"{function}({name})"
