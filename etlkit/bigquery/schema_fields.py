"""Schemas of BigQuery's REST API <-> etlkit's columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from etlkit.rows.columns import OWN_PREFIX, Column
from etlkit.rows.types import TYPES

if TYPE_CHECKING:
    from google.cloud import bigquery


_DECIMALS = frozenset(name for name, each in TYPES.items() if each.max_parameters == 2)


def from_schema_fields(fields: Iterable[bigquery.SchemaField]) -> tuple[Column, ...]:
    """Read the schema of a table or query. The REST API answers with legacy SQL's type names.

    Raises:
        ConfigError: A column has a type that rows cannot hold, such as INTERVAL.
    """
    return tuple(
        Column(
            name=field.name,
            type=field.field_type,
            mode=field.mode or "NULLABLE",
            fields=from_schema_fields(field.fields),
            description=field.description or None,
            parameters=_parameters(field),
        )
        for field in fields
    )


def staged_columns(table: bigquery.Table) -> tuple[Column, ...]:
    """The target's columns that a staging table has.

    Etlkit's own are left out by their name. The table of results that were taken from earlier runs has
    more of them than the others: which run made a result, of which row.
    """
    columns = from_schema_fields(table.schema)
    return tuple(column for column in columns if not column.name.startswith(OWN_PREFIX))


def _parameters(field: bigquery.SchemaField) -> tuple[int, ...]:
    """Length, or precision and scale; empty = the type's full range."""
    if field.max_length is not None:
        return (int(field.max_length),)
    if field.precision is None:
        return ()
    return (int(field.precision), *([] if field.scale is None else [int(field.scale)]))


def _limits(column: Column) -> dict[str, Any]:
    names = ("precision", "scale") if column.type in _DECIMALS else ("max_length",)
    return dict(zip(names, column.parameters, strict=False))


def to_schema_fields(columns: Iterable[Column]) -> list[bigquery.SchemaField]:
    """Describe columns for the REST API."""
    from google.cloud import bigquery

    return [
        bigquery.SchemaField(
            column.name,
            column.type,
            mode=column.mode,
            fields=to_schema_fields(column.fields),
            description=column.description or "",
            **_limits(column),
        )
        for column in columns
    ]
