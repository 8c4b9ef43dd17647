"""Query parameters from Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def query_parameters(values: Mapping[str, Any]) -> list[Any]:
    """Make the client library's query parameters; types are inferred as for new columns.

    Args:
        values: Name to a Python value, a list of values, or a `ScalarQueryParameter` or similar.

    Raises:
        RowSchemaError: No BigQuery type holds a value, or the values of a list do not go together.
    """
    return [_parameter(name, value) for name, value in values.items()]


def _parameter(name: str, value: Any) -> Any:
    from google.cloud import bigquery
    from google.cloud.bigquery.query import _AbstractQueryParameter

    if isinstance(value, _AbstractQueryParameter):
        return value
    if isinstance(value, (list, tuple)):
        return bigquery.ArrayQueryParameter(name, _type_of(name, value), list(value))
    return bigquery.ScalarQueryParameter(name, _type_of(name, (value,)), value)


def _type_of(name: str, values: Sequence[Any]) -> str:
    """The one type of all values; STRING if there are none."""
    from etlkit.rows.inference import infer_columns

    (column,) = infer_columns([{name: None}, *({name: value} for value in values)], {})
    return column.type
