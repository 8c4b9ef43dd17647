"""JSON Lines files: one JSON object per line, checked line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.errors import RowSchemaError, SourceError
from etlkit.files.head import Head, read_heads
from etlkit.files.text import as_text
from etlkit.rows.batches import RowEncoder
from etlkit.rows.columns import Column, parse_schema
from etlkit.rows.inference import first_misfit, infer_columns
from etlkit.rows.json_values import parse_json
from etlkit.rows.numbers import WideNumber, decimal_from_json, float_from_wide
from etlkit.rows.refused import RefusedError
from etlkit.rows.types import STRUCT, TYPES, common_type

if TYPE_CHECKING:
    import pyarrow as pa

    from etlkit.files.file import File
    from etlkit.rows.row import Row

_SAMPLE_ROWS = 1000
_BATCH_ROWS = 1000
_DECIMALS = frozenset({"NUMERIC", "BIGNUMERIC"})
_EMPTY_LISTS = "JSON", "REPEATED"
"""Stands for a column that has only empty lists; no column of JSON Lines is really an ARRAY of JSON."""

_JSON_CLASSES = frozenset({bool, int, str})
"""JSON has these itself: columns of them need no conversion, only the encoder's check."""


@dataclass
class JsonlFormat:
    """JSON Lines as an `etlkit.files.reader.Format`. The options are those of `JsonlSource`."""

    guesses_columns: ClassVar[bool] = True
    types: Mapping[str, str]
    encoding: str
    compression: str
    ignore_unknown: bool
    _declared: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        self._declared = {column.name: column for column in parse_schema(self.types)}

    def columns(self, files: Sequence[File], limit: int | None) -> tuple[Column, ...]:
        """See `Format`."""
        found: dict[str, Column | None] = {}
        for head in read_heads(files, self._look, limit):
            for name, column in head.found.items():
                found[name] = _common(found.get(name), column)
        columns = {n: self._declared.get(n) or _decided(n, each) for n, each in found.items()}
        # A declared column that no row of the sample has may well come later.
        later = {name: each for name, each in self._declared.items() if name not in columns}
        return tuple((columns | later).values())

    def _look(self, file: File) -> Head[dict[str, Column | None]]:
        """The columns of the first rows; None = a column without any value in them."""
        sample = list(islice(self._rows(file), _SAMPLE_ROWS))
        rows = [row for _, row in sample]
        _make_numbers_alike(rows)
        try:
            found = infer_columns(rows, self._declared)
        except RowSchemaError as error:
            at = first_misfit(rows, lambda some: infer_columns(some, self._declared))
            raise SourceError(
                f"{file.name}:{sample[at][0]}: {error}; or set its type with types", stage="open"
            ) from None
        columns: dict[str, Column | None] = {each.name: each for each in found}
        for name in columns.keys() - self._declared.keys():
            values = [row[name] for row in rows if row.get(name) is not None]
            if not values:
                columns[name] = None
            elif all(value == [] for value in values):
                columns[name] = Column(name, *_EMPTY_LISTS)
        return Head(file, len(rows), columns)

    def batches(
        self,
        file: File,
        columns: tuple[Column, ...],
        *,
        is_checked: bool,  # noqa: ARG002 - what is made of Python values is checked on the way
    ) -> Iterator[pa.RecordBatch]:
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
        row = parse_json(line.rstrip("\r\n"))
    except RefusedError as error:
        raise SourceError(
            f"{where}: not one JSON object on a line: {error}", stage="read"
        ) from None
    if not isinstance(row, dict):
        raise SourceError(
            f"{where}: a row must be a JSON object, this is a {type(row).__name__}", stage="read"
        )
    return row


def _misfit(file: File, line: int, error: RowSchemaError) -> SourceError:
    return SourceError(
        f"{file.name}:{line}: column {error.column!r}: {error.message}. Columns come from the first "
        f"{_SAMPLE_ROWS:,} rows; set them with types={{…}}, or leave unknown keys out with "
        "ignore_unknown=True",
        stage="read",
    )


def _make_numbers_alike(rows: Sequence[Row]) -> None:
    """Where a key has numbers that no float keeps, turn all its floats into exact numbers.

    Where a float stands for each of them, because they were only printed with more digits than they
    need, they become floats.
    """
    wide = {name for row in rows for name, value in row.items() if isinstance(value, WideNumber)}
    for name in wide:
        holders = [row for row in rows if name in row]
        try:
            values = [float_from_wide(row[name]) for row in holders]
        except RefusedError:
            values = [_exact(row[name]) for row in holders]
        for row, value in zip(holders, values, strict=True):
            row[name] = value


def _exact(value: Any) -> Any:
    return decimal_from_json(value) if isinstance(value, float) else value


def _common(one: Column | None, other: Column | None) -> Column | None:
    """The column that holds the values of two; None = both have no value."""
    if one is None or other is None or one == other:
        return one or other
    kind = None
    if one.mode == other.mode and STRUCT not in {one.type, other.type}:
        if one.mode == "REPEATED" and "JSON" in {one.type, other.type}:
            return other if one.type == "JSON" else one
        kind = common_type(one.type, other.type)
        if {one.type, other.type} & _DECIMALS and "FLOAT64" in {one.type, other.type}:
            kind = "BIGNUMERIC"  # floats of JSON are decimal text
    if kind is None:
        return Column(one.name, "JSON")  # which holds whatever JSON has
    return Column(one.name, kind, one.mode)


def _decided(name: str, found: Column | None) -> Column:
    """The column for what was found in all files, by the rules for new columns."""
    if found is None:
        return Column(name, "STRING")
    return Column(name, "JSON") if (found.type, found.mode) == _EMPTY_LISTS else found


def _read_values(row: Row, readers: list[tuple[str, Callable[[Any], Any]]], where: str) -> None:
    for name, read in readers:
        value = row.get(name)
        if value is not None:
            try:
                row[name] = read(value)
            except RefusedError as error:
                raise SourceError(f"{where}: column {name!r}: {error}", stage="read") from None
            except Exception:
                raise SourceError(
                    f"{where}: column {name!r}: the value is not of the column's type", stage="read"
                ) from None


def _reader(column: Column) -> Callable[[Any], Any] | None:
    """How a JSON value becomes the row's value; None = they are the same."""
    if column.mode == "REPEATED":
        single = _reader(Column(column.name, column.type, fields=column.fields))
        return None if single is None else partial(_read_list, single)
    if column.type == STRUCT:
        inner = [(each.name, read) for each in column.fields if (read := _reader(each))]
        return (lambda value: _read_struct(value, inner)) if inner else None
    if column.type == "FLOAT64":
        return float_from_wide
    scalar = TYPES[column.type]
    return None if scalar.exact <= _JSON_CLASSES else scalar.from_json


def _read_list(read: Callable[[Any], Any], values: Any) -> Any:
    # Text is iterable too; the encoder says that it is not a list.
    return list(map(read, values)) if isinstance(values, list) else values


def _read_struct(value: Row, readers: list[tuple[str, Callable[[Any], Any]]]) -> Row:
    changed = {name: read(value[name]) for name, read in readers if value.get(name) is not None}
    return value | changed
