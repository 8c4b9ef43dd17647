"""Query parameters from Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def query_parameters(values: Mapping[str, Any]) -> list[Any]:
    """Query parameters of the client library, their types inferred.

    Args:
        values: Name to a Python value, a list of such, or a `ScalarQueryParameter` and kin.
    """
    return [_parameter(name, value) for name, value in values.items()]


def _parameter(name: str, value: Any) -> Any:
    from google.cloud import bigquery
    from google.cloud.bigquery.query import _AbstractQueryParameter

    if isinstance(value, _AbstractQueryParameter):
        return value
    if isinstance(value, (list, tuple)):
        kind = _type_of(name, value[0]) if value else "STRING"
        return bigquery.ArrayQueryParameter(name, kind, list(value))
    return bigquery.ScalarQueryParameter(name, _type_of(name, value), value)


def _type_of(name: str, value: Any) -> str:
    from etlkit.rows.inference import infer_columns

    return infer_columns([{name: value}], {})[0].type
