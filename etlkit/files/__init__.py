"""Files as sources: CSV, JSON Lines and Parquet, on this machine, in buckets and on web servers."""

from etlkit.files.source import CsvSource, JsonlSource, ParquetSource
from etlkit.files.storage import copy_object

__all__ = ["CsvSource", "JsonlSource", "ParquetSource", "copy_object"]
