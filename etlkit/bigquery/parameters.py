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


def parameter_types(values: Mapping[str, Any]) -> dict[str, str]:
    """The types of query parameters by name, as GoogleSQL writes them, e.g. `ARRAY<INT64>`.

    Args:
        values: As in `query_parameters`.

    Raises:
        RowSchemaError: As there.
    """
    return {name: _type_text(name, value) for name, value in values.items()}


def _type_text(name: str, value: Any) -> str:
    if hasattr(value, "to_api_repr"):  # the client library is not imported only to know this
        return _api_type_text(value.to_api_repr()["parameterType"])
    if isinstance(value, (list, tuple)):
        return f"ARRAY<{_type_of(name, value)}>"
    return _type_of(name, (value,))


def _api_type_text(kind: Mapping[str, Any]) -> str:
    """The text of a type of the REST API.

    Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter#QueryParameterType
    """
    inner = kind.get("arrayType") or kind.get("rangeElementType")
    if inner:
        return f"{kind['type']}<{_api_type_text(inner)}>"
    if "structTypes" in kind:
        fields = (
            f"{each.get('name', '')} {_api_type_text(each['type'])}".strip()
            for each in kind["structTypes"]
        )
        return f"STRUCT<{', '.join(fields)}>"
    return str(kind["type"])


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
