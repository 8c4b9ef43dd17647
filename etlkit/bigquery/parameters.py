"""Query parameters from Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etlkit.errors import ConfigError, RowSchemaError


def query_parameters(values: Mapping[str, Any]) -> list[Any]:
    """Make the client library's query parameters; types are inferred as for new columns.

    Args:
        values: Name to a Python value, a list of values, or a `ScalarQueryParameter` or similar.

    Raises:
        ConfigError: No BigQuery type holds a value unchanged, or the values of a list do not have one
            type in common.
    """
    return [_parameter(name, value) for name, value in values.items()]


def parameter_types(values: Mapping[str, Any]) -> dict[str, str]:
    """The types of query parameters by name, as GoogleSQL writes them, e.g. `ARRAY<INT64>`.

    Args:
        values: As in `query_parameters`.

    Raises:
        ConfigError: As there.
    """
    return {name: _type_text(name, value) for name, value in values.items()}


def _type_text(name: str, value: Any) -> str:
    if hasattr(value, "to_api_repr"):  # the client library is not imported only to know this
        return _api_type_text(value.to_api_repr()["parameterType"])
    if isinstance(value, (list, tuple)):
        return f"ARRAY<{_typed(name, value)[0]}>"
    return _typed(name, (value,))[0]


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
        return bigquery.ArrayQueryParameter(name, *_typed(name, value))
    kind, (plain,) = _typed(name, (value,))
    return bigquery.ScalarQueryParameter(name, kind, plain)


def _typed(name: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """The one type of all values, STRING if there are none, and the values as it has them."""
    from etlkit.rows.inference import infer_columns
    from etlkit.rows.refused import RefusedError, type_name
    from etlkit.rows.types import TYPES

    try:
        (column,) = infer_columns([{name: None}, *({name: value} for value in values)], {})
        clean = TYPES[column.type].clean
        plain = [None if value is None else clean(value) for value in values]
    except RowSchemaError as error:
        raise ConfigError(f"query parameter @{name}: {error.message}") from error
    except RefusedError as error:
        raise ConfigError(f"query parameter @{name}: {error}") from error
    if column.type != "JSON":
        return column.type, plain
    if not all(isinstance(value, dict | None) for value in values):
        kinds = ", ".join(sorted({type_name(type(value)) for value in values}))
        raise ConfigError(
            f"query parameter @{name}: no type holds all of {kinds}. Convert the values, or give text "
            f"with JSON in it, and write PARSE_JSON(@{name}) in the query"
        )
    return column.type, list(values)
