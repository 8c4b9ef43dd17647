"""STRING(n), BYTES(n) and NUMERIC(p, s): values that their column cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etlkit.local.bigquery.extensions import api_errors
from etlkit.local.bigquery.patches.types import quote
from etlkit.local.bigquery.rules.registry import Asked, rule
from etlkit.rows.types import ALIASES

if TYPE_CHECKING:
    from bqemulator.catalog.models import TableFieldSchema

    from etlkit.local.bigquery.rules.writes import Written

_SOURCE: Final = "reference/standard-sql/data-types#parameterized_data_types"

_DECIMALS: Final = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}
"""Digits before and after the point, where a column has no parameters."""


@rule(
    Asked.WRITTEN,
    "STRING(n) and BYTES(n) hold no longer values, from DML and loads.",
    _SOURCE,
)
def text_lengths(written: Written) -> None:
    """Refuse rows of which a value is too long, also within structs and arrays."""
    for field in written.meta.schema_.fields:
        for path, condition, limit in _conditions(field, quote(field.name), field.name):
            if written.has(condition):
                raise api_errors.invalid(f"Field {path}: {limit} got a value that is longer")


@rule(
    Asked.APPEND,
    "STRING(n) and BYTES(n) hold no longer values, from appends.",
    _SOURCE,
)
def appended_lengths(
    rows: pa.Table, fields: Sequence[TableFieldSchema]
) -> Iterator[tuple[int, str]]:
    """Name the rows of which a value is too long."""
    for field, column in sent_columns(rows, fields):
        if field.max_length is None or field.mode == "REPEATED":
            continue
        is_text = ALIASES.get(field.type, field.type) == "STRING"
        lengths: Any = pc.utf8_length(column) if is_text else pc.binary_length(column)
        for index in _where(pc.greater(lengths, field.max_length)):
            limit = f"Field {field.name}: {declared(field)} has maximum length {field.max_length}"
            yield index, f"{limit} but got a value with length {lengths[index]}"


@rule(
    Asked.APPEND,
    "NUMERIC(p, s) and BIGNUMERIC(p, s) hold no more digits before the point.",
    _SOURCE,
)
def appended_digits(
    rows: pa.Table, fields: Sequence[TableFieldSchema]
) -> Iterator[tuple[int, str]]:
    """Name the rows of which a number is too large."""
    for field, column in sent_columns(rows, fields):
        kind = ALIASES.get(field.type, field.type)
        if kind not in _DECIMALS or field.mode == "REPEATED" or field.precision is None:
            continue
        limit = Decimal(10) ** (field.precision - (field.scale or 0))
        digits = f"precision {field.precision} and scale {field.scale or 0}"
        for index, value in enumerate(column.to_pylist()):
            if value is not None and abs(value) >= limit:
                yield index, f"Field {field.name}: {declared(field)} has {digits} but got {value}"


def declared(field: TableFieldSchema) -> str:
    """The type of a column with its parameters."""
    kind = ALIASES.get(field.type, field.type)
    if field.max_length is not None:
        return f"{kind}({field.max_length})"
    if field.precision is not None:
        return f"{kind}({field.precision}{f', {field.scale}' if field.scale else ''})"
    return kind


def sent_columns(
    rows: pa.Table, fields: Sequence[TableFieldSchema]
) -> Iterator[tuple[TableFieldSchema, Any]]:
    """The table's columns that the rows have."""
    sent = {name.casefold(): name for name in rows.column_names}
    for field in fields:
        name = sent.get(field.name.casefold())
        if name is not None:
            yield field, rows.column(name)


def _where(mask: Any) -> list[int]:
    indices: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()  # noqa: FBT003
    return indices


def _conditions(
    field: TableFieldSchema, value: str, path: str, *, of_element: bool = False
) -> Iterator[tuple[str, str, str]]:
    """Path, condition in DuckDB's SQL, and the declared type of each limited field."""
    if field.mode == "REPEATED" and not of_element:
        for inner, condition, limit in _conditions(field, "x", path, of_element=True):
            yield inner, f"len(list_filter({value}, lambda x: {condition})) > 0", limit
    elif field.fields:
        for child in field.fields:
            yield from _conditions(child, f"{value}.{quote(child.name)}", f"{path}.{child.name}")
    elif field.max_length is not None:
        is_text = ALIASES.get(field.type, field.type) == "STRING"
        length = f"length({value})" if is_text else f"octet_length({value})"
        limit = f"{declared(field)} has maximum length {field.max_length} but"
        yield path, f"{length} > {field.max_length}", limit
