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
    from etlkit.api.checks import Check
    from etlkit.api.datamart import Datamart, Lookback, ValidityColumns
    from etlkit.api.job import TransferJob
    from etlkit.api.report import DatamartReport, RunReport, StatementReport
    from etlkit.api.transform import EtlBase
    from etlkit.bigquery import (
        BigQuerySink,
        BigQuerySource,
        Definition,
        RangePartitioning,
        TimePartitioning,
    )
    from etlkit.calls.limits import RateLimit
    from etlkit.calls.retry import RetryPolicy
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
        RunTakenOverError,
        SinkError,
        SourceError,
        StatementError,
        TooManyRejectedError,
        TransformError,
    )
    from etlkit.files import CsvSource, JsonlSource, ParquetSource
    from etlkit.rows.row import Row
    from etlkit.variables.definitions import String, Timestamp, TimestampRuntime

_HOMES = {
    "TimestampRuntime": "etlkit.variables.definitions",
    "Timestamp": "etlkit.variables.definitions",
    "String": "etlkit.variables.definitions",
    "StatementReport": "etlkit.api.report",
    "StatementError": "etlkit.errors",
    "ValidityColumns": "etlkit.api.datamart",
    "Lookback": "etlkit.api.datamart",
    "DatamartReport": "etlkit.api.report",
    "Datamart": "etlkit.api.datamart",
    "AlreadyPublishedError": "etlkit.errors",
    "ApiError": "etlkit.errors",
    "CallFailedError": "etlkit.errors",
    "CapReachedError": "etlkit.errors",
    "OutageError": "etlkit.errors",
    "RateLimit": "etlkit.calls.limits",
    "RetryPolicy": "etlkit.calls.retry",
    "BigQuerySink": "etlkit.bigquery",
    "BigQuerySource": "etlkit.bigquery",
    "ConfigError": "etlkit.errors",
    "Check": "etlkit.api.checks",
    "TimePartitioning": "etlkit.bigquery",
    "RangePartitioning": "etlkit.bigquery",
    "Definition": "etlkit.bigquery",
    "TooManyRejectedError": "etlkit.errors",
    "RunStateError": "etlkit.errors",
    "RunTakenOverError": "etlkit.errors",
    "ReadExpiredError": "etlkit.errors",
    "CheckFailedError": "etlkit.errors",
    "CountMismatchError": "etlkit.errors",
    "CsvSource": "etlkit.files",
    "JsonlSource": "etlkit.files",
    "ParquetSource": "etlkit.files",
    "EtlBase": "etlkit.api.transform",
    "EtlkitError": "etlkit.errors",
    "ImageError": "etlkit.errors",
    "JobError": "etlkit.errors",
    "RetryableError": "etlkit.errors",
    "Row": "etlkit.rows.row",
    "RowError": "etlkit.errors",
    "RowSchemaError": "etlkit.errors",
    "RunReport": "etlkit.api.report",
    "SinkError": "etlkit.errors",
    "SourceError": "etlkit.errors",
    "TransferJob": "etlkit.api.job",
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
    "RunTakenOverError",
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
