"""CSV files: types from the first rows, batches, and errors with the line number."""

from __future__ import annotations

import codecs
import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, cast

import pyarrow as pa
import pyarrow.csv as pacsv

from etlkit.errors import ConfigError, SourceError
from etlkit.files.csv_cells import (
    BadCellError,
    autodetect_names,
    from_text,
    guess_type,
    misfit,
    parsed_type,
    possible_types,
)
from etlkit.files.csv_quotes import QuoteWatch
from etlkit.files.file import CHANGED
from etlkit.files.file_columns import check_declared, other_columns
from etlkit.files.head import Head, read_heads
from etlkit.files.text import Utf8Stream, as_text, not_in_encoding, opened
from etlkit.files.throttle import Throttle
from etlkit.rows.columns import Column, parse_schema
from etlkit.rows.types import STRUCT

if TYPE_CHECKING:
    from etlkit.files.file import File

_SAMPLE_ROWS = 1000
_BLOCK_BYTES = 4 << 20
"""How much is parsed at once; a row must fit."""

_TRUE = ["true", "True", "TRUE", "t", "T", "yes", "Yes", "YES", "y", "Y", "1"]
_FALSE = ["false", "False", "FALSE", "f", "F", "no", "No", "NO", "n", "N", "0"]
"""https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-csv#data_types"""

_QUOTES = {
    "expected after": "there is text behind a closing quote; a quote inside a quoted cell is written "
    "twice, and quote=None gives quotes no meaning",
    "unexpected end": "the file ends inside a quoted cell; is it cut off, or is a quote missing?",
}
"""Wording of Python's csv -> ours; tests fail if it changes."""

_EMPTY = "Empty CSV file"
_ROW = re.compile(r"In CSV column #(?P<column>\d+): Row #(?P<row>\d+): ")
"""pyarrow's wording; tests fail if it changes."""


class _CsvHead(NamedTuple):
    """What the head of a CSV file says.

    Attributes:
        names: Its columns; None = it has no names.
        possible: For each column, the types that its cells look like.
    """

    names: list[str] | None
    possible: list[frozenset[str]]

    @property
    def width(self) -> int:
        """How many columns it has; 0 = it is empty."""
        return len(self.possible)


def _check_names(heads: Sequence[Head[_CsvHead]], names: Sequence[str]) -> None:
    """Raise unless all files have these names, in any order."""
    for head in heads[1:]:
        own = head.found.names or []
        if len(own) != len(names) or set(own) != set(names):
            raise other_columns(head.file, own, heads[0].file, names)


def _common_types(heads: Sequence[Head[_CsvHead]]) -> list[str]:
    """The type of each column of the first file, from the cells of all files."""
    first, *others = (head.found for head in heads)
    possible = list(first.possible)
    for other in others:
        places = (
            range(other.width) if other.names is None else map(other.names.index, first.names or [])
        )
        for place, own in zip(range(first.width), places, strict=False):
            possible[place] &= other.possible[own]
    return [guess_type(each) for each in possible]


@dataclass
class CsvFormat:
    """CSV as an `etlkit.files.reader.Format`. The options are those of `CsvSource`.

    Raises:
        ConfigError: A type that a CSV cell cannot hold.
    """

    guesses_columns: ClassVar[bool] = True
    types: Mapping[str, str]
    header: bool
    column_names: Sequence[str] | None
    delimiter: str
    quote: str | None
    encoding: str
    compression: str
    null_values: Sequence[str]
    _declared: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        self._declared = {column.name: column for column in parse_schema(self.types)}
        for column in self._declared.values():
            if column.mode == "REPEATED" or column.type == STRUCT:
                raise ConfigError(f"column {column.name!r}: a CSV cell cannot hold {column.ddl}")

    def columns(self, files: Sequence[File], limit: int | None) -> tuple[Column, ...]:
        """See `Format`."""
        heads = [head for head in read_heads(files, self._look, limit) if head.found.width]
        if not heads:
            raise SourceError(
                f"{files[0].name} is empty, and columns come from the first row; set them with "
                "column_names",
                stage="open",
            )
        names = heads[0].found.names
        if names is not None:
            _check_names(heads, names)
        types = _common_types(heads)
        if names is None:
            names = autodetect_names(types)
        check_declared(self._declared, names, heads[0].file)
        pairs = zip(names, types, strict=True)
        return tuple(self._declared.get(name) or Column(name, kind) for name, kind in pairs)

    def _look(self, file: File) -> Head[_CsvHead]:
        with self._records(file) as records:
            header = next(records, None) if self.header else None
            rows = list(islice(records, _SAMPLE_ROWS))
        names = self._names(file, header)
        width = len(names) if names is not None else max(map(len, rows), default=0)
        possible = [possible_types(self._cells(rows, place)) for place in range(width)]
        return Head(file, len(rows), _CsvHead(names, possible))

    def _cells(self, rows: Sequence[list[str]], place: int) -> Iterator[str]:
        null = set(self.null_values) | {""}
        cells = (row[place] for row in rows if place < len(row))
        return (cell for cell in cells if cell not in null)

    def _names(self, file: File, header: list[str] | None) -> list[str] | None:
        """The names of a file's columns, in the file's order; None = it has no names."""
        if self.column_names is not None:
            names = list(self.column_names)
            if header is not None and len(header) != len(names):
                raise ConfigError(
                    f"column_names has {len(names)} names, {file.name} has {len(header)} columns"
                )
            return names
        return header

    def batches(
        self, file: File, columns: tuple[Column, ...], *, is_checked: bool
    ) -> Iterator[pa.RecordBatch]:
        """See `Format`."""
        names = self._own_order(file, columns)
        if names is None:
            return
        bad: list[pacsv.InvalidRow] = []
        row_number = int(self.header)
        quotes = None
        if self.quote is not None and not is_checked:
            quotes = QuoteWatch(self.quote, self.delimiter)
        with opened(file, self.compression) as stream:
            throttle = Throttle(self._as_utf8(stream), _BLOCK_BYTES, quotes)
            try:
                for batch in _read(throttle, self._options(names, columns, bad)):
                    if quotes is not None and quotes.is_odd:
                        self._check_quotes(file)
                        quotes = None
                    try:
                        yield from_text(batch, columns, is_checked=is_checked)
                    except BadCellError as error:
                        self._refuse(file, row_number + error.index + 1, error.message)
                    row_number += batch.num_rows
            except pa.ArrowInvalid as error:
                self._explain(file, columns, bad, error)
            except UnicodeDecodeError as error:
                raise not_in_encoding(file, self.encoding) from error
        if quotes is not None and quotes.is_open:
            self._check_quotes(file)

    def _as_utf8(self, stream: IO[bytes]) -> IO[bytes]:
        if _is_utf8(self.encoding):
            return stream
        return cast("IO[bytes]", Utf8Stream(stream, self.encoding))

    def _check_quotes(self, file: File) -> None:
        """Refuse what pyarrow reads although a quote is wrong: `"a"b` as `ab`, an open cell to the end.

        Quotes in the middle of an unquoted cell are fine.
        """
        with as_text(file, self.compression, self.encoding) as text, _large_cells():
            reader, line = csv.reader(text, strict=True, **self._dialect()), 1
            try:
                for _ in reader:
                    line = reader.line_num + 1
            except csv.Error as error:
                reason = next((why for what, why in _QUOTES.items() if what in str(error)), None)
                if reason is not None:
                    raise SourceError(f"{file.name}:{line}: {reason}", stage="read") from None

    def _own_order(self, file: File, columns: tuple[Column, ...]) -> list[str] | None:
        """The columns' names in the order of this file's cells; None = the file has no rows."""
        wanted = [column.name for column in columns]
        if not self.header:
            return wanted
        with self._records(file) as records:
            header, first_row = next(records, None), next(records, None)
        if header is None:
            return None
        names = self._names(file, header) or []
        if len(names) != len(wanted) or set(names) != set(wanted):
            raise SourceError(f"{file.name} {CHANGED}", stage="read")
        # pyarrow takes a header without a line end for a row that is too long.
        return None if first_row is None else names

    def _options(
        self, names: list[str], columns: tuple[Column, ...], bad: list[pacsv.InvalidRow]
    ) -> tuple[Any, Any, Any]:
        def refuse(row: pacsv.InvalidRow) -> str:
            bad.append(row)
            return "error"

        read = pacsv.ReadOptions(
            use_threads=False,  # pyarrow counts rows only without threads
            block_size=_BLOCK_BYTES,
            column_names=names,
            skip_rows_after_names=int(self.header),
        )
        parse = pacsv.ParseOptions(
            delimiter=self.delimiter,
            quote_char=self.quote or False,
            newlines_in_values=self.quote is not None,
            invalid_row_handler=refuse,
        )
        convert = pacsv.ConvertOptions(
            column_types={column.name: parsed_type(column) for column in columns},
            include_columns=[column.name for column in columns],
            null_values=list(self.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=_TRUE,
            false_values=_FALSE,
        )
        return read, parse, convert

    def _explain(
        self, file: File, columns: tuple[Column, ...], bad: list[pacsv.InvalidRow], error: Exception
    ) -> NoReturn:
        """Say what pyarrow could not read: file and line, but not the value."""
        text = str(error)
        if bad:
            row = bad[0]
            reason = f"{row.actual_columns} cells, but there are {row.expected_columns} columns"
            reason += "; is a quote missing?" if "\n" in row.text else ""
            self._refuse(file, row.number, reason)
        if "straddl" in text:
            raise SourceError(
                f"{file.name}: a row is longer than {_BLOCK_BYTES:,} bytes; is a quote missing, or is "
                "`quote` wrong?",
                stage="read",
            ) from error
        if "invalid UTF8" in text:
            raise not_in_encoding(file, self.encoding) from error
        at = _ROW.search(text)
        column = columns[int(at["column"])] if at is not None and at["column"] else None
        if at is None or column is None:
            raise SourceError(f"{file.name} cannot be read as CSV", stage="read") from error
        self._refuse(file, int(at["row"]), misfit(column))

    def _refuse(self, file: File, row_number: int, reason: str) -> NoReturn:
        where = self._line(file, row_number)
        raise SourceError(f"{file.name}{where}: {reason}", stage="read") from None

    def _line(self, file: File, row_number: int) -> str:
        """The line where a row begins; pyarrow only counts rows, and skips empty lines."""
        try:
            with (
                as_text(file, self.compression, self.encoding) as text,
                _large_cells(),
            ):
                reader, line, seen = csv.reader(text, **self._dialect()), 1, 0
                for record in reader:
                    seen += bool(record)
                    if seen == row_number:
                        return f":{line}"
                    line = reader.line_num + 1
        except (csv.Error, SourceError):
            pass
        return f", row {row_number}"

    @contextmanager
    def _records(self, file: File) -> Iterator[Iterator[list[str]]]:
        with as_text(file, self.compression, self.encoding) as text, _large_cells():
            try:
                yield (record for record in csv.reader(text, **self._dialect()) if record)
            except csv.Error as error:
                raise SourceError(
                    f"{file.name} cannot be read as CSV: {error}", stage="open"
                ) from error

    def _dialect(self) -> dict[str, Any]:
        quote = self.quote
        plain: dict[str, Any] = (
            {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}
        )
        return {"delimiter": self.delimiter, **plain}


def _read(throttle: Throttle, options: tuple[Any, Any, Any]) -> Iterator[pa.RecordBatch]:
    try:
        with throttle.wanted():
            try:
                throttle.reader = pacsv.open_csv(throttle, *options)
            except pa.ArrowInvalid as error:
                if str(error) == _EMPTY:
                    return
                raise
        while (batch := throttle.next_batch()) is not None:
            yield batch
    finally:
        throttle.end()
        throttle.reader = None


@contextmanager
def _large_cells() -> Iterator[None]:
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}
