"""Schemas of BigQuery's REST API <-> etlkit's columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from etlkit.rows.columns import Column

if TYPE_CHECKING:
    from google.cloud import bigquery


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
            description=field.description,
        )
        for field in fields
    )


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
        )
        for column in columns
    ]
