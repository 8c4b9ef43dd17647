"""Write `transform_row` once; every source row ends up written, skipped or rejected, exactly once.

```python
from etlkit import BigQuerySink, BigQuerySource, EtlBase, TransferJob
```

Importing this package imports neither Google's clients nor pyarrow nor requests: names are loaded
when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__

if TYPE_CHECKING:
    from etlkit.base import EtlBase, Row
    from etlkit.bigquery import (
        BigQuerySink,
        BigQuerySource,
        Definition,
        RangePartitioning,
        TimePartitioning,
    )
    from etlkit.checks import Check
    from etlkit.datamart import Datamart, Lookback, ValidityColumns
    from etlkit.datamart_report import DatamartReport, StatementReport
    from etlkit.errors import (
        AlreadyPublishedError,
        ApiError,
        CallFailedError,
        CapReachedError,
        CheckFailedError,
        ConfigError,
        CountMismatchError,
        EtlkitError,
        ImageError,
        JobError,
        OutageError,
        ReadExpiredError,
        RetryableError,
        RowError,
        RowSchemaError,
        RunStateError,
        SinkError,
        SourceError,
        StatementError,
        TooManyRejectedError,
        TransformError,
    )
    from etlkit.files import CsvSource, JsonlSource, ParquetSource
    from etlkit.job import TransferJob
    from etlkit.limits import RateLimit
    from etlkit.report import RunReport
    from etlkit.retry import RetryPolicy
    from etlkit.variables import String, Timestamp, TimestampRuntime

_HOMES = {
    "TimestampRuntime": "etlkit.variables",
    "Timestamp": "etlkit.variables",
    "String": "etlkit.variables",
    "StatementReport": "etlkit.datamart_report",
    "StatementError": "etlkit.errors",
    "ValidityColumns": "etlkit.datamart",
    "Lookback": "etlkit.datamart",
    "DatamartReport": "etlkit.datamart_report",
    "Datamart": "etlkit.datamart",
    "AlreadyPublishedError": "etlkit.errors",
    "ApiError": "etlkit.errors",
    "CallFailedError": "etlkit.errors",
    "CapReachedError": "etlkit.errors",
    "OutageError": "etlkit.errors",
    "RateLimit": "etlkit.limits",
    "RetryPolicy": "etlkit.retry",
    "BigQuerySink": "etlkit.bigquery",
    "BigQuerySource": "etlkit.bigquery",
    "ConfigError": "etlkit.errors",
    "Check": "etlkit.checks",
    "TimePartitioning": "etlkit.bigquery",
    "RangePartitioning": "etlkit.bigquery",
    "Definition": "etlkit.bigquery",
    "TooManyRejectedError": "etlkit.errors",
    "RunStateError": "etlkit.errors",
    "ReadExpiredError": "etlkit.errors",
    "CheckFailedError": "etlkit.errors",
    "CountMismatchError": "etlkit.errors",
    "CsvSource": "etlkit.files",
    "JsonlSource": "etlkit.files",
    "ParquetSource": "etlkit.files",
    "EtlBase": "etlkit.base",
    "EtlkitError": "etlkit.errors",
    "ImageError": "etlkit.errors",
    "JobError": "etlkit.errors",
    "RetryableError": "etlkit.errors",
    "Row": "etlkit.base",
    "RowError": "etlkit.errors",
    "RowSchemaError": "etlkit.errors",
    "RunReport": "etlkit.report",
    "SinkError": "etlkit.errors",
    "SourceError": "etlkit.errors",
    "TransferJob": "etlkit.job",
    "TransformError": "etlkit.errors",
}

__all__ = [
    "AlreadyPublishedError",
    "ApiError",
    "BigQuerySink",
    "BigQuerySource",
    "CallFailedError",
    "CapReachedError",
    "Check",
    "CheckFailedError",
    "ConfigError",
    "CountMismatchError",
    "CsvSource",
    "Datamart",
    "DatamartReport",
    "Definition",
    "EtlBase",
    "EtlkitError",
    "ImageError",
    "JobError",
    "JsonlSource",
    "Lookback",
    "OutageError",
    "ParquetSource",
    "RangePartitioning",
    "RateLimit",
    "ReadExpiredError",
    "RetryPolicy",
    "RetryableError",
    "Row",
    "RowError",
    "RowSchemaError",
    "RunReport",
    "RunStateError",
    "SinkError",
    "SourceError",
    "StatementError",
    "StatementReport",
    "String",
    "TimePartitioning",
    "Timestamp",
    "TimestampRuntime",
    "TooManyRejectedError",
    "TransferJob",
    "TransformError",
    "ValidityColumns",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'etlkit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
