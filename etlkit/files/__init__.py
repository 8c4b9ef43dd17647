"""Files as sources: CSV, JSON Lines and Parquet, on this machine, in buckets and on web servers."""

from etlkit.files.source import CsvSource, JsonlSource, ParquetSource

__all__ = ["CsvSource", "JsonlSource", "ParquetSource"]
