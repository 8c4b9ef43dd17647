"""BigQuery as source and sink: the only package that imports `google.cloud.bigquery*`, lazily.

Its names are loaded when they are first used, as those of `etlkit`: the command line needs little of
this package before it says that it starts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etlkit.bigquery.http_sink.sink import HttpSink
    from etlkit.bigquery.sink import BigQuerySink
    from etlkit.bigquery.source import BigQuerySource
    from etlkit.bigquery.table_definition import Definition, RangePartitioning, TimePartitioning

_HOMES = {
    "BigQuerySink": "etlkit.bigquery.sink",
    "BigQuerySource": "etlkit.bigquery.source",
    "Definition": "etlkit.bigquery.table_definition",
    "HttpSink": "etlkit.bigquery.http_sink.sink",
    "RangePartitioning": "etlkit.bigquery.table_definition",
    "TimePartitioning": "etlkit.bigquery.table_definition",
}

__all__ = [
    "BigQuerySink",
    "BigQuerySource",
    "Definition",
    "HttpSink",
    "RangePartitioning",
    "TimePartitioning",
]


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
