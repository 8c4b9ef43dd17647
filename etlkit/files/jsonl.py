"""JSON Lines: one object a line, checked line by line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from etlkit.errors import RowSchemaError, SourceError
from etlkit.files.text import as_text
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import Column, parse_schema
from etlkit.rows.inference import infer_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.files.file import File
    from etlkit.files.source import JsonlSource
    from etlkit.rows.row import Row

_SAMPLE_ROWS = 1000
_BATCH_ROWS = 1000


class JsonlFormat:
    """See `etlkit.files.reader.Format`."""

    def __init__(self, source: JsonlSource) -> None:
        self._source = source
        self._said = {column.name: column for column in parse_schema(source.types)}

    def columns(self, file: File) -> tuple[Column, ...]:
        """See `Format`."""
        rows = [row for _, row in islice(self._rows(file), _SAMPLE_ROWS)]
        try:
            found = {each.name: each for each in infer_columns(rows, self._said)}
        except RowSchemaError as error:
            raise SourceError(
                f"{file.name}: {error}; or say its type in types", stage="open"
            ) from None
        # A declared column that no row of the sample has may well come later.
        return tuple((found | {k: v for k, v in self._said.items() if k not in found}).values())

    def batches(self, file: File, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
        """See `Format`."""
        encoder, known = RowEncoder(columns), {column.name for column in columns}
        readers = [(each.name, read) for each in columns if (read := _reader(each)) is not None]
        rows = self._rows(file)
        while some := list(islice(rows, _BATCH_ROWS)):
            if self._source.ignore_unknown:
                some = [(at, {k: v for k, v in row.items() if k in known}) for at, row in some]
            for line, row in some:
                _read_values(row, readers, f"{file.name}:{line}")
            try:
                yield encoder.encode([row for _, row in some])
            except RowSchemaError as error:
                raise _misfit(file, some[error.index][0], error) from None

    def _rows(self, file: File) -> Iterator[tuple[int, Row]]:
        """Line number (1 = first) and row; empty lines are no rows."""
        with as_text(file, self._source.compression, self._source.encoding) as text:
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
            f"{where}: a row has to be a JSON object, this is a {type(row).__name__}", stage="read"
        )
    return row


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; write null")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
"""Made once: `json.loads` with an option makes a decoder for each line."""


def _misfit(file: File, line: int, error: RowSchemaError) -> SourceError:
    return SourceError(
        f"{file.name}:{line}: column {error.column!r}: {error.message}. Columns come from the first "
        f"{_SAMPLE_ROWS:,} rows; say them with types={{…}}, or leave unknown keys out with "
        "ignore_unknown=True",
        stage="read",
    )


def _read_values(row: Row, readers: list[tuple[str, Callable[[Any], Any]]], where: str) -> None:
    for name, read in readers:
        if row.get(name) is not None:
            try:
                row[name] = read(row[name])
            except (ValueError, ArithmeticError, TypeError, AttributeError):
                raise SourceError(
                    f"{where}: column {name!r}: the value is not what types says", stage="read"
                ) from None


def _reader(column: Column) -> Callable[[Any], Any] | None:
    """What turns JSON's value into the row's; None = they are the same."""
    if column.mode == "REPEATED":
        single = _reader(Column(column.name, column.type, fields=column.fields))
        return None if single is None else lambda values: [single(value) for value in values]
    if column.type == "STRUCT":
        inner = [(each.name, read) for each in column.fields if (read := _reader(each))]
        return (lambda value: _read_struct(value, inner)) if inner else None
    return _READERS.get(column.type)


def _read_struct(value: Row, readers: list[tuple[str, Callable[[Any], Any]]]) -> Row:
    changed = {name: read(value[name]) for name, read in readers if value.get(name) is not None}
    return value | changed


def _decimal(value: Any) -> Any:
    # repr: a float in JSON is decimal text, and its shortest form is that text again.
    return Decimal(value if isinstance(value, str) else repr(value))


def _timestamp(value: str) -> datetime:
    at = datetime.fromisoformat(value)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


_READERS: dict[str, Callable[[Any], Any]] = {
    "NUMERIC": _decimal,
    "BIGNUMERIC": _decimal,
    "BYTES": lambda value: base64.b64decode(value, validate=True),
    "DATE": date.fromisoformat,
    "DATETIME": datetime.fromisoformat,
    "TIME": time.fromisoformat,
    "TIMESTAMP": _timestamp,
}
