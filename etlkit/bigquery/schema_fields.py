"""BigQuery's REST schemas and Arrow batches <-> etlkit's columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from etlkit.rows.columns import Column, arrow_schema

if TYPE_CHECKING:
    from google.cloud import bigquery


def from_schema_fields(fields: Iterable[bigquery.SchemaField]) -> tuple[Column, ...]:
    """Read a table's or a query's schema; the REST API answers with legacy SQL's type names.

    Raises:
        ConfigError: A column has a type that rows cannot hold (INTERVAL, RANGE).
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


def conform(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    """Give a batch the exact Arrow types of `columns`, selected by name; free where they match."""
    schema = arrow_schema(columns)
    arrays = []
    for field in schema:
        array = batch.column(field.name)
        arrays.append(array if array.type == field.type else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
