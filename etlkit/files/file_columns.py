"""The columns of files: their types, and batches in exactly those."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.errors import ConfigError, SourceError
from etlkit.rows.arrow_columns import column_of, plain_type, scalar_type
from etlkit.rows.casts import MisfitError, cast, check
from etlkit.rows.columns import Column, arrow_schema
from etlkit.rows.types import TYPES, common_type

if TYPE_CHECKING:
    from etlkit.files.file import File
    from etlkit.files.head import Head


def common_columns(
    heads: Sequence[Head[pa.Schema]], declared: Mapping[str, Column]
) -> tuple[Column, ...]:
    """The columns that hold the rows of all files; those in `declared` as they are there.

    Raises:
        ConfigError: A type that BigQuery does not have, or a declared column that is not in the files.
        SourceError: Files have other columns, or columns without a common type.
    """
    first = heads[0]
    names = first.found.names
    check_declared(declared, names, first.file)
    for other in heads[1:]:
        if other.found.names != names and set(other.found.names) != set(names):
            raise other_columns(other.file, other.found.names, first.file, names)
    try:
        return tuple(
            declared.get(field.name) or _column(field.name, _common_kind(field.name, heads))
            for field in first.found
        )
    except ConfigError as error:
        raise ConfigError(f"{first.file.name}: {error.message}") from error


def _column(name: str, kind: pa.DataType) -> Column:
    types = f"types={{{name!r}: 'STRING'}}"
    # Values of e.g. a map cannot be cast.
    first = "write it as a text of JSON" if pa.types.is_nested(kind) else f"set one with {types}"
    return column_of(name, kind, f"{first}, or leave the column out when the file is written")


def _common_kind(name: str, heads: Sequence[Head[pa.Schema]]) -> pa.DataType:
    """The Arrow type that holds a column's values of all files."""
    kind, decided_by = pa.null(), heads[0].file
    for head in heads:
        own = _field(head.found, name)
        common = _common(kind, own)
        if common is None:
            raise SourceError(
                f"column {name!r} is {kind} in {decided_by.name} and {own} in {head.file.name}, and no "
                f"type holds the values of both without loss; set one with types={{{name!r}: …}}",
                stage="open",
            )
        if common != kind:
            kind, decided_by = common, head.file
    return kind


def _field(schema: pa.Schema, name: str) -> pa.DataType:
    # by position: a schema that has a name twice is refused later, with both names
    return schema.field(schema.names.index(name)).type


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The Arrow type that holds the values of two types; None = there is none."""
    of = pa.types
    one, other = plain_type(one), plain_type(other)
    if one == other or of.is_null(other):
        return one
    if of.is_null(one):
        return other
    if of.is_list(one) and of.is_list(other):
        inner = _common(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if of.is_struct(one) and of.is_struct(other):
        return _common_struct(one, other)
    mine, theirs = scalar_type(one), scalar_type(other)
    kept = common_type(mine, theirs) if mine and theirs else None
    return None if kept is None else TYPES[kept].arrow(pa)


def _common_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields = {field.name: field.type for field in one}
    for field in other:
        kind = _common(fields.get(field.name, pa.null()), field.type)
        if kind is None:
            return None
        fields[field.name] = kind
    return pa.struct(list(fields.items()))


def check_declared(declared: Mapping[str, object], names: Collection[str], file: File) -> None:
    """Refuse types that were declared for columns that the file does not have.

    Raises:
        ConfigError: Lists the columns.
    """
    for name in declared:
        if name not in names:
            raise ConfigError(f"types has {name!r}, but {file.name} has only {', '.join(names)}")


def conform_to_columns(
    batch: pa.RecordBatch,
    columns: Sequence[Column],
    file: File,
    rows_before: int,
    *,
    is_checked: bool,
) -> pa.RecordBatch:
    """Give a file's batch the Arrow types of the columns, by name and without loss, and check it.

    Args:
        batch: Rows of the file.
        columns: Of the source; the batch has the same names.
        file: For messages.
        rows_before: How many rows of the file come before the batch.
        is_checked: Whether the values were checked before.

    Raises:
        SourceError: A value does not fit, or cannot be read.
    """
    try:
        arrays = [cast(batch.column(column.name), column) for column in columns]
        for column, array in zip(columns, () if is_checked else arrays, strict=False):
            check(array, column)
    except MisfitError as error:
        where = "" if error.index is None else f", row {rows_before + error.index + 1}"
        raise SourceError(
            f"{file.name}{where}: column {error.column!r} {error.reason}; mend the file, or set "
            "another type with types={…}",
            stage="read",
        ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def other_columns(
    file: File, names: Sequence[str], first: File, wanted: Sequence[str]
) -> SourceError:
    """The error for a file that does not have the columns of the first one."""
    return SourceError(
        f"{file.name} has the columns {', '.join(names)}, but the first file, {first.name}, has "
        f"{', '.join(wanted)}: all files of a source must have the same columns",
        stage="open",
    )
