"""Rows <-> Arrow record batches, strictly and fast: `RowDecoder` and `RowEncoder`."""

from __future__ import annotations

from dataclasses import dataclass
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etlkit.errors import RowSchemaError, SourceError
from etlkit.rows.codecs import (
    Codec,
    codec_for,
    limit_of,
    missing_value,
    row_maker,
    unknown_key,
)
from etlkit.rows.columns import arrow_schema
from etlkit.rows.refused import type_name
from etlkit.rows.types import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from etlkit.rows.columns import Column
    from etlkit.rows.row import Row


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A source batch and its values in Python.

    Attributes:
        batch: The decoder's columns in Arrow, in the decoder's order.
        values: One list per column, each as long as the batch: the objects that `rows` hold.
        rows: One dict per row, independent of each other; the transform may change them.
        reusable: (name, BigQuery type) -> position of each column whose values cannot be changed in
            place. If a row still holds the same object, Arrow still holds its value.
    """

    batch: pa.RecordBatch
    values: list[list[Any]]
    rows: list[Row]
    reusable: Mapping[tuple[str, str], int]


class RowDecoder:
    """Arrow -> rows. Make one per table and use it for all batches, from any thread.

    Args:
        columns: The columns of the rows, in order.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._codecs = [codec_for(column, column.name) for column in columns]
        self._make = row_maker(self._names) if columns else None
        self._reusable = {
            key: i for i, column in enumerate(columns) if (key := _reuse_key(column)) is not None
        }

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
        selected = self._select(batch)
        columns = zip(self._names, self._codecs, selected.columns, strict=True)
        values = [_decoded(name, codec, array) for name, codec, array in columns]
        rows = self._make(*values) if self._make else [{} for _ in range(batch.num_rows)]
        return DecodedBatch(selected, values, rows, self._reusable)

    def _select(self, batch: pa.RecordBatch) -> pa.RecordBatch:
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


def _decoded(name: str, codec: Codec, array: Any) -> list[Any]:
    try:
        return codec.decode(array)
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
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._known = frozenset(self._names)
        self._blank: Row = dict.fromkeys(self._names)
        self._reuse_keys = [_reuse_key(column) for column in columns]
        self._required = [column.mode == "REQUIRED" for column in columns]
        self._codecs = [codec_for(column, column.name) for column in columns]
        self._limits = [limit_of(column) for column in columns]
        self._getters = [itemgetter(name) for name in self._names]
        self._schema = arrow_schema(columns)

    def encode(self, rows: Sequence[Row], source: DecodedBatch | None = None) -> pa.RecordBatch:
        """Turn rows into one batch.

        Args:
            rows: n dicts; a missing key is NULL, or [] for an ARRAY.
            source: The batch that the rows were decoded from, if `rows[i]` came from its row i and
                n is its length. A column whose values are all untouched is taken from it. None =
                encode every column.

        Returns:
            A batch of n rows in the types of `etlkit.rows.columns.arrow_schema`.

        Raises:
            RowSchemaError: The first row that does not fit: it is not a dict, it has a key that is
                not a column or a value of a wrong type, or a REQUIRED column has no value. Has
                `column`, and `index`, the row's position in `rows`.
        """
        if source is not None and len(source.rows) != len(rows):
            raise ValueError(f"{len(rows)} rows cannot come from {len(source.rows)} source rows")
        try:
            return self._batch(rows, source)
        except RowSchemaError as error:
            # Whole columns are checked at once; rows are checked one by one only if a column is bad.
            first = next(self._refusals(rows), (0, error))[1]
        raise first

    def bad_rows(self, rows: Sequence[Row]) -> dict[int, RowSchemaError]:
        """Check rows one by one; gives the error of each bad row by its position in `rows`."""
        return dict(self._refusals(rows))

    def _refusals(self, rows: Sequence[Row]) -> Iterator[tuple[int, RowSchemaError]]:
        for index, row in enumerate(rows):
            try:
                self._batch((row,), None)
            except RowSchemaError as error:
                error.index = index
                yield index, error

    def _batch(self, rows: Sequence[Row], source: DecodedBatch | None) -> pa.RecordBatch:
        rows = _plain(rows)
        if not set(map(len, rows)) <= {len(self._names)}:
            self._check_keys(rows)
            rows = [self._blank | row for row in rows]
        try:
            arrays = [self._array(i, rows, source) for i in range(len(self._names))]
        except KeyError:
            # A row has as many keys as there are columns, but not the same ones.
            self._check_keys(rows)
            raise
        if not arrays:
            # from_arrays() would forget how many rows there are.
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _check_keys(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if not row.keys() <= self._known:
                key = next(key for key in row if key not in self._known)
                raise unknown_key(key, self._names, "")

    def _array(self, i: int, rows: Sequence[Row], source: DecodedBatch | None) -> Any:
        get = self._getters[i]
        key = self._reuse_keys[i]
        place = source.reusable.get(key) if source is not None and key is not None else None
        if source and place is not None and all(map(is_, map(get, rows), source.values[place])):
            array = source.batch.column(place)
            limit = self._limits[i]
            if limit is not None and (wrong := limit(array)) is not None:
                raise RowSchemaError(wrong, column=self._names[i])
        else:
            array = self._codecs[i].encode(list(map(get, rows)))
        if self._required[i] and array.null_count:
            raise missing_value(self._names[i])
        return array


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
