"""BigQuery as source and sink. The only package that imports `google.cloud.bigquery*`, and lazily."""

from etlkit.bigquery.sink import BigQuerySink
from etlkit.bigquery.source import BigQuerySource

__all__ = ["BigQuerySink", "BigQuerySource"]
