"""Rows of the Storage Write API and of insertAll, before any of them is written.

Unknown fields, wrong types and values that do not fit are refused, with the index of each bad row, and
no row of the request is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from etlkit.local.bigquery.rules.registry import Asked, found, rule
from etlkit.local.bigquery.rules.type_parameters import sent_columns
from etlkit.rows.types import ALIASES, STRUCT

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableFieldSchema

MAX_ROW_ERRORS: Final = 100
"""BigQuery's message says that the list of row errors "may not be complete"."""


def _is_text(kind: pa.DataType) -> bool:
    return bool(is_.is_string(kind) or is_.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(is_.is_binary(kind) or is_.is_large_binary(kind))


_ACCEPTED: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "STRING": _is_text,
    "JSON": _is_text,
    "GEOGRAPHY": _is_text,
    "BYTES": _is_bytes,
    "INT64": is_.is_integer,
    "FLOAT64": is_.is_floating,
    "BOOL": is_.is_boolean,
    "NUMERIC": is_.is_decimal,
    "BIGNUMERIC": is_.is_decimal,
    "DATE": is_.is_date,
    "TIME": is_.is_time,
    "DATETIME": lambda kind: bool(is_.is_timestamp(kind) and kind.tz is None),
    "TIMESTAMP": lambda kind: bool(is_.is_timestamp(kind) and kind.tz is not None),
}
"""Whether rows for a column of a type may have an Arrow type. DuckDB checks types that are not here.

Source: https://cloud.google.com/bigquery/docs/supported-data-types#arrow-data-types
"""


class AppendRefusedError(Exception):
    """The request is refused, and none of its rows is written.

    Attributes:
        code: The name of a `StorageError.StorageErrorCode`; None = the answer has only a status.
        rows: Index and message of each bad row; empty = the request as a whole is wrong.
    """

    def __init__(
        self, message: str, *, code: str | None = None, rows: Sequence[tuple[int, str]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.rows = rows


def check(
    rows: pa.Table, fields: Sequence[TableFieldSchema], defaulted: Collection[str] = ()
) -> None:
    """Raise if rows do not fit the table.

    Args:
        rows: As they were sent.
        fields: The columns of the table.
        defaulted: Those whose missing values become their default, in lower case.

    Raises:
        AppendRefusedError: There is an unknown field, a wrong type, or a value that does not fit.
    """
    known_columns([*rows.schema], fields)
    column_types([*rows.schema], fields)
    bad = bad_rows(rows, fields, defaulted)
    if bad:
        raise AppendRefusedError(
            "Errors found while processing rows. Please refer to the row_errors field for details. "
            "The list may not be complete because of the size limitations.",
            rows=sorted(bad.items())[:MAX_ROW_ERRORS],
        )


def bad_rows(
    rows: pa.Table, fields: Sequence[TableFieldSchema], defaulted: Collection[str] = ()
) -> dict[int, str]:
    """Index and first message of each row that breaks a rule."""
    bad: dict[int, str] = {}
    for index, message in required_columns(rows, fields, defaulted):
        bad.setdefault(index, message)
    for index, message in found(Asked.APPEND, rows, fields):
        bad.setdefault(index, message)
    return bad


@rule(
    Asked.FIELDS,
    "Rows have a value for each REQUIRED column that has no default for them.",
    "reference/storage/rpc/google.cloud.bigquery.storage.v1#rowerror",
)
def required_columns(
    rows: pa.Table, fields: Sequence[TableFieldSchema], defaulted: Collection[str] = ()
) -> Iterator[tuple[int, str]]:
    """Name the rows without one, also within structs that are there."""
    for field in fields:
        if field.mode == "REQUIRED" and field.name.casefold() not in defaulted:
            for index in _null_rows(rows, field.name):
                yield index, f"Field {field.name} is required but is missing."
    for field, column in sent_columns(rows, fields):
        if field.fields and field.mode != "REPEATED" and is_.is_struct(column.type):
            yield from _required_within(field, column, field.name)


@rule(
    Asked.FIELDS,
    "A field that the table does not have is refused.",
    "reference/storage/rpc/google.cloud.bigquery.storage.v1#storageerrorcode",
)
def known_columns(
    sent: Sequence[pa.Field], fields: Sequence[TableFieldSchema], path: str = ""
) -> None:
    """Refuse a request whose schema has more fields, also within structs."""
    known = {field.name.casefold(): field for field in fields}
    extra = [path + field.name for field in sent if field.name.casefold() not in known]
    if extra:
        raise AppendRefusedError(
            "Input schema has more fields than BigQuery schema, extra fields: "
            f"'{', '.join(extra)}'",
            code="SCHEMA_MISMATCH_EXTRA_FIELDS",
        )
    for field in sent:
        kind = field.type
        if is_.is_list(kind) or is_.is_large_list(kind):
            kind = kind.value_type
        if is_.is_struct(kind):
            known_columns(list(kind), known[field.name.casefold()].fields, f"{path}{field.name}.")


@rule(
    Asked.FIELDS,
    "A field has the Arrow type that belongs to the type of its column.",
    "supported-data-types#arrow-data-types",
)
def column_types(
    sent: Sequence[pa.Field], fields: Sequence[TableFieldSchema], path: str = ""
) -> None:
    """Refuse a request whose schema has a field of another type."""
    known = {field.name.casefold(): field for field in fields}
    for field in sent:
        _check_type(field.type, known[field.name.casefold()], path + field.name)


def _check_type(sent: pa.DataType, field: TableFieldSchema, path: str) -> None:
    if field.mode == "REPEATED":
        if not (is_.is_list(sent) or is_.is_large_list(sent)):
            raise _wrong_type(sent, f"REPEATED {field.type}", path)
        sent = sent.value_type
    kind = ALIASES.get(field.type, field.type)
    if kind == STRUCT:
        if not is_.is_struct(sent):
            raise _wrong_type(sent, field.type, path)
        column_types(list(sent), field.fields, f"{path}.")
    elif kind in _ACCEPTED and not _ACCEPTED[kind](sent):
        raise _wrong_type(sent, field.type, path)


def _wrong_type(sent: pa.DataType, wanted: str, path: str) -> AppendRefusedError:
    return AppendRefusedError(
        f"Input schema has a field of another type than BigQuery schema: field '{path}' is {wanted} "
        f"in the table and {sent} in the request"
    )


def _null_rows(rows: pa.Table, column: str) -> list[int]:
    for name in rows.column_names:
        if name.casefold() == column.casefold():
            nulls: Any = rows.column(name).is_null()
            return [index for index, is_null in enumerate(nulls.to_pylist()) if is_null]
    return list(range(rows.num_rows))


def _required_within(field: TableFieldSchema, column: Any, path: str) -> Iterator[tuple[int, str]]:
    """Index and message of each row of which a struct lacks a REQUIRED field."""
    is_there = column.is_valid()
    for child in field.fields:
        if child.mode != "REQUIRED":
            continue
        if column.type.get_field_index(child.name) < 0:
            missing = is_there
        else:
            missing = pc.and_(is_there, pc.struct_field(column, child.name).is_null())
        for index in pc.indices_nonzero(missing).to_pylist():
            yield index, f"Field {path}.{child.name} is required but is missing."
