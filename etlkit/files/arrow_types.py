"""Arrow's types as BigQuery's columns, and batches in exactly those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.errors import ConfigError, SourceError
from etlkit.rows.columns import Column, arrow_type, parse_schema

if TYPE_CHECKING:
    from etlkit.files.file import File

_NUMERIC = (29, 9)
_BIGNUMERIC = (38, 38)
"""Digits before and behind the point that always fit.
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types"""

_KINDS = (
    (pa.types.is_boolean, "BOOL"),
    (pa.types.is_uint64, "NUMERIC"),
    (pa.types.is_integer, "INT64"),
    (pa.types.is_floating, "FLOAT64"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_large_string, "STRING"),
    (pa.types.is_string_view, "STRING"),
    (pa.types.is_null, "STRING"),
    (pa.types.is_binary, "BYTES"),
    (pa.types.is_large_binary, "BYTES"),
    (pa.types.is_binary_view, "BYTES"),
    (pa.types.is_fixed_size_binary, "BYTES"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
)


def columns_of(schema: pa.Schema, types: Mapping[str, str], file: File) -> tuple[Column, ...]:
    """The columns of an Arrow schema, those in `types` as they are said there.

    Raises:
        ConfigError: A type that BigQuery has not, or a name in `types` that is no column.
    """
    said = {column.name: column for column in parse_schema(types)}
    check_known(said, schema.names, file)
    return tuple(said.get(field.name) or _column(field.name, field.type) for field in schema)


def check_known(said: Mapping[str, object], names: Sequence[str], file: File) -> None:
    """Refuse types of columns that are not there.

    Raises:
        ConfigError: Lists the columns.
    """
    for name in said:
        if name not in names:
            raise ConfigError(f"types has {name!r}, but {file.name} has only {', '.join(names)}")


def _column(name: str, kind: pa.DataType) -> Column:
    if pa.types.is_dictionary(kind):
        return _column(name, kind.value_type)
    if pa.types.is_struct(kind):
        fields = tuple(_column(field.name, field.type) for field in kind)
        return Column(name, "STRUCT", fields=fields)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _column(name, kind.value_type)
        if inner.mode == "REPEATED":
            raise _not_possible(name, kind)
        return Column(name, inner.type, "REPEATED", inner.fields)
    found = _scalar(kind)
    if found is None:
        raise _not_possible(name, kind)
    return Column(name, found)


def _scalar(kind: pa.DataType) -> str | None:
    if pa.types.is_timestamp(kind):
        return "DATETIME" if kind.tz is None else "TIMESTAMP"
    if pa.types.is_decimal(kind):
        before, behind = kind.precision - kind.scale, kind.scale
        for (most_before, most_behind), name in (
            (_NUMERIC, "NUMERIC"),
            (_BIGNUMERIC, "BIGNUMERIC"),
        ):
            if before <= most_before and 0 <= behind <= most_behind:
                return name
        return None
    return next((name for is_kind, name in _KINDS if is_kind(kind)), None)


def _not_possible(name: str, kind: pa.DataType) -> ConfigError:
    return ConfigError(
        f"column {name!r} is {kind}, which no BigQuery type holds; say one with "
        f"types={{{name!r}: 'STRING'}}, or leave the column out when the file is written"
    )


def conform(batch: pa.RecordBatch, columns: Sequence[Column], file: File) -> pa.RecordBatch:
    """Give a batch the Arrow types of the columns, by name and without loss; free where they match.

    Raises:
        SourceError: A column is missing, is not known, or a value does not fit.
    """
    names = batch.schema.names
    wanted = [column.name for column in columns]
    if set(names) != set(wanted):
        raise other_columns(file, names, wanted)
    arrays = [_cast(batch.column(column.name), column, file) for column in columns]
    fields = [pa.field(c.name, array.type) for c, array in zip(columns, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def other_columns(file: File, names: Sequence[str], wanted: Sequence[str]) -> SourceError:
    """The error of a file that has not the columns of the first one."""
    return SourceError(
        f"{file.name} has the columns {', '.join(names)}, but the first file has "
        f"{', '.join(wanted)}: all files of a source have the same",
        stage="read",
    )


def _cast(array: pa.Array, column: Column, file: File) -> pa.Array:
    kind = arrow_type(column)
    if array.type == kind:
        return array
    try:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_fixed_size_binary(array.type):
            array = array.cast(pa.binary())
        return array.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SourceError(
            f"{file.name}: column {column.name!r} is {array.type}, and a value of it does not fit "
            f"{column.ddl} without loss; say another type with types={{{column.name!r}: …}}",
            stage="read",
        ) from error
