"""The columns of files: their types, and batches in exactly those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.errors import ConfigError, SourceError
from etlkit.rows.batches import conform
from etlkit.rows.columns import Column, parse_schema
from etlkit.rows.types import STRUCT, TYPES

if TYPE_CHECKING:
    from etlkit.files.file import File


def columns_of(schema: pa.Schema, types: Mapping[str, str], file: File) -> tuple[Column, ...]:
    """The columns of an Arrow schema; those in `types` as declared there.

    Raises:
        ConfigError: A type that BigQuery does not have, or a name in `types` that is not a column.
    """
    declared = {column.name: column for column in parse_schema(types)}
    check_declared(declared, schema.names, file)
    return tuple(declared.get(field.name) or _column(field.name, field.type) for field in schema)


def check_declared(declared: Mapping[str, object], names: Sequence[str], file: File) -> None:
    """Refuse types that were declared for columns that the file does not have.

    Raises:
        ConfigError: Lists the columns.
    """
    for name in declared:
        if name not in names:
            raise ConfigError(f"types has {name!r}, but {file.name} has only {', '.join(names)}")


def _column(name: str, kind: pa.DataType) -> Column:
    if pa.types.is_dictionary(kind):
        return _column(name, kind.value_type)
    if pa.types.is_struct(kind):
        fields = tuple(_column(field.name, field.type) for field in kind)
        return Column(name, STRUCT, fields=fields)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _column(name, kind.value_type)
        if inner.mode == "REPEATED":
            raise _unsupported(name, kind)
        return Column(name, inner.type, "REPEATED", inner.fields)
    found = next((each.name for each in TYPES.values() if each.holds(pa.types, kind)), None)
    if found is None:
        raise _unsupported(name, kind)
    return Column(name, found)


def _unsupported(name: str, kind: pa.DataType) -> ConfigError:
    return ConfigError(
        f"column {name!r} is {kind}, which no BigQuery type holds; set one with "
        f"types={{{name!r}: 'STRING'}}, or leave the column out when the file is written"
    )


def conform_to_columns(
    batch: pa.RecordBatch, columns: Sequence[Column], file: File
) -> pa.RecordBatch:
    """Give a file's batch the Arrow types of the columns, by name and without loss.

    Raises:
        SourceError: A column is missing or not known, or a value does not fit.
    """
    names = batch.schema.names
    wanted = [column.name for column in columns]
    if set(names) != set(wanted):
        raise other_columns(file, names, wanted)
    try:
        return conform(batch, columns)
    except SourceError as error:
        raise SourceError(
            f"{file.name}: {error.message}; set another type with types={{…}}", stage="read"
        ) from error


def other_columns(file: File, names: Sequence[str], wanted: Sequence[str]) -> SourceError:
    """The error for a file that does not have the columns of the first one."""
    return SourceError(
        f"{file.name} has the columns {', '.join(names)}, but the first file has "
        f"{', '.join(wanted)}: all files of a source must have the same columns",
        stage="read",
    )
