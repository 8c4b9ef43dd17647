"""Rows <-> Arrow record batches, strictly and fast: `RowDecoder` and `RowEncoder`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etlkit.errors import RowSchemaError, SourceError
from etlkit.rows.codecs import (
    codec_for,
    limit_of,
    missing_value,
    unknown_key,
)
from etlkit.rows.columns import arrow_schema
from etlkit.rows.refused import type_name
from etlkit.rows.row_code import row_maker, same_values
from etlkit.rows.types import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row

_LOOK_AGAIN_AFTER = 50
"""Batches after which each column is looked at again: one that was changed in a few rows once may be
untouched since."""


def as_one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of the rows of several, at least one, of the same columns."""
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


@dataclass(frozen=True)
class DecodedBatch:
    """A source batch and its values in Python.

    Attributes:
        batch: The decoder's columns in Arrow, in the decoder's order.
        names: Their names.
        values: One list per column, each as long as the batch: the objects that rows hold.
        reusable: (name, BigQuery type) -> position of each column whose values cannot be changed in
            place. If a row still holds the same object, Arrow still holds its value.
    """

    batch: pa.RecordBatch
    names: tuple[str, ...]
    values: list[list[Any]]
    reusable: Mapping[tuple[str, str], int]

    @cached_property
    def rows(self) -> list[Row]:
        """One dict per row, independent of each other, made when they are first asked for.

        The transform may change them.
        """
        if not self.names:
            return [{} for _ in range(self.batch.num_rows)]
        return row_maker(self.names)(*self.values)

    def row(self, index: int) -> Row:
        """One row, made anew each time; lists and dicts in it are those of `values`."""
        return dict(zip(self.names, [column[index] for column in self.values], strict=True))

    def tuples(
        self, start: int = 0, stop: int | None = None, more: Sequence[Any] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """The values of each row in `names`' order; a tuple of one None for rows without columns.

        Args:
            start: The first row.
            stop: The row after the last one; None = all rows.
            more: One more value for each of these rows; None = there is none.
        """
        num_rows = len(range(self.batch.num_rows)[start:stop])
        columns: list[Any] = self.values
        if num_rows < self.batch.num_rows:
            columns = [column[start:stop] for column in columns]
        columns = [*(columns or [repeat(None, num_rows)]), *(() if more is None else (more,))]
        return zip(*columns)  # noqa: B905 - they are of the same length


class RowDecoder:
    """Arrow -> rows. Make one per table and use it for all batches, from any thread.

    Args:
        columns: The columns of the rows, in order.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._keys = tuple(self._names)
        self._codecs = [codec_for(column, column.name) for column in columns]
        self._reusable = {
            key: i for i, column in enumerate(columns) if (key := _reuse_key(column)) is not None
        }
        self._taken: pa.Schema | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return self._names

    def decode(self, batch: pa.RecordBatch) -> DecodedBatch:
        """Turn a batch into rows.

        Args:
            batch: Has at least the decoder's columns, which are found by name, in the types of
                `etlkit.rows.columns.arrow_type`.

        Returns:
            Native values: JSON is parsed (None for JSON null and for NULL), TIMESTAMP has the
            timezone UTC, a NULL ARRAY is [].

        Raises:
            SourceError: A column is missing or has another Arrow type, or a value of it cannot be
                read, e.g. a time outside of the years that Python has.
        """
        # Names and types are those of the last batch, mostly. With many columns it costs a good part of
        # the time to look at each again.
        schema, taken = batch.schema, self._taken
        is_known = taken is not None and schema.equals(taken)
        if not is_known:
            batch = self.select(batch)
            schema = batch.schema
            is_known = taken is not None and schema.equals(taken)
        codecs = zip(self._names, self._codecs, batch.columns, strict=True)
        values = [
            _decoded(name, codec.read if is_known else codec.decode, array)
            for name, codec, array in codecs
        ]
        self._taken = schema
        return DecodedBatch(batch, self._keys, values, self._reusable)

    def select(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The decoder's columns of a batch, in the decoder's order.

        Raises:
            SourceError: A column is missing.
        """
        names = batch.schema.names
        if names == self._names:
            return batch
        sent = set(names)
        missing = [name for name in self._names if name not in sent]
        if missing:
            raise SourceError(
                f"the source sent no column {missing[0]!r}; it sent {', '.join(names) or 'none'}",
                stage="read",
            )
        return batch.select(self._names)


def _decoded(name: str, decode: Callable[[Any], list[Any]], array: Any) -> list[Any]:
    try:
        return decode(array)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise SourceError(
            f"column {name!r}: a value cannot be read from Arrow {array.type} "
            f"({type_name(type(error))})",
            stage="read",
        ) from error


class RowEncoder:
    """Rows -> Arrow. It refuses values that BigQuery would not store unchanged.

    Args:
        columns: The columns of the batches, in order.
        all_names: The columns that an error tells of; None = these.
    """

    def __init__(self, columns: Sequence[Column], all_names: Sequence[str] | None = None) -> None:
        self._names = [column.name for column in columns]
        self._all_names = self._names if all_names is None else all_names
        self._known = frozenset(self._names)
        self._blank: Row = dict.fromkeys(self._names)
        self._reuse_keys = [_reuse_key(column) for column in columns]
        self._required = [column.mode == "REQUIRED" for column in columns]
        self._codecs = [codec_for(column, column.name) for column in columns]
        self._limits = [limit_of(column) for column in columns]
        self._getters = [itemgetter(name) for name in self._names]
        self._schema = arrow_schema(columns)
        self._untouched: tuple[int, ...] = ()
        self._until_next_look = 0

    def encode(
        self,
        rows: Sequence[Row],
        source: DecodedBatch | None = None,
        positions: Sequence[int] | None = None,
    ) -> pa.RecordBatch:
        """Turn rows into one batch.

        Args:
            rows: n dicts; a missing key is NULL, or [] for an ARRAY.
            source: The batch that the rows were decoded from. A column whose values are all untouched
                is taken from it. None = encode every column.
            positions: The row of `source` that each row came from; None = `rows[i]` came from its row
                i, and n is its length.

        Returns:
            A batch of n rows in the types of `etlkit.rows.columns.arrow_schema`.

        Raises:
            RowSchemaError: The first row that does not fit: it is not a dict, it has a key that is
                not a column or a value of a wrong type, or a REQUIRED column has no value. Has
                `column`, and `index`, the row's position in `rows`.
        """
        arrays = self.encode_touched(rows, source, positions)
        if not arrays:
            # from_arrays() would forget how many rows there are.
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        if source is not None:
            taken = source.batch
            if positions is not None:
                taken = taken.take(pa.array(positions, pa.int64()))
            arrays = [
                taken.column(name) if array is None else array
                for name, array in zip(self._names, arrays, strict=True)
            ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def encode_touched(
        self,
        rows: Sequence[Row],
        source: DecodedBatch | None = None,
        positions: Sequence[int] | None = None,
        *,
        are_plain: bool = False,
    ) -> list[Any]:
        """As `encode`, one array per column; None = it is untouched, and `source` has it.

        Args:
            rows: As `encode`.
            source: As `encode`.
            positions: As `encode`.
            are_plain: Each row is known to be a dict of no other class.

        Raises:
            RowSchemaError: As `encode`.
        """
        if source is not None and (
            source.batch.num_rows if positions is None else len(positions)
        ) != len(rows):
            raise ValueError(
                f"{len(rows)} rows cannot come from {source.batch.num_rows} source rows"
            )
        origin = None if source is None or not rows else _Origin(source, positions)
        try:
            return self._arrays(rows if are_plain else _plain(rows), origin)
        except RowSchemaError as error:
            # Whole columns are checked at once; rows are checked one by one only if a column is bad.
            first = next(self._refusals(rows), (0, error))[1]
        raise first

    @property
    def untouched(self) -> tuple[int, ...]:
        """Positions of the columns that were untouched in the rows that were looked at last."""
        return self._untouched

    @property
    def looks_at_untouched(self) -> bool:
        """Whether some column may refuse values that are untouched, because of its length or a null."""
        return any(self._required) or any(limit is not None for limit in self._limits)

    def reusable_name(self, i: int, source: DecodedBatch) -> int | None:
        """Position in `source.names` of the column that is reused for column `i`; None = none is."""
        return _Origin(source, None).place(self._reuse_keys[i])

    def encode_columns(
        self,
        values: Mapping[int, Sequence[Any]],
        source: DecodedBatch,
        positions: Sequence[int] | None = None,
    ) -> list[Any]:
        """As `encode_touched`, of values by column; the other columns are known to be untouched.

        Args:
            values: By position of the column.
            source: As `encode`.
            positions: As `encode`; not needed unless `looks_at_untouched`.

        Raises:
            RowSchemaError: A value does not fit; it is not known which.
        """
        origin, arrays = _Origin(source, positions), list[Any]()
        for i, codec in enumerate(self._codecs):
            if i not in values:
                self._check_reused(i, origin)
                arrays.append(None)
                continue
            arrays.append(array := codec.encode(values[i]))
            if self._required[i] and array.null_count:
                raise missing_value(self._names[i])
        return arrays

    def bad_rows(self, rows: Sequence[Row]) -> dict[int, RowSchemaError]:
        """Check rows one by one; gives the error of each bad row by its position in `rows`."""
        return dict(self._refusals(rows))

    def _refusals(self, rows: Sequence[Row]) -> Iterator[tuple[int, RowSchemaError]]:
        for index, row in enumerate(rows):
            try:
                self._arrays(_plain((row,)), None)
            except RowSchemaError as error:
                error.index = index
                yield index, error

    def _arrays(self, rows: Sequence[Row], origin: _Origin | None) -> list[Any]:
        try:
            untouched = () if origin is None else self._still_untouched(rows, origin)
            if not untouched:
                rows = self._complete(rows)
                untouched = () if origin is None else self._find_untouched(rows, origin)
            arrays: list[Any] = []
            for i, get in enumerate(self._getters):
                if origin is not None and i in untouched:
                    self._check_reused(i, origin)
                    arrays.append(None)
                    continue
                arrays.append(array := self._codecs[i].encode(list(map(get, rows))))
                if self._required[i] and array.null_count:
                    raise missing_value(self._names[i])
        except KeyError:
            # A row has as many keys as there are columns, but not the same ones.
            self._check_keys(rows)
            raise
        return arrays

    def _complete(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows that have a key for each column."""
        if not set(map(len, rows)) <= {len(self._names)}:
            self._check_keys(rows)
            rows = [self._blank | row for row in rows]
        return rows

    def _still_untouched(self, rows: Sequence[Row], origin: _Origin) -> tuple[int, ...]:
        """The columns that were untouched the last time if all of them are, and rows are complete.

        What a transform leaves alone in some rows, it mostly leaves alone in all. So those columns are
        compared in one pass; each by itself only where that fails, and now and then.
        """
        self._until_next_look -= 1
        expected = self._untouched  # read once: several workers may use one encoder
        if not expected or self._until_next_look < 0:
            return ()
        keys = [self._reuse_keys[i] for i in expected]
        columns = [origin.values(place) for key in keys if (place := origin.place(key)) is not None]
        if len(columns) < len(keys):
            return ()
        names = tuple(self._names[i] for i in expected)
        return expected if same_values(names, len(self._names))(rows, columns) else ()

    def _find_untouched(self, rows: Sequence[Row], origin: _Origin) -> tuple[int, ...]:
        """Positions of the columns whose values are all those that the rows were made of."""
        found = tuple(i for i in range(len(self._names)) if self._is_untouched(i, rows, origin))
        self._untouched, self._until_next_look = found, _LOOK_AGAIN_AFTER
        return found

    def _is_untouched(self, i: int, rows: Sequence[Row], origin: _Origin) -> bool:
        place = origin.place(self._reuse_keys[i])
        return place is not None and all(
            map(is_, map(self._getters[i], rows), origin.values(place))
        )

    def _check_keys(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if not row.keys() <= self._known:
                key = next(key for key in row if key not in self._known)
                raise unknown_key(key, self._all_names, "")

    def _check_reused(self, i: int, origin: _Origin) -> None:
        """Raise if the target's column cannot hold the values of a source column."""
        limit = self._limits[i]
        if limit is None and not self._required[i]:
            return
        array = origin.array(self._reuse_keys[i])
        if limit is not None and (wrong := limit(array)) is not None:
            raise RowSchemaError(wrong, column=self._names[i])
        if self._required[i] and array.null_count:
            raise missing_value(self._names[i])


class _Origin:
    """The source rows that rows were made of, in the order of those rows."""

    def __init__(self, source: DecodedBatch, positions: Sequence[int] | None) -> None:
        self._source = source
        self._positions = positions

    def place(self, key: tuple[str, str] | None) -> int | None:
        """The position of the column that may be reused; None = there is none."""
        return None if key is None else self._source.reusable.get(key)

    def values(self, place: int) -> Iterable[Any]:
        """The objects of a column that the rows were made of."""
        values = self._source.values[place]
        return values if self._positions is None else map(values.__getitem__, self._positions)

    def array(self, key: tuple[str, str] | None) -> Any:
        """The column in Arrow."""
        array = self._source.batch.column(self.place(key))
        return (
            array if self._positions is None else array.take(pa.array(self._positions, pa.int64()))
        )


def _reuse_key(column: Column) -> tuple[str, str] | None:
    """What a source column must have in common to be reused for this one; None = never reuse it."""
    if column.fields or column.mode == "REPEATED" or TYPES[column.type].is_mutable:
        return None
    return column.name, column.type


def _plain(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows as plain dicts: a defaultdict would create the keys that are looked up."""
    if set(map(type, rows)) <= {dict}:
        return rows
    for row in rows:
        if not isinstance(row, dict):
            raise RowSchemaError(f"a row is a {type_name(type(row))}; it must be a dict")
    return [dict(row) for row in rows]


def no_rows(columns: Sequence[Column]) -> pa.RecordBatch:
    """A batch of these columns without rows."""
    schema = arrow_schema(columns)
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
