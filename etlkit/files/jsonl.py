"""JSON Lines files: one JSON object per line, checked line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from etlkit.errors import RowSchemaError, SourceError
from etlkit.files.text import as_text
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import Column, parse_schema
from etlkit.rows.inference import infer_columns
from etlkit.rows.types import STRUCT, TYPES

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.files.file import File
    from etlkit.rows.row import Row

_SAMPLE_ROWS = 1000
_BATCH_ROWS = 1000
_JSON_CLASSES = frozenset({bool, float, int, str})
"""JSON has these itself: columns of them need no conversion, only the encoder's check."""


@dataclass
class JsonlFormat:
    """JSON Lines as an `etlkit.files.reader.Format`. The options are those of `JsonlSource`."""

    types: Mapping[str, str]
    encoding: str
    compression: str
    ignore_unknown: bool
    _declared: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        self._declared = {column.name: column for column in parse_schema(self.types)}

    def columns(self, file: File) -> tuple[Column, ...]:
        """See `Format`."""
        rows = [row for _, row in islice(self._rows(file), _SAMPLE_ROWS)]
        try:
            found = {each.name: each for each in infer_columns(rows, self._declared)}
        except RowSchemaError as error:
            raise SourceError(
                f"{file.name}: {error}; or set its type with types", stage="open"
            ) from None
        # A declared column that no row of the sample has may well come later.
        later = {name: each for name, each in self._declared.items() if name not in found}
        return tuple((found | later).values())

    def batches(self, file: File, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
        """See `Format`."""
        encoder, known = RowEncoder(columns), {column.name for column in columns}
        readers = [(each.name, read) for each in columns if (read := _reader(each)) is not None]
        rows = self._rows(file)
        while some := list(islice(rows, _BATCH_ROWS)):
            if self.ignore_unknown:
                some = [(at, {k: v for k, v in row.items() if k in known}) for at, row in some]
            for line, row in some:
                _read_values(row, readers, f"{file.name}:{line}")
            try:
                yield encoder.encode([row for _, row in some])
            except RowSchemaError as error:
                raise _misfit(file, some[error.index][0], error) from None

    def _rows(self, file: File) -> Iterator[tuple[int, Row]]:
        """Line number (1 = first) and row; empty lines are skipped."""
        with as_text(file, self.compression, self.encoding) as text:
            for number, line in enumerate(text, 1):
                if line.strip():
                    yield number, _parse(line, f"{file.name}:{number}")


def _parse(line: str, where: str) -> Row:
    try:
        row = _decode(line.rstrip("\r\n"))
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise SourceError(
            f"{where}: not one JSON object on a line: {reason}", stage="read"
        ) from None
    if not isinstance(row, dict):
        raise SourceError(
            f"{where}: a row must be a JSON object, this is a {type(row).__name__}", stage="read"
        )
    return row


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; write null")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
"""Made once: `json.loads` with an option makes a new decoder for each line."""


def _misfit(file: File, line: int, error: RowSchemaError) -> SourceError:
    return SourceError(
        f"{file.name}:{line}: column {error.column!r}: {error.message}. Columns come from the first "
        f"{_SAMPLE_ROWS:,} rows; set them with types={{…}}, or leave unknown keys out with "
        "ignore_unknown=True",
        stage="read",
    )


def _read_values(row: Row, readers: list[tuple[str, Callable[[Any], Any]]], where: str) -> None:
    for name, read in readers:
        value = row.get(name)
        if value is not None:
            try:
                row[name] = read(value)
            except (ValueError, ArithmeticError, TypeError, AttributeError):
                raise SourceError(
                    f"{where}: column {name!r}: the value is not of the column's type", stage="read"
                ) from None


def _reader(column: Column) -> Callable[[Any], Any] | None:
    """How a JSON value becomes the row's value; None = they are the same."""
    if column.mode == "REPEATED":
        single = _reader(Column(column.name, column.type, fields=column.fields))
        return None if single is None else lambda values: [single(value) for value in values]
    if column.type == STRUCT:
        inner = [(each.name, read) for each in column.fields if (read := _reader(each))]
        return (lambda value: _read_struct(value, inner)) if inner else None
    scalar = TYPES[column.type]
    return None if scalar.exact <= _JSON_CLASSES else scalar.from_json


def _read_struct(value: Row, readers: list[tuple[str, Callable[[Any], Any]]]) -> Row:
    changed = {name: read(value[name]) for name, read in readers if value.get(name) is not None}
    return value | changed
