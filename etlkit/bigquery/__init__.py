"""BigQuery as source and sink: the only package that imports `google.cloud.bigquery*`, lazily."""

from etlkit.bigquery.http_sink.sink import HttpSink
from etlkit.bigquery.sink import BigQuerySink
from etlkit.bigquery.source import BigQuerySource
from etlkit.bigquery.table_definition import Definition, RangePartitioning, TimePartitioning

__all__ = [
    "BigQuerySink",
    "BigQuerySource",
    "Definition",
    "HttpSink",
    "RangePartitioning",
    "TimePartitioning",
]
