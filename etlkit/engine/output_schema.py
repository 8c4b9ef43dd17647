"""The output schema: where each output column comes from, and how batches are built from it."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from etlkit.api.outcomes import KnownKeys
from etlkit.api.sink import PART, PARTS
from etlkit.api.source import ROW_ID
from etlkit.engine.transform_spec import refuse_conversions
from etlkit.errors import ConfigError, RowSchemaError
from etlkit.rows.arrow_columns import holds
from etlkit.rows.batches import RowDecoder, RowEncoder
from etlkit.rows.casts import MisfitError, cast, check
from etlkit.rows.codecs import limit_of, missing_value, unknown_key
from etlkit.rows.columns import Column, arrow_schema, check_names, is_nested
from etlkit.rows.flat_lists import flat_fields
from etlkit.rows.frozen import copied, freezer
from etlkit.rows.inference import infer_columns

if TYPE_CHECKING:
    from etlkit.engine.chunk import Chunk
    from etlkit.rows.row import Row

Parts: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""Part and number of parts of each target row."""

_ID_FIELDS = [(ROW_ID, pa.string()), (PART, pa.int64()), (PARTS, pa.int64())]

_OF_SOURCE = (
    "The source's column {name} is {type}, and keeps that type unless output_schema says another"
)
_OF_TARGET = "The target's column {name} is {type}"
_OF_ROWS = "The first rows with a value made {name} {type}; output_schema can say another type"
_DECLARED = "output_schema says {name} {type}"


class OutputSchema:
    """The output columns, and which of them pass through from the source in Arrow.

    Args:
        columns: The output columns, in order.
        passing: Source columns that the transform does not read, by name.
        undecided: Keys without a value in any row so far; the first value decides their type.
        origins: Where the type of a column comes from, by name, as a sentence says it; a column that
            is not there is declared.

    Attributes:
        keys: What is known of the keys of rows.
        drops_unknown: Whether columns that are not here are left out of results in Arrow.
        made_names: Names of the columns that do not pass through, in order.
        flat: Those of them whose lists can be taken apart, each with the fields of `FlatLists`.

    Raises:
        ConfigError: A name breaks a rule of BigQuery, or a passing column would need a cast.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        passing: Mapping[str, Column],
        undecided: Collection[str] = (),
        origins: Mapping[str, str] | None = None,
    ) -> None:
        check_names(columns)
        self._origins = dict(origins or {})
        self.undecided: frozenset[str] = frozenset(undecided)
        refuse_conversions(columns, passing)
        self.columns = columns
        self._passing = passing
        made = [column for column in columns if column.name not in passing]
        self._limited_passing = [
            column
            for column in columns
            if column.name in passing and (column.mode == "REQUIRED" or limit_of(column))
        ]
        self._made = {column.name for column in made}
        self._made_by_name = {column.name: column for column in made}
        self.drops_unknown = False
        nested = {c.name: freezer(c) for c in made if is_nested(c)}
        self.keys: KnownKeys = KnownKeys(
            frozenset(self._made | self.undecided),
            nested | dict.fromkeys(sorted(self.undecided), copied),
        )
        self.flat: dict[str, tuple[str, ...]] = {
            c.name: fields for c in made if (fields := flat_fields(c)) is not None
        }
        self.encoder: RowEncoder = RowEncoder(made, [column.name for column in columns])
        self._made_columns = made
        self.made_names: list[str] = [column.name for column in made]
        self.schema = pa.schema([*_ID_FIELDS, *arrow_schema(columns)])
        self._names = [ROW_ID, PART, PARTS, *(column.name for column in columns)]

    @classmethod
    def inferred(
        cls,
        source: Sequence[Column],
        passing: Mapping[str, Column],
        target: Sequence[Column],
        sample: Sequence[Row],
        *,
        wait_for_values: bool,
    ) -> OutputSchema:
        """Infer a schema: source columns keep their type, others get the target's or an inferred one.

        Args:
            source: The source's columns.
            passing: Those of them that the transform does not read, by name.
            target: Columns of the existing target.
            sample: Rows the transform returned; a source column that none of them has is dropped.
            wait_for_values: Leave new keys without any value undecided; else they are STRING.
        """
        known = {column.name: column for column in (*target, *source)}
        found = infer_columns(sample, known)
        undecided: set[str] = set()
        if wait_for_values:
            new = {column.name for column in found} - set(known)
            undecided = {n for n in new if all(row.get(n) is None for row in sample)}
        return cls.found(source, passing, target, found, undecided)

    @classmethod
    def found(
        cls,
        source: Sequence[Column],
        passing: Mapping[str, Column],
        target: Sequence[Column],
        found: Sequence[Column],
        undecided: Collection[str] = (),
    ) -> OutputSchema:
        """The schema of rows that have these columns; those that are undecided have no value so far."""
        found = tuple(column for column in found if column.name not in undecided)
        _refuse_overwrite(found, passing)
        kept = {column.name for column in found} | set(passing)
        old = tuple(column for column in source if column.name in kept)
        names = {column.name for column in old}
        rest = tuple(column for column in found if column.name not in names)
        origins = _origins(found, target) | dict.fromkeys(names, _OF_SOURCE)
        with _as_row_error():
            return cls(limited(old + rest, target), passing, undecided, origins)

    def widened(self, rows: Sequence[Row], target: Sequence[Column]) -> OutputSchema:
        """The same schema with columns for the new keys of these rows."""
        new = infer_columns(
            [{name: row[name] for name in self.unknown(row)} for row in rows],
            {column.name: column for column in target},
        )
        return self.with_columns(new, target)

    def with_columns(self, new: Sequence[Column], target: Sequence[Column]) -> OutputSchema:
        """The same schema with more columns."""
        _refuse_overwrite(new, self._passing)
        names = {column.name for column in new}
        origins = {**self._origins, **_origins(new, target)}
        with _as_row_error():
            return OutputSchema(
                (*self.columns, *new), self._passing, self.undecided - names, origins
            )

    def completed(self) -> OutputSchema:
        """The same schema with STRING columns for the keys that never had a value."""
        nulls = dict.fromkeys(sorted(self.undecided))
        return self.widened([nulls], ()) if nulls else self

    def drop_undecided(self, rows: Sequence[Row]) -> None:
        """Remove the keys that are undecided, and null, from the rows."""
        for row in rows if self.undecided else ():
            for name in self.undecided & row.keys():
                if row[name] is None:
                    del row[name]

    def unknown(self, row: Row) -> list[str]:
        """The keys of a row without a column."""
        return [name for name in row if name not in self._made]

    def with_origin(self, error: RowSchemaError) -> RowSchemaError:
        """Add to an error about a value's type where the column has its own from."""
        name = (error.column or "").partition(".")[0].partition("[")[0]
        column = next((column for column in self.columns if column.name == name), None)
        if column is not None and error.message.startswith("expected "):
            origin = self._origins.get(name, _DECLARED)
            error.message += f". {origin.format(name=name, type=column.ddl)}"
        return error

    def passing_errors(self, chunk: Chunk, indices: Sequence[int]) -> dict[int, RowSchemaError]:
        """Find values that pass through untouched and that the target's column cannot hold.

        Args:
            chunk: Where the rows come from.
            indices: Source row of each target row.

        Returns:
            The error of each bad row, by its position in `indices`.
        """
        errors: dict[int, RowSchemaError] = {}
        for column in self._limited_passing:
            array = chunk.batch.column(column.name)
            if _misfit(column, array) is None:
                continue
            for at, index in enumerate(indices):
                wrong = _misfit(column, array.slice(index, 1))
                if wrong is not None:
                    errors.setdefault(at, wrong).index = at
        return errors

    def batch(
        self,
        chunk: Chunk,
        indices: Sequence[int],
        parts: Parts | None,
        made: Sequence[pa.Array | None],
    ) -> pa.RecordBatch:
        """Build a batch: ids and passing columns from the source rows, made columns as encoded.

        Args:
            chunk: Where the rows come from.
            indices: Source row of each target row, counting from 0 in the chunk; ascending.
            parts: Part and number of parts of each target row; None = all rows have one part.
            made: The columns that the transform made, in the order of `made_names`; None = the values
                of the source rows.
        """
        arrays = {
            name: each for name, each in zip(self.made_names, made, strict=True) if each is not None
        }
        rest = [ROW_ID, *(c.name for c in self.columns if c.name not in arrays)]
        source = chunk.batch.select(rest)
        if isinstance(indices, range):
            source = source.slice(indices.start, len(indices))
        else:
            source = source.take(int_array(indices))
        arrays |= zip(rest, source.columns, strict=True)
        if parts is None:
            arrays[PART], arrays[PARTS] = _single_parts(len(indices))
        else:
            arrays[PART], arrays[PARTS] = map(int_array, parts)
        return pa.RecordBatch.from_arrays(
            [arrays[name] for name in self._names], schema=self.schema
        )

    def has_all(self, found: pa.Schema) -> bool:
        """Whether a result with these columns has none that this schema lacks."""
        return self._made.issuperset(found.names)

    def refuse_types(self, found: pa.Schema) -> None:
        """Raise if a column of a result in Arrow cannot be stored as it is.

        Raises:
            RowSchemaError: Its type is another one than the column's, or there is no such column.
        """
        if len(set(found.names)) < len(found.names):
            raise RowSchemaError("the transform returned two columns of the same name")
        for field in found:
            column = self._made_by_name.get(field.name)
            if column is None:
                if field.name not in self.undecided and not self.drops_unknown:
                    _refuse_overwrite([Column(field.name, "STRING")], self._passing)
                    raise unknown_key(field.name, [c.name for c in self.columns], "")
            elif not holds(column, field.type):
                raise self.with_origin(
                    RowSchemaError(
                        f"expected {column.ddl}, got Arrow {field.type}", column=field.name
                    )
                )

    def converted(self, result: pa.RecordBatch) -> list[pa.Array]:
        """The columns that the transform makes, out of what it returned in Arrow.

        Raises:
            RowSchemaError: A value does not fit; `index` is its row, if it is known.
        """
        arrays = []
        names = set(result.schema.names)
        for column in self._made_by_name.values():
            if column.name in names:
                arrays.append(_converted(result.column(column.name), column))
            elif column.mode == "REQUIRED":
                raise missing_value(column.name)
            else:
                arrays.append(_nothing(result.num_rows, self.schema.field(column.name).type))
        return arrays

    def widened_arrays(
        self, older: OutputSchema, arrays: Sequence[pa.Array | None], num_rows: int
    ) -> list[pa.Array | None] | None:
        """The columns of rows that were encoded for fewer columns, as `batch` takes them.

        Args:
            older: What they were encoded for.
            arrays: Its columns.
            num_rows: How many rows there are.

        Returns:
            None = they have to be encoded again: a column needs a value, or is another one now.
        """
        there, made = dict(zip(older.made_names, arrays, strict=True)), list[Any]()
        if not self._made.issuperset(there):
            return None
        for column in self._made_columns:
            if column.name in there and column == older._made_by_name[column.name]:
                made.append(there[column.name])
            elif column.name in there or column.mode == "REQUIRED":
                return None
            else:
                made.append(_nothing(num_rows, self.schema.field(column.name).type))
        return made

    def rows_of(self, batch: pa.RecordBatch) -> list[Row]:
        """The rows that the transform made, out of a batch that was built from them."""
        return RowDecoder(self._made_columns).decode(batch).rows

    def skipped(self, row_ids: pa.Array) -> pa.RecordBatch:
        """Build a batch of skipped rows: they are staged too, so that a resume does not pay again."""
        zeros = pa.repeat(pa.scalar(0, pa.int64()), len(row_ids))
        nulls = [
            _nothing(len(row_ids), field.type) for field in list(self.schema)[len(_ID_FIELDS) :]
        ]
        return pa.RecordBatch.from_arrays([row_ids, zeros, zeros, *nulls], schema=self.schema)


_MANY = 16_384


def _parts_of_one(count: int) -> tuple[pa.Array, pa.Array]:
    """Part and number of parts of rows of which each is the only one."""
    return pa.repeat(pa.scalar(0, pa.int64()), count), pa.repeat(pa.scalar(1, pa.int64()), count)


_first_parts = cache(partial(_parts_of_one, _MANY))


def _single_parts(count: int) -> tuple[pa.Array, pa.Array]:
    """As `_parts_of_one`, cut from arrays that are made once, if they are long enough."""
    if count > _MANY:
        return _parts_of_one(count)
    part, parts = _first_parts()
    return part.slice(0, count), parts.slice(0, count)


def int_array(numbers: Sequence[int]) -> pa.Array:
    """Integers in Arrow; no copy of an `array` of 64 bits each."""
    if isinstance(numbers, array):
        return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])
    return pa.array(numbers, pa.int64())


def _origins(found: Sequence[Column], target: Sequence[Column]) -> dict[str, str]:
    """Where inferred columns have their types from."""
    there = {column.name for column in target}
    return {c.name: _OF_TARGET if c.name in there else _OF_ROWS for c in found}


def _converted(values: pa.Array, column: Column) -> pa.Array:
    try:
        made = cast(values, column)
        check(made, column)
    except MisfitError as error:
        wrong = RowSchemaError(error.detail or error.reason, column=column.name)
        wrong.index = error.index or 0
        raise wrong from error
    return made


def limited(columns: Sequence[Column], target: Sequence[Column]) -> tuple[Column, ...]:
    """The columns with what those of the target demand of values: NOT NULL, length, digits."""
    there = {column.name: column for column in target}
    return tuple(c.limited_by(there[c.name]) if c.name in there else c for c in columns)


def _misfit(column: Column, array: pa.Array) -> RowSchemaError | None:
    if column.mode == "REQUIRED" and array.null_count:
        return missing_value(column.name)
    limit = limit_of(column)
    wrong = None if limit is None else limit(array)
    return None if wrong is None else RowSchemaError(wrong, column=column.name)


def _nothing(count: int, kind: pa.DataType) -> pa.Array:
    """`count` values that say nothing: BigQuery's arrays are empty, and never NULL."""
    return pa.array([[]] * count, kind) if pa.types.is_list(kind) else pa.nulls(count, kind)


@contextmanager
def _as_row_error() -> Iterator[None]:
    """Turn a ConfigError about a name into a RowSchemaError: the name came out of a row."""
    try:
        yield
    except ConfigError as error:
        raise RowSchemaError(error.message) from error


def _refuse_overwrite(found: Sequence[Column], passing: Mapping[str, Column]) -> None:
    for column in found:
        if column.name in passing:
            raise RowSchemaError(
                f"the transform returned a value for {column.name!r}, which passes through "
                "untouched; add it to the class attribute `columns` to write it",
                column=column.name,
            )
